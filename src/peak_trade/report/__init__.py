"""What a run becomes for a reader: Markdown, and HTML pages that open without a network."""
