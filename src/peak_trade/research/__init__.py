"""Stage 0: backtests, sweeps and their figures."""
