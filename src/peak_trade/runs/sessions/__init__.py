"""What a session is before it begins and after it ended: its plan, its records, its figures, its page."""
