"""Peak_Trade: the controlled path of a trading strategy from idea to real money."""

__version__ = "0.1.0"
