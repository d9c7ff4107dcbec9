"""`python -m peak_trade` is `peak-trade`."""

from peak_trade.cli.main import run_and_exit

# Worker processes load this module again; they must not run the command again.
if __name__ == "__main__":
    run_and_exit()
