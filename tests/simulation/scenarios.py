"""Sessions that order often and in every way: the engine has to be killed in the middle of something."""

from tests.simulation.world import Scenario

#: Small enough to be killed at every single place there is.
EXITS = Scenario(
    name="exits",
    bars=60,
    strategies=(("scripted", {"seed": 3, "levels": [0.0, 0.5, 1.0], "stay": 0.6}),),
    paper={"stop_loss": "0.015", "take_profit": "0.02", "trailing_stop": "0.012"},
)
FLIPS = Scenario(
    name="flips",
    strategies=(("scripted", {"seed": 5, "levels": [-1.0, 0.0, 1.0], "stay": 0.5}),),
    paper={"side": "both", "stop_loss": "0.01", "trailing_stop": "0.015"},
)
SCARCE = Scenario(
    name="scarce",
    strategies=(("scripted", {"seed": 11, "levels": [0.0, 0.5, 1.0], "stay": 0.6}),),
    paper={"volume_share": "0.2", "latency_ms": 20_000, "trailing_stop": "0.02", "take_profit": "0.03"},
    noise=0.008,
    bars=60,
)
CROWD = Scenario(
    name="crowd",
    symbols=("BTC/EUR", "ETH/EUR"),
    strategies=(
        ("scripted", {"seed": 13, "levels": [0.0, 1.0], "stay": 0.6}),
        ("whimsical", {"seed": 17, "levels": [0.0, 0.5, 1.0], "stay": 0.5}),
    ),
    paper={"position_fraction": "0.4", "stop_loss": "0.02", "take_profit": "0.015"},
    bars=80,
)
STRICT = Scenario(
    name="strict",
    strategies=(("scripted", {"seed": 19, "levels": [-1.0, -0.5, 0.0, 0.5, 1.0], "stay": 0.3}),),
    paper={"side": "both", "trailing_stop": "0.02"},
    limits={"max_order_notional": "3300", "max_orders_per_day": 30, "max_orders_per_minute": 1, "duplicate_window_s": 90},
)
LOSING = Scenario(
    name="losing",
    strategies=(("scripted", {"seed": 23, "levels": [-1.0, 1.0], "stay": 0.4}),),
    paper={"side": "both", "position_fraction": "1", "stop_loss": "0.02"},
    limits={"max_daily_loss_pct": 3.0},
)
STEPS = Scenario(
    name="steps",
    strategies=(("scripted", {"seed": 29, "levels": [0.0, 1.0], "stay": 0.5}),),
    paper={"trailing_stop": "0.01", "latency_ms": 1_500, "warmup_candles": 10},
    steps=70,
)
#: Orders that a bar's volume fills in many parts, with nothing written down between two of them.
THIN = Scenario(
    name="thin",
    strategies=(("scripted", {"seed": 29, "levels": [0.0, 1.0], "stay": 0.9}),),
    paper={"volume_share": "0.5"},
    bars=80,
)
#: Bought at the first bars, held through a fall, sold where it has risen again, with nothing to write down meanwhile.
DIP = Scenario(
    name="dip",
    prices=(100, 100, 100, 97, 94, 91, 88, 91, 94, 97, 100, 103, 106, 106, 106),
    strategies=(("scripted", {"levels": [1.0], "stay": 0.0}),),
    paper={"take_profit": "0.05", "position_fraction": "0.9"},
)
EVERY = (EXITS, FLIPS, SCARCE, CROWD, STRICT, LOSING, STEPS)
