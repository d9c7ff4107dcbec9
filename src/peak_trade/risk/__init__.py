"""The risk gate: an intent goes in, a verdict comes out. Pure."""
