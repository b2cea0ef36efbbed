"""The walk through each makemore lecture, number by number."""
