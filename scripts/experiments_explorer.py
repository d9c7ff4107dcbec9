import sys

from peak_trade.cli.main import main

sys.exit(main(["experiments", *sys.argv[1:]]))
