"""The Model contract, and one module per model."""
