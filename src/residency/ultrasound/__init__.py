"""Ultrasound: simulated studies, and augmentations that keep what the answers say true."""
