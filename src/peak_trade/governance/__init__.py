"""The gates: who may let a strategy climb, on what evidence, and what is proven by it later. Pure, but for `files.py`."""
