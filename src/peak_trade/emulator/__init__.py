"""A Kraken-compatible exchange of our own: it trades, charges and fails on command, offline."""
