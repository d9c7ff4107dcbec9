"""Who may send real orders: nobody but the emulator's own clients, until there are permits.

Invariant: without a proof there is no gateway that lets a live order through, and a proof is for an address of this machine.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from peak_trade.model.errors import InvariantBroken, SafetyRefused

_SEAL = object()


class EmulatorProof:
    """Says that an address is one of this machine, where no exchange of real money listens.

    Attributes:
        base_url: the address, `http://127.0.0.1:8790`.
    """

    __slots__ = ("base_url",)

    base_url: str

    def __init__(self, base_url: str, seal: object) -> None:
        if seal is not _SEAL:
            raise InvariantBroken("a proof is made from an address by `of`")
        object.__setattr__(self, "base_url", base_url)

    def __init_subclass__(cls) -> None:
        raise InvariantBroken(f"a proof has no other kinds, {cls.__name__} was to become one")

    def __setattr__(self, name: str, value: object) -> None:
        raise InvariantBroken(f"a proof can't be changed; {name} was to become {value!r}")

    @classmethod
    def of(cls, base_url: str) -> "EmulatorProof":
        """Return the proof for an address.

        Raises:
            SafetyRefused: it is no plain HTTP on a loopback address; a name is refused too, because it may lead anywhere.
        """
        if not is_loopback(base_url):
            raise SafetyRefused(
                f"expected the emulator at a loopback address such as http://127.0.0.1:8790, found {base_url!r}; "
                "no version of this program sends real orders anywhere else"
            )
        return cls(base_url, _SEAL)


def is_loopback(base_url: str) -> bool:
    """Tell whether an address is plain HTTP to a number of this machine, and nothing more."""
    if not base_url.isascii() or any(mark in base_url for mark in "\\\t\r\n @"):
        return False
    try:
        parts = urlsplit(base_url)
        plain = parts.scheme == "http" and not (parts.path or parts.query or parts.fragment)
        return plain and parts.port != 0 and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
