"""What a model can know, and what it is told besides: similar cases, passages, targets cut to its measure."""
