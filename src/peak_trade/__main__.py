"""`python -m peak_trade` is `peak-trade`."""

from peak_trade.cli.main import run_and_exit

run_and_exit()
