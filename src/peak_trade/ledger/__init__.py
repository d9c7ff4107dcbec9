"""Double-entry books: fills become postings, positions and profit. Pure, exact decimals."""
