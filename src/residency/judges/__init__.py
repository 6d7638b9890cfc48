"""A judge's name in, a callable out that says which claims a reference entails, contradicts or leaves open."""
