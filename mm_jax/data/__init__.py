"""A file of items -> tokens -> batches on the device, or counts of n-grams."""
