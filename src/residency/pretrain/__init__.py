"""Training nano from nothing: simulated studies in, the embedded model out."""
