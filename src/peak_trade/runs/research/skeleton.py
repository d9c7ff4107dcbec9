"""A strategy to begin with: a package of its own with a rule that works, its tests and its entry point.

Invariant: nothing that exists is written over; the folder is made by us or it is not touched.
"""

import builtins
import keyword
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from peak_trade.durable import storing, write_text
from peak_trade.model.errors import InputError
from peak_trade.strategy.catalogue import GROUP, broken, catalogue

#: Longest name: it becomes a module, a package and a key in every report.
NAME_MAX = 40
#: Names that the module gives to something else.
_TAKEN_CLASSES = {"Bars", "Field", "Strategy", "ClassVar", *dir(builtins)}

_RULE = Template('''"""$title: an idea to be tested."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.indicators import sma


class $kind(Strategy):
    """Long while the close is above its average, else flat."""

    key: ClassVar[str] = "$name"
    source: ClassVar[str] = "an idea of our own"

    window: int = Field(100, ge=2, le=100_000, description="bars of the average")

    def targets(self, bars: Bars) -> F64:
        """Return 1 above the average, else 0; shape (bars,), each in [-1, 1]."""
        return np.where(bars.close > sma(bars.close, self.window), 1.0, 0.0)

    def warmup(self) -> int:
        """Return how many bars the rule needs before its target means anything."""
        return self.window
''')

_TESTS = Template('''"""What has to be true of $name before it may climb."""

import random

import numpy as np
import pytest
from pydantic import ValidationError

$imports


def market(closes: np.ndarray) -> Bars:
    """Return hourly bars with these closes, each opening where the one before closed."""
    opens = np.concatenate([closes[:1], closes[:-1]])
    return Bars(
        instrument=Instrument(symbol="BTC/EUR"),
        timeframe=Timeframe.parse("1h"),
        timestamp=1_704_067_200_000_000_000 + np.arange(len(closes), dtype=np.int64) * 3_600_000_000_000,
        open=opens,
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=closes,
        volume=np.ones(len(closes)),
    )


def walk(count: int, seed: int = 1) -> Bars:
    """Return a random walk."""
    return market(100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.01, count))))


def test_it_uses_nothing_after_its_bar() -> None:
    """Cutting the future off, or exchanging it, changes no target before it."""
    strategy = $kind()
    bars = walk(bars_needed(strategy.warmup()) + 300)
    found = prove_causality(Rule.of(strategy), bars, strategy.warmup(), random.Random(1), CUTS_MIN)

    assert found.causal, found.words


def test_its_warm_up_is_long_enough() -> None:
    """A session that begins late decides, after the warm-up, what the whole history decides."""
    strategy = $kind()
    bars = walk(bars_needed(strategy.warmup()) + 300)
    found = prove_warmup(Rule.of(strategy), bars, strategy.warmup(), random.Random(1))

    assert found.enough, found.words


def test_the_same_bars_give_the_same_decisions() -> None:
    """In other processes, after other strategies and at other times too."""
    [found] = prove_determinism([$kind()], walk(400), random.Random(1), {})

    assert found.holds, found.words


def test_it_does_what_it_says() -> None:
    """Long after a rise, flat after a fall, and flat before there are enough bars."""
    rise = np.linspace(100.0, 200.0, 150)
    targets = $kind(window=10).targets(market(np.concatenate([rise, rise[::-1]])))

    assert not targets[:9].any()
    assert (targets[9:150] == 1.0).all()
    assert not targets[165:].any()


def test_wrong_parameters_are_refused() -> None:
    """The model says what can be asked for, and is frozen."""
    with pytest.raises(ValidationError):
        $kind(window=1)
    with pytest.raises(ValidationError):
        $kind().window = 5
''')

#: What the tests import besides, with the rule itself in its place among them.
_IMPORTS = (
    "from peak_trade.model.bar import Bars, Timeframe",
    "from peak_trade.model.instrument import Instrument",
    "from peak_trade.research.determinism import prove_determinism",
    "from peak_trade.research.proofs import CUTS_MIN, Rule, bars_needed, prove_causality, prove_warmup",
)

_PROJECT = Template("""[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$package"
version = "0.1.0"
description = "$title: a strategy for Peak_Trade."
requires-python = ">=3.11"

[project.entry-points."$group"]
$name = "$name:$kind"

[tool.hatch.build.targets.wheel]
only-include = ["$name.py"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]

[tool.ruff]
line-length = 128

[tool.ruff.lint]
select = ["A", "ANN", "B", "D", "E", "F", "I", "N", "PT", "RUF", "S", "SIM", "UP", "W"]
pydocstyle.convention = "google"
isort.known-first-party = ["peak_trade"]

[tool.ruff.lint.per-file-ignores]
"tests/**" = ["S101", "S311"]  # asserts, and chance that can be repeated
""")

_README = Template("""# $title

A strategy for Peak_Trade. The rule is in `$name.py`, what has to be true of it in `tests/test_$name.py`.

```
pytest $name
env PYTHONPATH=$name peak-trade strategy check $name
env PYTHONPATH=$name peak-trade backtest --strategy $name
```

These are run in the folder that holds this one. `PYTHONPATH` makes the strategy known for one command, by the entry point
in `$name.egg-info`. To make it known for good, install it; from then on the entry point of `pyproject.toml` counts:

```
pip install --no-deps --no-build-isolation --editable $name
```

Before it may climb: say in `source` where the idea comes from, and what the rule is in the docstring of the class.
""")

#: What is written, by its place in the folder.
_FILES: dict[str, Template] = {
    "$name.py": _RULE,
    "tests/test_$name.py": _TESTS,
    "pyproject.toml": _PROJECT,
    "README.md": _README,
    "$name.egg-info/PKG-INFO": Template("Metadata-Version: 2.1\nName: $package\nVersion: 0.1.0\n"),
    "$name.egg-info/entry_points.txt": Template("[$group]\n$name = $name:$kind\n"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """What was written: the key, the name of the class, the folder and the files in it."""

    key: str
    kind: str
    folder: Path
    files: tuple[Path, ...]


def write_skeleton(name: str, parent: Path) -> Skeleton:
    """Write a strategy to begin with into a folder of its own below *parent*.

    Raises:
        InputError: the name can't be one or is taken, there is no such folder, or something is there already.
        StorageError: the disk refused.
    """
    kind = _class_of(name)
    if not parent.is_dir():
        raise InputError(f"expected a folder that exists as --to, found {parent}; make it or choose another")
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise InputError(f"expected no {folder} yet, found it; choose another name or folder, nothing is written over")
    _check_free(name)
    with storing(folder):
        folder.mkdir()
    words = {
        "name": name,
        "kind": kind,
        "package": name.replace("_", "-"),
        "title": name.replace("_", " ").capitalize(),
        "group": GROUP,
        "imports": "\n".join(sorted((f"from {name} import {kind}", *_IMPORTS))),
    }
    files = []
    for place, text in _FILES.items():
        path = folder / Template(place).substitute(words)
        write_text(path, text.substitute(words))
        files.append(path)
    return Skeleton(key=name, kind=kind, folder=folder, files=tuple(files))


def _class_of(name: str) -> str:
    """Return the name of the class for a strategy of that name.

    Raises:
        InputError: it can't be one.
    """
    fits = re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) and len(name) <= NAME_MAX and not keyword.iskeyword(name)
    kind = "".join(part.capitalize() for part in name.split("_"))
    if fits and (kind in _TAKEN_CLASSES or keyword.iskeyword(kind)):
        raise InputError(f"expected a name whose class is free, found {name}, whose class {kind} is taken; choose another")
    if not fits:
        raise InputError(
            f"expected a name such as my_idea, of up to {NAME_MAX} small letters, digits and single underscores and no word "
            f"of Python's, found {name[: 2 * NAME_MAX]!r}; choose another"
        )
    return kind


def _check_free(name: str) -> None:
    """Refuse a name that a strategy or a module has.

    Raises:
        InputError: one has.
    """
    names = {known for kind in catalogue().values() for known in (kind.key, *kind.aliases)} | set(broken())
    if name in names:
        raise InputError(f"expected a name of its own, found {name}, which is a strategy already; choose another")
    if find_spec(name) is not None:
        raise InputError(f"expected a name of its own, found {name}, which is a Python module already; choose another")
