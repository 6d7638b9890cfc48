"""Answers and truths in, scores with intervals out. Imports no model."""
