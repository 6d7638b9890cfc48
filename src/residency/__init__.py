"""Train, examine and serve small vision-language models on medical images. Research software: not for diagnosis."""

__version__ = "0.1.0"
NOT_FOR_DIAGNOSIS = "Research software. Not a medical device, not for diagnosis."
