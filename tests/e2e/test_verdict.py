"""`peak-trade verdict` and the ledger of trials: what counts, what does not, what is said, and what is refused."""
