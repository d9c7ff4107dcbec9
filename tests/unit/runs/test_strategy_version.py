"""The version of a strategy: what makes another one, and what does not."""

import ast
import importlib
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from tests.paths import ROOT

from peak_trade.model.errors import InputError
from peak_trade.runs import strategy_version
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import catalogue, make

BUILT_IN = tuple(key for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade."))
OURS = ROOT / "src" / "peak_trade"

RULE = """
import numpy as np
from peak_trade.strategy.base import Strategy

class Rule(Strategy):
    key = "rule"
    source = "a test"

    def targets(self, bars):
        return np.zeros(len(bars))

    def warmup(self):
        return 1
"""

#: A package whose strategy reaches `far` by a chain of every kind of import; `apart` is imported by nobody.
PACKAGE = {
    "__init__.py": "",
    "apart.py": "from rules import near\n",
    "near.py": "from .inner import middle\n",
    "inner/__init__.py": "",
    "inner/middle.py": "from . import beside\nimport rules.direct as short\n",
    "inner/beside.py": "def late():\n    from ..lazy import name\n",
    "direct.py": "import numpy\n",
    "lazy.py": "import importlib as lib\nlib.import_module('rules.named')\nlib.import_module('.dotted', __package__)\n",
    "named.py": "try:\n    import rules.missing\nexcept ImportError:\n    pass\n",
    "dotted.py": "from rules import strategy\n",
    "strategy.py": "from rules import near\n" + RULE,
}


@pytest.fixture(autouse=True)
def _fresh():
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("rules", "alone")]:
        del sys.modules[name]
    strategy_version._hashes.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package, ready to be imported."""
    for name, text in PACKAGE.items():
        path = tmp_path / "rules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path / "rules"


def code_of(strategy: Strategy) -> str:
    """Return the hash of the code as it lies on the disk now."""
    strategy_version._hashes.cache_clear()
    return version_of(strategy).code_sha256


def load(path: Path, name: str) -> Strategy:
    """Return the rule in a file, loaded by its path."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.Rule()


@pytest.mark.parametrize("name", [name for name in PACKAGE if name != "apart.py"])
def test_a_change_in_what_is_imported_is_another_version(package, name):
    """However it is imported: absolute, relative, inside a function, by a written name, or as the package above."""
    rule = importlib.import_module("rules.strategy").Rule()
    before = code_of(rule)
    with (package / name).open("a") as file:
        file.write("# changed\n")

    assert code_of(rule) != before


def test_a_change_elsewhere_is_the_same_version(package):
    """A file that nothing imports, a new one and one that is no source change nothing; nor does where the package lies."""
    rule = importlib.import_module("rules.strategy").Rule()
    before = code_of(rule)
    (package / "apart.py").write_text("changed = True\n")
    (package / "fresh.py").write_text("x = 1\n")
    (package / "notes.txt").write_text("x")

    assert code_of(rule) == before


def test_a_module_that_appears_where_it_was_missed_is_another_version(package):
    """What an import would find now counts, so the module `rules.missing` does once it is there."""
    rule = importlib.import_module("rules.strategy").Rule()
    before = code_of(rule)
    (package / "missing.py").write_text("x = 1\n")

    assert code_of(rule) != before


def test_a_file_under_another_name_is_another_version(package):
    """Name and bytes both count: what two files say, exchanged, is something else."""
    (package / "direct.py").write_text("# one\n")
    (package / "named.py").write_text("# other\n")
    rule = importlib.import_module("rules.strategy").Rule()
    before = code_of(rule)
    (package / "direct.py").write_text("# other\n")
    (package / "named.py").write_text("# one\n")

    assert code_of(rule) != before


def test_the_version_is_asked_of_the_disk_once(package):
    """A process that runs the code of before has the version of before."""
    rule = importlib.import_module("rules.strategy").Rule()
    before = version_of(rule)
    (package / "near.py").write_text("# changed\n")

    assert version_of(rule) == before


def test_a_strategy_in_a_file_has_a_version_of_that_file(tmp_path):
    """Loaded by its path, under whatever name: a change of the file is another version, its folder's name is not."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "alone.py").write_text(RULE)
    here, there = load(tmp_path / "one" / "alone.py", "alone"), load(tmp_path / "two" / "alone.py", "alone")
    before = code_of(here)

    assert code_of(there) == before
    (tmp_path / "two" / "alone.py").write_text(RULE + "# changed\n")
    assert code_of(there) != before


def test_a_single_module_has_a_version(tmp_path, monkeypatch):
    """Installed without a package."""
    (tmp_path / "alone.py").write_text(RULE)
    monkeypatch.syspath_prepend(tmp_path)
    rule = importlib.import_module("alone").Rule()
    before = code_of(rule)
    (tmp_path / "alone.py").write_text(RULE + "# changed\n")

    assert code_of(rule) != before


def test_what_a_strategy_takes_from_peak_trade_is_its_code(tmp_path):
    """Also where it is no built-in: the files are those that it imports from here, and what they import."""
    (tmp_path / "alone.py").write_text(RULE + "from peak_trade.strategy.indicators import sma\n")
    load(tmp_path / "alone.py", "alone")
    files = set(strategy_version._hashes("alone"))

    assert {"alone.py", "peak_trade/strategy/base.py", "peak_trade/strategy/indicators.py", "peak_trade/model/bar.py"} <= files
    assert not any("web" in name for name in files)


class Derived(make("breakout", {}).__class__):
    """A rule that derives from a built-in."""

    key: ClassVar[str] = "derived"


def test_the_code_of_what_a_strategy_derives_from_counts():
    """The module of a base class is part of the version, without an import of it."""
    strategy_version._hashes.cache_clear()
    assert strategy_version._modules(Derived()) == {__name__, "peak_trade.strategy.breakout", "peak_trade.strategy.base"}


@pytest.mark.parametrize("key", BUILT_IN)
def test_a_built_in_has_a_version(key):
    """Of its key and parameters; two with equal parameters are the same version."""
    version = version_of(make(key, {}))

    assert version.key == key
    assert version == version_of(catalogue()[key]())
    assert len(version.params_sha256) == len(version.code_sha256) == 64


def test_other_parameters_are_another_version():
    """Of the same code."""
    short, long = version_of(make("ma_crossover", {"fast_window": 5})), version_of(make("ma_crossover", {}))

    assert short.params_sha256 != long.params_sha256
    assert short.code_sha256 == long.code_sha256


def test_a_mix_has_the_code_of_its_members():
    """It loads them by name, which no import statement shows; a member inside a member counts too."""
    base = {"base": {"strategy": "vol_regime_filter", "params": {"base": {"strategy": "macd"}}}}
    mix = make("vol_regime_filter", base)

    assert "peak_trade.strategy.macd" in strategy_version._modules(mix)
    assert version_of(mix).code_sha256 != version_of(make("vol_regime_filter", {})).code_sha256


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of Peak_Trade that is looked at in place of ours; returns its folder."""
    shutil.copytree(OURS, tmp_path / "peak_trade", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sys.modules["peak_trade"], "__path__", [str(tmp_path / "peak_trade")])
    for name in ("ma_crossover", "base", "combined", "breakout"):
        module = importlib.import_module(f"peak_trade.strategy.{name}")
        monkeypatch.setattr(module, "__file__", str(tmp_path / "peak_trade" / "strategy" / f"{name}.py"))
    return tmp_path / "peak_trade"


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("strategy/ma_crossover.py", True),
        ("strategy/indicators.py", True),
        ("strategy/base.py", True),
        ("model/bar.py", True),
        ("model/__init__.py", True),
        ("strategy/breakout.py", False),
        ("webui/app.py", False),
        ("runs/strategy_version.py", False),
        ("__init__.py", False),
    ],
)
def test_what_makes_another_version_of_a_built_in(copied, name, counts):
    """The files that its targets come from, and no other."""
    rule = make("ma_crossover", {})
    before = code_of(rule)
    with (copied / name).open("a") as file:
        file.write("# changed\n")

    assert (code_of(rule) != before) is counts


def test_the_top_of_peak_trade_holds_nothing_that_targets_come_from():
    """That is why it is left out: a release does not send every strategy back to research."""
    body = ast.parse((OURS / "__init__.py").read_text()).body
    assigned = [node.targets[0].id for node in body if isinstance(node, ast.Assign)]
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]

    assert assigned == ["__version__", "__all__"]
    assert defined == ["__getattr__", "__dir__"]  # they hand out the calls of notebooks


def test_a_strategy_without_a_source_file_is_refused(tmp_path):
    """Made up in a running program, removed, or not Python: one sentence each."""
    space = {"__name__": "alone"}
    exec(RULE, space)  # noqa: S102 - the case is a class without a file
    with pytest.raises(InputError, match=r"expected to read the source of alone .* found none; put the strategy into a file"):
        version_of(space["Rule"]())

    path = tmp_path / "alone.py"
    path.write_text(RULE)
    rule = load(path, "alone")
    path.write_text("def broken(:\n")
    with pytest.raises(InputError, match=r"no Python in alone\.py"):
        version_of(rule)
    path.unlink()
    with pytest.raises(InputError, match=r"no source file in alone\.py"):
        version_of(rule)


def test_a_key_that_no_gate_can_write_down_is_refused():
    """A key stands in documents and in paths."""

    class Odd(Derived):
        key: ClassVar[str] = "../odd"

    with pytest.raises(InputError, match=r"found '\.\./odd'; rename it"):
        version_of(Odd())
