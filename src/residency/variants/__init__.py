"""Several models on one dataset by one recipe: one tuned, others as they are; scores, time, people's ratings."""
