"""Our own client of Kraken's spot interface: pure protocol, one gateway for each key, streams, and the venues built of them."""
