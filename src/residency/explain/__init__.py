"""Why an answer: heat maps over images, and the deletion test that shows whether they mark what the answer needs."""
