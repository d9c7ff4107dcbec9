"""What stops everything: the kill switch."""
