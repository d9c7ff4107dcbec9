"""Stage 2 and what has to be ready before it."""
