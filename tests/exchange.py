"""The emulated exchange without sockets, with a clock that tests move."""

import base64
import json
import random
import zlib
from decimal import Decimal
from urllib.parse import urlencode

from peak_trade.emulator.opening import EmulatorChoice, open_emulator
from peak_trade.emulator.rest import RestCall
from peak_trade.emulator.signing import signature
from peak_trade.emulator.stream import PUBLIC

START = 1_795_000_000_000_000_000
S = 1_000_000_000
TOKEN = "tok"


def digits(text):
    """Read a number that has no exponent."""
    assert "e" not in text.lower(), text
    return Decimal(text)


class ClientBook:
    """A reader's book, kept from messages alone."""

    def __init__(self, depth, pair):
        self.depth, self.pair = depth, pair
        self.sides = {"asks": {}, "bids": {}}

    def take(self, message):
        (data,) = message["data"]
        if message["type"] == "snapshot":
            self.sides = {"asks": {}, "bids": {}}
        for name, side in self.sides.items():
            for level in data[name]:
                price, quantity = Decimal(level["price"]), Decimal(level["qty"])
                side.pop(price, None) if not quantity else side.update({price: quantity})
            for price in self.best(name)[self.depth :]:
                del side[price]
        assert data["checksum"] == self.checksum()

    def best(self, name):
        return sorted(self.sides[name], reverse=name == "bids")

    def checksum(self):
        text = ""
        for name in ("asks", "bids"):
            for price in self.best(name)[:10]:
                digits = (f"{price:.{self.pair.price_decimals}f}", f"{self.sides[name][price]:.{self.pair.lot_decimals}f}")
                text += "".join(one.replace(".", "").lstrip("0") for one in digits)
        return zlib.crc32(text.encode())


class Rig:
    """An exchange with a clock of its own and a connection to `/auth/v2`, and one to `/v2` once that is needed."""

    def __init__(self, pairs=("BTC/USD", "ETH/EUR"), seed=7, tier="pro"):
        self.now = START
        self.opened = open_emulator(EmulatorChoice(pairs=pairs, seed=seed, tier=tier), lambda: START, random.Random(3))
        self.hub, self.engine = self.opened.emulator.hub, self.opened.engine
        self.key = self.opened.keys["trading"]
        self.plan = self.hub.faults
        self.nonce = 0
        self.hub._desk.tokens[TOKEN] = (self.key, START + 900 * S)
        self.line, self.public = self.hub.connect(self.now, private=True), None
        self.ids = 0

    def passed(self, seconds=0.1):
        """Let the market go on and publish."""
        self.now += int(seconds * S)
        self.opened.emulator.pass_time(self.now)

    def got(self, channel=None):
        """Take what was sent."""
        lines = [line for line in (self.line, self.public) if line is not None]
        texts = [text for line in lines for text in line.outbox]
        for line in lines:
            line.outbox = []
        found = [json.loads(text, parse_float=digits) for text in texts]
        return [one for one in found if channel is None or one.get("channel") == channel]

    def ask(self, method, **params):
        """Send a request and return all that came of it."""
        self.ids += 1
        line, channel = self.line, params.get("channel")
        if isinstance(channel, str) and channel in PUBLIC and line.private:
            line = self.public = self.public or self.quietly(private=False)
        line.receive(json.dumps({"method": method, "params": params, "req_id": self.ids}), self.now)
        return self.got()

    def quietly(self, *, private):
        """Return a connection whose first message was taken."""
        found = self.hub.connect(self.now, private=private)
        found.outbox = []
        return found

    def call(self, method, **params):
        """Make a private call; return its outcome."""
        self.nonce += 1
        body, path = urlencode({"nonce": self.nonce, **params}), f"/0/private/{method}"
        sign = base64.b64encode(signature(self.key.secret, path, str(self.nonce), body.encode())).decode()
        headers = {"api-key": self.key.id, "api-sign": sign, "content-type": "application/x-www-form-urlencoded"}
        return self.opened.emulator.answered(RestCall(path, headers, body.encode(), self.now))

    def read(self, method, **params):
        """Make a public call; return its outcome."""
        return self.opened.emulator.answered(RestCall(f"/0/public/{method}", {}, urlencode(params).encode(), self.now))

    def fault(self, name, **told):
        """Set a fault."""
        return self.plan.add({"name": name, **told}, self.now)

    def buy(self, **changes):
        """Place a limit purchase that rests; return the call's outcome."""
        asked = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.01", "price": "80000.0"}
        return self.call("AddOrder", **(asked | changes))

    @property
    def working(self):
        """The client's working orders."""
        return list(self.engine.working["client"].values())

    def logged(self, what="fault"):
        """Return the lines of the log of a kind."""
        return [line for line in self.plan.log if line["what"] == what]
