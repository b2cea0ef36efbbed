"""Walks through the makemore lectures, number by number."""
