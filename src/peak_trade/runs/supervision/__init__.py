"""The supervisor: a process of its own that watches sessions and acts where they can't."""
