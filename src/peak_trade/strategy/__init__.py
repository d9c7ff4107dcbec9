"""Strategies: bars in, targets out. Pure, and blind to everything after the bar they decide on."""
