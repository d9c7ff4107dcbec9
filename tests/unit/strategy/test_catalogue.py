"""Strategies by name: the built-in ones, those from other packages, and what is said when a name or a parameter is wrong."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.builders import some_bars

from peak_trade.model.errors import StrategyError
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import GROUP, broken, catalogue, find, make, parse_value

BUILT_IN = (
    "ma_crossover",
    "rsi_reversion",
    "macd",
    "bollinger_bands",
    "momentum_1h",
    "mean_reversion",
    "trend_following",
    "breakout",
    "vol_regime_filter",
    "regime_filter",
    "composite",
    "buy_and_hold",
)

Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _fresh_catalogue() -> Iterator[None]:
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a distribution with one module and its entry points, for this test only."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(module: str, source: str, points: str) -> None:
        (tmp_path / f"{module}.py").write_text(source, "utf-8")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n", "utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


THIRD_PARTY = '''
from typing import ClassVar
import numpy as np
from pydantic import Field
from peak_trade.strategy.base import Strategy

class Sidelong(Strategy):
    """Half long every other bar."""
    key: ClassVar[str] = "{key}"
    aliases: ClassVar[tuple[str, ...]] = {aliases}
    source: ClassVar[str] = "a test"
    share: float = Field(0.5, gt=0, le=1)

    def targets(self, bars):
        return np.where(np.arange(len(bars)) % 2 == 0, self.share, 0.0)

    def warmup(self):
        return 1
'''


def third_party(key: str = "sidelong", aliases: tuple[str, ...] = ()) -> str:
    """Return the source of a module with a strategy."""
    return THIRD_PARTY.format(key=key, aliases=repr(aliases))


def complaint(act: Callable[[], object]) -> str:
    """Return the sentence with which a call is refused."""
    with pytest.raises(StrategyError) as refused:
        act()
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def test_the_built_in_strategies_are_there_in_order() -> None:
    """The design names them, and they come in the order in which they are listed."""
    assert tuple(catalogue())[: len(BUILT_IN)] == BUILT_IN


@pytest.mark.parametrize("key", BUILT_IN)
def test_a_strategy_says_what_it_is(key: str) -> None:
    """Each is found by its key, works with its defaults, and names its source and the meaning of every parameter."""
    kind = find(key)
    strategy = make(key, {})

    assert kind.key == key
    assert isinstance(strategy, kind)
    assert kind.source
    assert kind.__doc__
    assert all(field.description for field in kind.model_fields.values())
    assert strategy.warmup() >= 1
    assert len(strategy.targets(some_bars(30))) == 30


@pytest.mark.parametrize(
    ("alias", "key"), [("rsi_strategy", "rsi_reversion"), ("momentum", "momentum_1h"), ("donchian", "breakout")]
)
def test_a_strategy_answers_to_its_other_names(alias: str, key: str) -> None:
    """An alias finds the same strategy and takes the same parameters."""
    assert find(alias) is find(key)
    assert make(alias, {}) == make(key, {})


def test_no_name_means_two_strategies() -> None:
    """Keys and aliases are all different."""
    names = [name for kind in catalogue().values() for name in (kind.key, *kind.aliases)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ma_crosover", "did you mean ma_crossover?"),
        ("rsi_strat", "did you mean rsi_strategy?"),
        ("MACD", "there are ma_crossover, rsi_reversion, macd"),
        ("", "there are ma_crossover"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    """The nearest name is suggested, or all are listed."""
    sentence = complaint(lambda: find(name))

    assert sentence.startswith(f"expected the name of a strategy, found {name!r}; ")
    assert hint in sentence


@pytest.mark.parametrize(
    ("key", "params", "sentence"),
    [
        (
            "ma_crossover",
            {"fast_windw": 5},
            "expected a parameter of ma_crossover, found fast_windw; did you mean fast_window?",
        ),
        ("ma_crossover", {"zzz": 5}, "expected a parameter of ma_crossover, found zzz; it has fast_window, slow_window"),
        ("buy_and_hold", {"window": 5}, "expected a parameter of buy_and_hold, found window; it has none"),
        (
            "ma_crossover",
            {"fast_window": "many"},
            "the parameters of ma_crossover don't fit: fast_window was 'many', but it should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            "ma_crossover",
            {"fast_window": 0},
            "the parameters of ma_crossover don't fit: fast_window was 0, but it should be greater than or equal to 1",
        ),
        (
            "bollinger_bands",
            {"width": float("nan")},
            "the parameters of bollinger_bands don't fit: width was nan, but it should be a finite number",
        ),
        (
            "macd",
            {"fast_window": 26, "slow_window": 26},
            "the parameters of macd don't fit: fast_window (26) should be below slow_window (26)",
        ),
        ("composite", {"members": []}, None),
        ("composite", {"members": 5}, None),
        ("composite", {"members": [{"params": {}}]}, None),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_sentence(key: str, params: dict[str, Any], sentence: str | None) -> None:
    """Unknown parameters, wrong kinds, values out of range and pairs that don't fit each have their sentence."""
    found = complaint(lambda: make(key, params))

    assert found == sentence or (sentence is None and found.startswith(f"the parameters of {key} don't fit: members"))


def test_an_unknown_parameter_is_named_before_a_wrong_value() -> None:
    """Who mistypes a name hears of that first, because the value may belong to it."""
    found = complaint(lambda: make("ma_crossover", {"fast_window": -1, "slow_windw": 10}))

    assert found == "expected a parameter of ma_crossover, found slow_windw; did you mean slow_window?"


@pytest.mark.parametrize(
    ("key", "params"),
    [
        ("ma_crossover", {"fast_window": 50, "slow_window": 50}),
        ("macd", {"fast_window": 30, "slow_window": 20}),
        ("rsi_reversion", {"entry_below": 40, "exit_above": 40}),
        ("mean_reversion", {"entry_z": 1.0, "exit_z": 1.0}),
        ("vol_regime_filter", {"window": 240}),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(key: str, params: dict[str, Any]) -> None:
    """Where one parameter has to be below another, equal is refused too, and both values are named."""
    found = complaint(lambda: make(key, params))

    assert found.startswith(f"the parameters of {key} don't fit: ")
    assert " should be below " in found


@pytest.mark.parametrize("key", BUILT_IN)
def test_a_strategy_can_not_be_changed(key: str) -> None:
    """Parameters are fixed once the strategy is made."""
    strategy = make(key, {})

    with pytest.raises(ValidationError):
        strategy.window = 3  # type: ignore[attr-defined]


def test_strategies_nest() -> None:
    """A mix may hold a filter that holds a mix, each with parameters of its own."""
    inner = {"strategy": "composite", "params": {"members": [{"strategy": "momentum", "params": {"lookback": 3}}]}}
    overlay = {"strategy": "vol_regime_filter", "params": {"base": inner, "window": 5, "long_window": 20}, "weight": 3}
    strategy = make("composite", {"members": [overlay, {"strategy": "buy_and_hold"}]})
    targets = strategy.targets(some_bars(100, noise=0.02))

    assert set(targets.tolist()) <= {0.25, 1.0, -0.5}
    assert len(set(targets.tolist())) > 1
    assert strategy.warmup() == 21


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        ({"strategy": "macdd"}, "expected the name of a strategy, found 'macdd'; did you mean macd?"),
        (
            {"strategy": "macd", "params": {"fats_window": 3}},
            "expected a parameter of macd, found fats_window; did you mean fast_window?",
        ),
        (
            {"strategy": "ma_crossover", "params": {"fast_window": 90}},
            "the parameters of ma_crossover don't fit: fast_window (90) should be below slow_window (50)",
        ),
        ({"strategy": "macd", "weight": 0}, "the parameters of composite don't fit: members.0.weight was 0, but it should be "),
    ],
)
def test_a_wrong_member_is_refused_when_the_mix_is_made(member: dict[str, Any], sentence: str) -> None:
    """What is wrong inside a mix is said at once, not when its targets are asked for."""
    found = complaint(lambda: make("composite", {"members": [member]}))

    assert found.startswith(sentence)


def test_a_mistyped_part_of_a_member_is_compared_with_its_parts() -> None:
    """A mistyped weight is one of a member's parts, not one of the mix's parameters."""
    found = complaint(lambda: make("composite", {"members": [{"strategy": "macd", "wieght": 1}]}))

    assert found.startswith("expected a parameter of composite, found members.0.wieght; ")
    assert "weight" in found.removeprefix("expected a parameter of composite, found members.0.wieght; ")


def test_an_installed_strategy_is_found(install: Install) -> None:
    """A strategy of another package stands after the built-in ones and works like them, alias included."""
    install("sidelong_package", third_party(aliases=("sideways",)), "sidelong = sidelong_package:Sidelong")
    strategy = make("sideways", {"share": 0.25})

    assert list(catalogue()) == [*BUILT_IN, "sidelong"]
    assert strategy.targets(some_bars(4)).tolist() == [0.25, 0.0, 0.25, 0.0]
    assert complaint(lambda: make("sidelong", {"share": 2})).startswith("the parameters of sidelong don't fit: share was 2")
    assert complaint(lambda: find("sidelon")).endswith("did you mean sidelong?")


def test_an_installed_strategy_may_be_part_of_a_mix(install: Install) -> None:
    """A composite takes any strategy that there is."""
    install("mixed_package", third_party("mixed_in"), "mixed = mixed_package:Sidelong")
    mix = make("composite", {"members": [{"strategy": "mixed_in"}, {"strategy": "buy_and_hold"}]})

    assert mix.targets(some_bars(2)).tolist() == [0.75, 0.5]


def test_installed_strategies_come_in_order_of_their_names(install: Install) -> None:
    """The order does not depend on where packages lie."""
    install("zebra_package", third_party("zebra"), "b = zebra_package:Sidelong")
    install("aardvark_package", third_party("aardvark"), "a = aardvark_package:Sidelong")

    assert list(catalogue())[-2:] == ["aardvark", "zebra"]


@pytest.mark.parametrize(
    ("source", "point", "why"),
    [
        ("raise RuntimeError('no licence')", "broken_package:Sidelong", "RuntimeError: no licence"),
        ("import a_module_that_is_not_there", "broken_package:Sidelong", "ModuleNotFoundError: "),
        ("x = 1", "broken_package:Sidelong", "AttributeError: "),
        ("this is no python", "broken_package:Sidelong", "SyntaxError: "),
    ],
)
def test_a_package_that_can_not_be_loaded_is_named(install: Install, source: str, point: str, why: str) -> None:
    """Whatever its import fails with, a sentence names the strategy and the reason."""
    install("broken_package", source, f"mine = {point}")
    found = complaint_of_the_installed()

    assert found.startswith(f"the installed strategy mine can't be loaded ({why}")
    assert found.endswith("mend or uninstall its package")


@pytest.mark.parametrize("source", ["class Sidelong: pass", "def Sidelong(): pass", "Sidelong = 5"])
def test_what_is_no_strategy_is_refused(install: Install, source: str) -> None:
    """An entry point must name a class of strategies."""
    install("other_package", source, "mine = other_package:Sidelong")
    found = complaint_of_the_installed()

    assert found.startswith(f"expected the entry point mine of {GROUP} to name a Strategy class, found ")


@pytest.mark.parametrize(
    ("key", "aliases", "taken"),
    [("macd", (), "macd"), ("rsi_strategy", (), "rsi_strategy"), ("sidelong", ("donchian",), "donchian")],
)
def test_a_name_in_use_is_refused(install: Install, key: str, aliases: tuple[str, ...], taken: str) -> None:
    """Nobody replaces a built-in strategy, be it by key or alias."""
    install("taking_package", third_party(key, aliases), "mine = taking_package:Sidelong")
    found = complaint_of_the_installed()

    assert found == f"expected a new name for the installed strategy taking_package:Sidelong, found {taken} in use; rename it"


def test_two_packages_can_not_share_a_name(install: Install) -> None:
    """Of two installed strategies with the same key the second is refused."""
    install("first_package", third_party(), "a = first_package:Sidelong")
    install("second_package", third_party(), "b = second_package:Sidelong")

    assert complaint_of_the_installed().endswith("second_package:Sidelong, found sidelong in use; rename it")


def test_a_strategy_without_a_key_is_refused(install: Install) -> None:
    """A class that forgot its key is refused with a sentence."""
    source = "from peak_trade.strategy.base import Strategy\nclass Nameless(Strategy):\n    pass\n"
    install("nameless_package", source, "mine = nameless_package:Nameless")

    assert complaint_of_the_installed()


def test_a_strategy_without_targets_is_refused(install: Install) -> None:
    """A class that forgot a method is refused with a sentence, when loaded or when made."""
    source = "from peak_trade.strategy.base import Strategy\nclass Idle(Strategy):\n    key = 'idle'\n    source = 'a test'\n"
    install("idle_package", source, "mine = idle_package:Idle")

    assert complaint(lambda: make("idle", {}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("2.5", 2.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('{"strategy": "macd"}', {"strategy": "macd"}),
        ("macd", "macd"),
        ("null", "null"),
        ("", ""),
        ("1e3", 1000.0),
        ("-5", -5),
    ],
)
def test_a_parameter_on_the_command_line_is_json_or_text(text: str, value: object) -> None:
    """What reads as JSON is taken as that, all else as the text it is."""
    found = parse_value(text)

    assert found == value
    assert type(found) is type(value)


def test_every_built_in_is_a_strategy() -> None:
    """All share the one base class, so that parameters are checked everywhere."""
    assert all(issubclass(kind, Strategy) for kind in catalogue().values())


def complaint_of_the_installed() -> str:
    """Return what is wrong with the one installed strategy that can't be used; the built-ins still work."""
    assert "ma_crossover" in catalogue()
    (found,) = broken().values()
    return found


def test_a_broken_package_is_named_where_it_is_used(install: Install) -> None:
    """Asking for a strategy whose package is broken says what is wrong with it."""
    install("broken_package", "import nothing_like_this\n", "mine = broken_package:Mine")

    assert "nothing_like_this" in complaint(lambda: find("mine"))
