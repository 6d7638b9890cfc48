"""Anatomy: one planner for each category, patient state in, a plan of what to draw out."""
