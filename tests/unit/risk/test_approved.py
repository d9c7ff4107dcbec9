"""The seal: an approval comes from the gate alone. What Python can't prevent is written down here."""

import ast
import copy
import pickle
from pathlib import Path

import pytest
from tests.trading import a_venue, an_intent, approved, at_once

from peak_trade.model.errors import InvariantBroken
from peak_trade.model.order import Intent
from peak_trade.risk.gate import Approved

SOURCES = Path(__file__).resolve().parents[3] / "src" / "peak_trade"
TREES = {path.relative_to(SOURCES).as_posix(): ast.parse(path.read_text("utf-8")) for path in SOURCES.rglob("*.py")}


@pytest.mark.parametrize("seal", [None, object(), True])
def test_an_approval_needs_the_gate_s_seal(seal):
    """Nobody else can make one."""
    with pytest.raises(InvariantBroken, match="only the risk gate"):
        Approved(an_intent(), (), seal)


@pytest.mark.parametrize("name", ["intent", "warnings", "other"])
def test_an_approval_can_not_be_changed(name):
    """It is good for the intent that was judged, and for no other."""
    yes = approved(an_intent())

    with pytest.raises(InvariantBroken, match="can't be changed"):
        setattr(yes, name, an_intent(1_000))
    assert yes.intent == an_intent()


def test_an_approval_can_not_be_made_again():
    """Calling the constructor of one that exists needs the seal too."""
    yes = approved(an_intent())

    with pytest.raises(InvariantBroken, match="only the risk gate"):
        yes.__init__(an_intent(1_000), (), None)
    assert yes.intent == an_intent()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda yes: pickle.loads(pickle.dumps(yes))])  # noqa: S301
def test_an_approval_can_not_be_copied(again):
    """One yes is one object: no copy, and none that was stored."""
    with pytest.raises(InvariantBroken):
        again(approved(an_intent()))


def test_an_empty_approval_is_worth_nothing():
    """`object.__new__` gives a shell without an intent; a venue can't read an order from it."""
    shell = object.__new__(Approved)

    with pytest.raises(AttributeError):
        at_once(a_venue().submit(shell))


def forge(intent: Intent) -> Approved:
    """Return an approval of a class that inherits from the real one and has a constructor of its own."""

    def own(self, intent):
        object.__setattr__(self, "intent", intent)
        object.__setattr__(self, "warnings", ())

    return type("Forged", (Approved,), {"__init__": own})(intent)


def test_an_approval_has_no_heirs():
    """A class that inherits from it would be a second door: it can't be made, or no venue takes it."""
    with pytest.raises((InvariantBroken, TypeError)):
        at_once(a_venue().submit(forge(an_intent())))


def test_what_python_can_not_prevent():
    """`object.__setattr__` goes past any lock in the language: that is what the scan of the sources is for."""
    shell = object.__new__(Approved)
    object.__setattr__(shell, "intent", an_intent(7))

    assert shell.intent.quantity == 7


@pytest.mark.parametrize("pattern", ["Approved", "_SEAL"])
def test_only_the_gate_makes_approvals(pattern):
    """In all of the sources, `Approved(...)` is called and the seal is named in `risk/gate.py` alone."""
    users = set()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and _name(node.func) == "Approved"
            touched = _name(node) == "_SEAL" or (isinstance(node, ast.ImportFrom) and "_SEAL" in {a.name for a in node.names})
            if called if pattern == "Approved" else touched:
                users.add(path)

    assert users == {"risk/gate.py"}


def test_nobody_goes_round_the_locks():
    """Outside of frozen classes' own constructors, the sources use neither `object.__new__` nor `object.__setattr__`."""
    found = set()
    for path, tree in TREES.items():
        own = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and function.name in ("__init__", "__post_init__")
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            past = isinstance(node, ast.Attribute) and _name(node.value) == "object" and node.attr in ("__new__", "__setattr__")
            if past and id(node) not in own:
                found.add(path)

    assert found == set()


def _name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
