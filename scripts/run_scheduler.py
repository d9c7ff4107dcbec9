import sys

from peak_trade.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["scheduler", "run", *sys.argv[1:]]))
