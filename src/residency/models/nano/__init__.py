"""The embedded model: Florence-2's language side and code path on a small convolutional tower."""
