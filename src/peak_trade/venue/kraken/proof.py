"""Who may send real orders: nobody but the emulator's own clients, until there are permits.

Invariant: without a proof there is no gateway that lets a live order through, and a proof is for an address of this machine.
"""

from peak_trade.model.address import is_loopback
from peak_trade.model.errors import InvariantBroken, SafetyRefused

_PROOF_SEAL = object()


class EmulatorProof:
    """Says that an address is one of this machine, where no exchange of real money listens.

    Attributes:
        base_url: the address, `http://127.0.0.1:8790`.
    """

    __slots__ = ("base_url",)

    base_url: str

    def __init__(self, base_url: str, seal: object) -> None:
        if seal is not _PROOF_SEAL:
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
        return cls(base_url, _PROOF_SEAL)
