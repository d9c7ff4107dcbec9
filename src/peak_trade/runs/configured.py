"""What the configuration says of a strategy and of the terms of its trades, where nothing else was asked for."""

from collections.abc import Mapping

from peak_trade.compose import Parts
from peak_trade.model.errors import InputError
from peak_trade.research.terms import Side, Terms
from peak_trade.runs.fills import fill_model
from peak_trade.strategy.catalogue import Value, find
from peak_trade.strategy.sizing import Sizing


def configured_params(parts: Parts, strategy: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the parameters of the configuration, overridden by the given ones.

    Raises:
        StrategyError: no such strategy, or the configuration has a section for one that does not exist.
    """
    kind = find(strategy)
    params: dict[str, Value] = {}
    for name, section in parts.settings.file.strategy.items():
        if find(name) is kind:
            params |= section
    return params | dict(given)


def configured_terms(parts: Parts) -> Terms:
    """Return the terms of the configuration.

    Raises:
        InputError: a value that makes no sense.
    """
    file = parts.settings.file
    slippage_bps, impact = fill_costs(parts, file.backtest.fills, file.backtest.slippage_bps)
    return Terms(
        cash=file.backtest.initial_cash,
        fee_bps=file.backtest.fee_bps,
        slippage_bps=slippage_bps,
        impact=impact,
        max_volume_share=file.backtest.max_volume_share,
        delay_bars=file.backtest.delay_bars,
        sizing=Sizing.parse(file.backtest.sizing),
        side=side_of(file.backtest.side),
        stop_loss=file.risk.stop_loss,
        take_profit=file.risk.take_profit,
        trailing_stop=file.risk.trailing_stop,
    )


def fill_costs(parts: Parts, fills: str, slippage_bps: float) -> tuple[float, float]:
    """Return slippage (bps) and impact of a kind of fills; the model's half spread counts where it is the larger one.

    Raises:
        InputError: the word is neither fixed nor model. DataError: this checkout's model is damaged.
    """
    if fills not in ("fixed", "model"):
        raise InputError(f"expected fixed or model as --fills, found {fills!r}; choose one")
    if fills == "fixed":
        return slippage_bps, 0.0
    model = fill_model(parts)
    return max(slippage_bps, model.half_spread_bps), model.impact


def side_of(text: str, option: str = "side") -> Side:
    """Return which positions may be opened.

    Raises:
        InputError: the word is none of the three.
    """
    if text not in [item.value for item in Side]:
        raise InputError(f"expected long, short or both as {option}, found {text!r}; choose one")
    return Side(text)
