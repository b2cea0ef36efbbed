"""The Model contract, and one file a model."""
