import sys

from peak_trade.cli.main import main

sys.exit(main(["backtest", *sys.argv[1:]]))
