"""A file of lines -> tokens -> batches on the device, or counts of n-grams."""
