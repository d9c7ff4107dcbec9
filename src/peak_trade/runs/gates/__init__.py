"""The ladder: evidence, requests, signatures, permits, and the ways down."""
