"""Which strategies nobody may start, because they were rolled back.

Invariant: a strategy that is out of the rotation is out of it for every account, until the restart of the one it was on.
"""

from peak_trade.compose import Parts
from peak_trade.model.errors import SafetyRefused
from peak_trade.safety.holds import HoldKind

#: The act of a rollback, and the code of its holds.
ROLLBACK = "rollback"


def out_of_rotation(parts: Parts, strategy: str) -> list[str]:
    """Return in sentences what keeps a strategy, by its key, from being started on any account."""
    return [
        f"{strategy} on {account}: {hold}"
        for account in parts.holds.accounts()
        for hold in parts.holds.of(account)
        if hold.kind is HoldKind.CLOSE and hold.code == ROLLBACK and strategy in hold.strategies
    ]


def check_in_rotation(parts: Parts, strategies: list[str]) -> None:
    """Let strategies, by their keys, pass that nobody rolled back, whatever the account that they are to trade on.

    Raises:
        SafetyRefused: one was; the sentence says since when, why, and how it comes back.
    """
    for key in strategies:
        if found := out_of_rotation(parts, key):
            raise SafetyRefused(
                f"expected {key} in the rotation, found that it was rolled back ({found[0]}); nothing was begun: "
                f"peak-trade resume ACCOUNT --strategy {key}"
            )
