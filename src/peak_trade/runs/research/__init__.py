"""Studies of the past as runs: backtests, sweeps, walk-forward, what they are judged by, and the bars they may see."""
