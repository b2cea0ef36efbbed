"""Runs and sweeps as text, figures and pages."""
