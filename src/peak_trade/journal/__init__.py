"""What happened, kept: the registry of runs."""
