"""A tuned run in; a folder that plain transformers loads, checked to answer alike, out."""
