"""Which words a model is best asked in: searched on validation items, and handed on to training and answering."""
