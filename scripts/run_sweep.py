import sys

from peak_trade.cli.main import main

sys.exit(main(["sweep", *sys.argv[1:]]))
