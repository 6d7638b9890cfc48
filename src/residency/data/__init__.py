"""From a user's files to a dataset: sources, normalization, splits, audit."""
