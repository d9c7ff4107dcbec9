"""What is done again and again, without a person."""
