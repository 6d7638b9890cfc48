"""The server: a run and uploaded images in, interpretations, kept reviews and the next answer sheet out."""
