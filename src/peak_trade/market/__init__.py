"""Market data: files in, checked bars out, kept in a local store."""
