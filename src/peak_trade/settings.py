"""The only reader of the configuration file and of the environment: one file in, one frozen `Settings` out.

Invariant: precedence is command line, then file, then default; the environment names the file and gives secrets, nothing else.
Invariant: a secret in the file, or a key nobody knows, is an error and never ignored.
"""

import difflib
import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from peak_trade.model.address import is_origin, is_stream
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import ConfigError
from peak_trade.model.secret import Secret
from peak_trade.model.stage import Stage

#: Names of the environment variable that points to another file, as in the playbook, section 9.2.
PATH_VARIABLE = "PEAK_TRADE_CONFIG_PATH"

#: The one place that reads it.
_ENVIRONMENT = os.environ

Scalar = str | int | float | bool | list[Any]


#: Larger amounts are mistakes, and would lose digits.
MONEY_MAX = Decimal("1e15")
#: A week: what is longer is a mistake.
MINUTES_MAX = 10_080.0
#: Where stage 4 will find its key, as in the playbook, section 9.2; read by nothing before that stage exists.
LIVE_VARIABLES = ("KRAKEN_API_KEY", "KRAKEN_API_SECRET")
#: How a variable of the environment may be named.
VARIABLE = r"^[A-Z][A-Z0-9_]{0,63}$"


class Section(BaseModel):
    """A part of the file: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Environment(Section):
    """What this checkout is set up for."""

    mode: Stage = Field(Stage.RESEARCH, description="research, shadow, testnet, shadow_live or live")
    name: str = Field("local", min_length=1, max_length=64, description="shown on every run, to tell machines apart")


class Paths(Section):
    """Where things are kept, relative to the folder of the file."""

    data: Path = Field(Path("var/data"), description="imported market data")
    registry: str = Field("sqlite:///var/registry.db", description="URL of the run and session registry")
    state: Path = Field(Path("var"), description="journals, their key, and what the simulated venue remembers")
    reports: Path = Field(Path("reports"), description="reports of runs and sessions")
    logs: Path = Field(Path("logs"), description="log files, one JSON document a line")


class Backtest(Section):
    """Defaults of a backtest."""

    symbol: str = Field("SPX/USD", description="traded pair")
    timeframe: str = Field("1d", description="length of a bar")
    initial_cash: Decimal = Field(Decimal(10_000), gt=0, description="starting cash, quote currency")
    fee_bps: float = Field(40.0, ge=0, lt=10_000, description="fee on the filled notional, basis points")
    slippage_bps: float = Field(5.0, ge=0, lt=10_000, description="slippage against you, basis points")
    sizing: str = Field("fraction=1.0", description="fraction=, quantity= or notional=")
    side: Literal["long", "short", "both"] = Field("long", description="which positions may be opened")
    fills: Literal["fixed", "model"] = Field("fixed", description="slippage as given, or with the cost of size besides")
    max_volume_share: float = Field(0.0, ge=0, le=1, description="part of a bar's volume that may be filled; 0 is no limit")
    delay_bars: int = Field(0, ge=0, le=1_000, description="bars between a decision and its order")


class Risk(Section):
    """Exits that the engine keeps for every strategy, as fractions of the entry price; 0 is off."""

    stop_loss: float = Field(0.0, ge=0, lt=1, description="exit at this loss")
    take_profit: float = Field(0.0, ge=0, description="exit at this gain")
    trailing_stop: float = Field(0.0, ge=0, lt=1, description="exit at this distance from the best price since entry")


class Research(Section):
    """What research may read."""

    holdout: dict[str, str] = Field(
        default_factory=dict, description="bars that research never reads, by market: the last 20%, or from a date on"
    )

    @field_validator("holdout")
    @classmethod
    def _share_or_date(cls, value: dict[str, str]) -> dict[str, str]:
        for market, rule in value.items():
            if not re.fullmatch(r"\*|[A-Z0-9.]{1,16}/[A-Z0-9.]{1,16}( [1-9]\d{0,3}[smhdw])?", market):
                raise ValueError(f'it should name a market such as "BTC/EUR", "BTC/EUR 1h" or "*", not {market!r}')
            share = re.fullmatch(r"(\d{1,2}(?:\.\d{1,3})?)%", rule)
            if not (share and float(share[1]) > 0) and not _is_date(rule):
                raise ValueError(f'it should be a share such as "20%" or a date such as "2025-01-01", not {rule!r}')
        return value


class Sweep(Section):
    """How parameter sweeps run."""

    workers: int = Field(0, ge=0, le=256, description="threads or processes; 0 is one for each core")
    chunk_s: float = Field(1.0, gt=0, le=60, description="results are stored about this often, in seconds")


class VerdictLimits(Section):
    """What an edge has to show before it is called one."""

    error_rate: float = Field(0.05, gt=0, le=0.2, description="how often a verdict may be edge where there is none")
    worthwhile_sharpe: float = Field(1.5, gt=0, le=10, description="annual Sharpe ratio that says how much data is enough")
    trades_min: int = Field(30, ge=2, le=10_000, description="closed trades")
    overfit_max: float = Field(0.5, gt=0, le=1, description="probability of backtest overfitting")
    cost_multiple: float = Field(2.0, ge=1, le=10, description="with costs so many times as high it must not lose")


class Robustness(Section):
    """What a backtest has to stand before it is called robust."""

    draws: int = Field(1_000, ge=100, le=20_000, description="histories and orders of trades drawn")
    loss_max: float = Field(0.1, ge=0, le=1, description="share of drawn histories that may end with a loss")
    drawdown_max: float = Field(0.5, gt=0, le=1, description="deepest fall in all but one of twenty orders of the trades")
    sign_min: float = Field(0.8, ge=0, le=1, description="share of neighbouring parameters that must earn too")
    half_min: float = Field(0.6, ge=0, le=1, description="share of them that must have half of the Sharpe ratio")
    skip_share: float = Field(0.1, ge=0, lt=1, description="share of opening orders that are not filled")
    kept_min: float = Field(0.5, ge=0, le=1, description="share of the Sharpe ratio left with delay or missed fills")
    cost_multiple: float = Field(2.0, ge=1, le=10, description="with costs so many times as high it must not lose")


class Shadow(Section):
    """Stage 1: simulated orders over recorded or replayed bars."""

    enabled: bool = Field(True, description="whether shadow sessions may start")
    symbol: str = Field("SYN/USD", description="traded pair")
    timeframe: str = Field("1m", description="length of a bar")
    warmup_candles: int = Field(200, ge=0, le=1_000_000, description="bars before the first decision")
    position_fraction: float = Field(0.05, gt=0, le=1, description="share of equity for each strategy")
    side: Literal["long", "short", "both"] = Field("long", description="which positions may be opened")
    lease_s: float = Field(30, ge=1, le=3_600, description="a session that is silent for so long counts as dead elsewhere")


class ShadowPaper(Section):
    """The account of a shadow session, and the market it trades in."""

    account: str = Field("paper", description="name of the account; one session at a time runs on it")
    start_balance: Decimal = Field(
        Decimal(10_000), ge=Decimal("0.01"), le=Decimal("1e12"), description="starting cash, quote currency"
    )
    fee_rate: float = Field(0.0040, ge=0, lt=1, description="fee of a taker, fraction of the filled notional")
    maker_fee_rate: float = Field(0.0025, ge=0, lt=1, description="fee of a resting order, the same")
    slippage_bps: float = Field(5.0, ge=0, lt=10_000, description="slippage against you, basis points")
    latency_ms: int = Field(0, ge=0, le=86_400_000, description="from a decision to the order's arrival")
    volume_share: float = Field(0.0, ge=0, le=1, description="part of a bar's volume that we may take; 0 is no limit")
    fills: Literal["fixed", "model"] = Field("fixed", description="slippage as given, or with the cost of size besides")
    delay_bars: int = Field(0, ge=0, le=1_000, description="bars between a decision and its order")


class LiveRisk(Section):
    """Pre-trade limits; money in quote currency."""

    max_order_notional: Decimal = Field(Decimal(1_000), gt=0, le=MONEY_MAX, description="largest single order")
    max_symbol_exposure_notional: Decimal = Field(
        Decimal(2_000), gt=0, le=MONEY_MAX, description="largest position in one pair"
    )
    max_total_exposure_notional: Decimal = Field(Decimal(5_000), gt=0, le=MONEY_MAX, description="largest sum of all positions")
    max_open_positions: int = Field(5, ge=1, description="most positions at once")
    max_daily_loss_abs: Decimal = Field(Decimal(500), gt=0, le=MONEY_MAX, description="loss since 00:00 UTC that pauses")
    max_daily_loss_pct: float = Field(5.0, gt=0, le=100, description="the same, per cent of the day's starting equity")
    block_on_violation: bool = Field(True, description="a violated limit blocks the order")
    price_collar_pct: float = Field(2.0, gt=0, le=100, description="furthest from the last trade, per cent")
    max_order_quantity: Decimal = Field(Decimal(100), gt=0, le=MONEY_MAX, description="largest single order, base units")
    max_orders_per_minute: int = Field(30, ge=1, description="order rate")
    max_orders_per_day: int = Field(500, ge=1, description="orders of one strategy in a UTC day, then a person must look")
    duplicate_window_s: float = Field(10, ge=0, le=86_400, description="the same order again within this time is refused")
    max_data_age_s: float = Field(120, gt=0, le=604_800, description="oldest price an order may be decided on")
    max_clock_skew_ms: float = Field(1_000, gt=0, le=3_600_000, description="largest difference to the venue's clock")
    symbols: tuple[str, ...] = Field(
        ("BTC/EUR", "ETH/EUR", "BTC/USD", "SPX/USD", "SYN/USD"), description="pairs that may be traded"
    )


class PauseTriggers(Section):
    """Thresholds of the playbook's table 6.1."""

    api_error_pct: float = Field(10.0, gt=0, lt=100, description="errors among requests, per cent")
    api_error_window_s: float = Field(300, gt=0, description="window of that share, seconds")
    api_errors_min: int = Field(3, ge=1, description="fewest errors that count")
    api_requests_min: int = Field(10, ge=1, description="fewest requests that count")
    pnl_divergence_pct: float = Field(50.0, gt=0, description="actual against expected profit, per cent")
    data_gap_s: float = Field(300, gt=0, description="longest silence of the feed, seconds")


class KrakenTestnet(Section):
    """The validate-only connection of stage 2."""

    enabled: bool = Field(True, description="whether testnet sessions may start")
    validate_only: Literal[True] = Field(True, description="orders are validated, never executed; must stay true")
    base_url: str = Field("https://api.kraken.com", description="REST host, or an emulator")
    websocket_url: str = Field("wss://ws.kraken.com/v2", description="WebSocket host, or an emulator")
    timeout_s: float = Field(10.0, gt=0, le=120, description="longest wait for an answer")
    api_key_env: str = Field(
        "KRAKEN_TESTNET_API_KEY", pattern=VARIABLE, description="name of the environment variable that holds the key"
    )
    api_secret_env: str = Field(
        "KRAKEN_TESTNET_API_SECRET", pattern=VARIABLE, description="name of the environment variable that holds its secret"
    )

    @field_validator("base_url")
    @classmethod
    def _encrypted(cls, url: str) -> str:
        """Refuse what would send a key in clear text, or to a place that is more than a host."""
        if not is_origin(url.rstrip("/")):
            raise ValueError("expected https://HOST, or http://127.0.0.1:PORT for an emulator on this machine")
        return url.rstrip("/")

    @field_validator("websocket_url")
    @classmethod
    def _encrypted_stream(cls, url: str) -> str:
        if not is_stream(url):
            raise ValueError("expected wss://HOST/v2, or ws://127.0.0.1:PORT/v2 for an emulator on this machine")
        return url


class Exchange(Section):
    """Which exchange connection is used below stage 3."""

    default_type: Literal["kraken_testnet"] = Field("kraken_testnet", description="name of the connection in use")
    kraken_testnet: KrakenTestnet = KrakenTestnet()


class RunLimits(Section):
    """What one testnet session may do."""

    max_order_notional: Decimal = Field(Decimal(100), gt=0, le=MONEY_MAX, description="largest order, quote currency")
    max_orders: int = Field(50, ge=1, description="orders in one session")
    max_duration_minutes: float = Field(120, gt=0, le=MINUTES_MAX, description="longest session, minutes")


class DailyLimits(Section):
    """What all testnet sessions of a UTC day may do together."""

    max_runs: int = Field(20, ge=1, description="sessions")
    max_orders: int = Field(200, ge=1, description="orders")
    max_minutes: float = Field(480, gt=0, le=MINUTES_MAX, description="minutes of sessions, as they were asked for")


class SymbolLimits(Section):
    """What a testnet session may do in one pair; a pair without such a section is not traded in stage 2."""

    max_order_notional: Decimal = Field(Decimal(100), gt=0, le=MONEY_MAX, description="largest order, quote currency")
    max_exposure_notional: Decimal = Field(Decimal(200), gt=0, le=MONEY_MAX, description="largest position, quote currency")


class TestnetLimits(Section):
    """Limits of stage 2, besides those of [live_risk]."""

    run: RunLimits = RunLimits()
    daily: DailyLimits = DailyLimits()
    symbols: dict[str, SymbolLimits] = Field(default_factory=dict)


class TestnetProfile(Section):
    """A named testnet session."""

    description: str = Field("", max_length=200, description="what it is for")
    strategy: str = Field(description="key of the strategy")
    params: dict[str, Scalar] = Field(default_factory=dict, description="parameters of the strategy")
    symbols: tuple[str, ...] = Field(("BTC/EUR",), min_length=1, description="traded pairs")
    timeframe: str = Field("1m", description="length of a bar")
    duration_minutes: float = Field(5, gt=0, le=MINUTES_MAX, description="length of the session, minutes")
    max_orders: int = Field(5, ge=1, description="orders after which no other is sent")
    max_order_notional: Decimal = Field(Decimal(50), gt=0, le=MONEY_MAX, description="largest order, quote currency")
    start_balance: Decimal = Field(
        Decimal(10_000), ge=Decimal("0.01"), le=Decimal("1e12"), description="cash of its paper account, quote currency"
    )
    position_fraction: float = Field(0.004, gt=0, le=1, description="share of equity for each strategy")
    side: Literal["long", "short", "both"] = Field("long", description="which positions may be opened")
    warmup_candles: int = Field(100, ge=0, le=720, description="bars before the first decision; Kraken tells the last 720")


class TestnetOrchestration(Section):
    """Several testnet sessions, one after the other."""

    profiles: tuple[str, ...] = Field((), description="in this order; empty is every profile in the order of the file")
    pause_s: float = Field(5.0, ge=0, le=3_600, description="seconds between two sessions")
    stop_on_failure: bool = Field(True, description="a session that fails is the last one")
    grace_s: float = Field(120.0, ge=1, le=3_600, description="a session that is so much too late, in seconds, is ended")


class LiveExchange(Section):
    """The exchange of stages 3 and 4."""

    name: Literal["kraken"] = Field("kraken", description="the only venue with a live client")
    base_url: str = Field("https://api.kraken.com", description="REST host")
    websocket_url: str = Field("wss://ws.kraken.com/v2", description="WebSocket host")


class Live(Section):
    """Stage 4; `enabled` alone sends nothing."""

    enabled: bool = Field(False, description="needed for stage 4 besides a signed permit")


class Safety(Section):
    """The way to the exchange that `kill` and `liquidate` take themselves, whatever became of everything else."""

    base_url: str = Field("https://api.kraken.com", description="REST host, or an emulator")
    api_key_env: str = Field(
        "KRAKEN_SAFETY_API_KEY", pattern=VARIABLE, description="name of the environment variable that holds the safety key"
    )
    api_secret_env: str = Field(
        "KRAKEN_SAFETY_API_SECRET", pattern=VARIABLE, description="name of the environment variable that holds its secret"
    )
    timeout_s: float = Field(3.0, gt=0, le=30, description="longest wait for one answer, seconds")
    deadline_s: float = Field(60.0, ge=1, le=3_600, description="how long it is tried without --wait, seconds")
    lag_s: float = Field(3.0, ge=0, le=60, description="how late the exchange may show an order, seconds")
    sessions_s: float = Field(5.0, ge=0, le=60, description="how long running sessions are waited for, seconds")

    @field_validator("base_url")
    @classmethod
    def _encrypted_host(cls, url: str) -> str:
        if not is_origin(url.rstrip("/")):
            raise ValueError("expected https://HOST, or http://127.0.0.1:PORT for an emulator on this machine")
        return url.rstrip("/")


class Governance(Section):
    """The gates."""

    account: str = Field(
        "main",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="how the exchange account is called for which permits of stages 2 to 4 are asked",
    )


#: How a channel of alerts may be named.
_ChannelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,23}$")]
#: Stands for every channel that is not kept for escalation.
EVERY_CHANNEL = "*"


class Alerts(Section):
    """Who is told when something is wrong; what reaches nobody stays in alerts.jsonl of the state folder."""

    channels: dict[_ChannelName, Annotated[str, Field(pattern=VARIABLE)]] = Field(
        default_factory=dict, description="name of a channel = name of the environment variable that holds its apprise URL"
    )
    info: tuple[str, ...] = Field((), description="channels that are told of this severity; none is the file alone")
    warning: tuple[str, ...] = Field((EVERY_CHANNEL,), description="the same; * is every channel that is not under escalation")
    critical: tuple[str, ...] = Field((EVERY_CHANNEL,), description="the same")
    escalation: tuple[str, ...] = Field(
        (), description="next channels for a critical alert that nobody acknowledged, one after the other"
    )
    escalate_minutes: float = Field(15, gt=0, le=1_440, description="how long an acknowledgement is waited for, minutes")
    throttle_s: float = Field(300, ge=0, le=86_400, description="the same alert is told at most once in so many seconds")
    tries: int = Field(6, ge=1, le=10, description="tries on one channel, each after a longer pause")
    timeout_s: float = Field(10.0, gt=0, le=120, description="longest try, seconds")

    @field_validator("channels")
    @classmethod
    def _one_each(cls, channels: dict[str, str]) -> dict[str, str]:
        """Refuse two channels that lead to the same place."""
        if len(set(channels.values())) < len(channels):
            raise ValueError("expected a variable of its own for each channel")
        return channels

    @field_validator("info", "warning", "critical", "escalation")
    @classmethod
    def _known(cls, names: tuple[str, ...], given: ValidationInfo) -> tuple[str, ...]:
        """Refuse a route to a channel that does not exist."""
        known = [*given.data.get("channels", ()), *([] if given.field_name == "escalation" else [EVERY_CHANNEL])]
        if any(name not in known for name in names):
            raise ValueError(f"expected names from alerts.channels ({', '.join(known) or 'there are none'})")
        return names

    def route(self, severity: str) -> tuple[str, ...]:
        """Return the channels that are told of a severity."""
        usual = [name for name in self.channels if name not in self.escalation]
        names = {"info": self.info, "warning": self.warning, "critical": self.critical}[severity]
        return tuple(dict.fromkeys(part for name in names for part in (usual if name == EVERY_CHANNEL else [name])))


class Supervisor(Section):
    """The process that watches all sessions of the state folder."""

    required: bool = Field(False, description="sessions may only reduce while no supervisor shows that it is at work")
    interval_s: float = Field(1.0, ge=0.1, le=10, description="seconds between two looks")
    sign_s: float = Field(2.0, ge=0.1, le=10, description="how often it shows that it is at work, seconds")
    sign_stale_s: float = Field(15.0, ge=1, le=25, description="a sign as old as this is none, seconds")
    hung_s: float = Field(60.0, ge=1, le=3_600, description="longest silence of a journal besides three bars, seconds")
    confirm_s: float = Field(10.0, ge=1, le=600, description="a session heeds the kill switch within so many seconds")
    restart_s: float = Field(60.0, ge=0, le=3_600, description="a session that died is started again within so many seconds")
    calm_s: float = Field(30.0, ge=0, le=3_600, description="what was not seen for so many seconds is over")
    clock_jump_s: float = Field(2.0, gt=0, le=3_600, description="largest jump of the machine's clock, seconds")
    exchange_clock_minutes: float = Field(
        10.0, gt=0, le=1_440, description="how often an exchange's clock is asked for, minutes"
    )
    session_memory_mb: int = Field(2_048, ge=64, description="most memory of one session, MB")
    free_memory_mb: int = Field(256, ge=1, description="least memory that the machine has left, MB")
    free_disk_mb: int = Field(200, ge=1, description="least space at the state, journal and log folders, MB")
    free_files: int = Field(1_000, ge=0, description="least number of files that can still be made there")
    verify_minutes: float = Field(
        10.0, gt=0, le=1_440, description="how often a journal is verified, one account each time, minutes"
    )

    @model_validator(mode="after")
    def _often_enough(self) -> "Supervisor":
        """Refuse a sign that is old before the next one can be there."""
        if self.sign_stale_s < 2 * self.sign_s + self.interval_s:
            raise ValueError(
                "expected sign_stale_s of at least twice sign_s and interval_s; the sign would be old all the time"
            )
        return self


class Dashboard(Section):
    """The web dashboard."""

    host: str = Field(
        "127.0.0.1", min_length=1, max_length=255, description="address to listen on; loopback unless a proxy is in front"
    )
    port: int = Field(8000, ge=1, le=65_535, description="port to listen on")
    behind_tls_proxy: bool = Field(
        False, description="a proxy in front speaks TLS; then every page asks for an operator's token"
    )
    hosts: tuple[str, ...] = Field((), description="names by which the proxy is reached, besides localhost")
    page_size: int = Field(50, ge=1, le=1_000, description="rows on a page")


class InstrumentSteps(Section):
    """Overrides or adds an instrument; what is left out keeps its known or default value."""

    tick_size: Decimal | None = Field(None, gt=0, description="smallest price step, quote currency")
    lot_step: Decimal | None = Field(None, gt=0, description="smallest quantity step, base currency")
    min_quantity: Decimal | None = Field(None, ge=0, description="smallest order, base currency")
    min_notional: Decimal | None = Field(None, ge=0, description="smallest order, quote currency")
    trading_days: int | None = Field(None, ge=1, le=366, description="trading days a year")
    trading_hours: float | None = Field(None, gt=0, le=24, description="hours of a trading day")


class File(Section):
    """The whole configuration file."""

    environment: Environment = Environment()
    paths: Paths = Paths()
    backtest: Backtest = Backtest()
    risk: Risk = Risk()
    research: Research = Research()
    sweep: Sweep = Sweep()
    verdict: VerdictLimits = VerdictLimits()
    robustness: Robustness = Robustness()
    strategy: dict[str, dict[str, Scalar]] = Field(default_factory=dict)
    instrument: dict[str, InstrumentSteps] = Field(default_factory=dict)
    shadow: Shadow = Shadow()
    shadow_paper: ShadowPaper = ShadowPaper()
    live_risk: LiveRisk = LiveRisk()
    pause_triggers: PauseTriggers = PauseTriggers()
    exchange: Exchange = Exchange()
    testnet_limits: TestnetLimits = TestnetLimits()
    testnet_profiles: dict[str, TestnetProfile] = Field(default_factory=dict)
    testnet_orchestration: TestnetOrchestration = TestnetOrchestration()
    live_exchange: LiveExchange = LiveExchange()
    live: Live = Live()
    safety: Safety = Safety()
    governance: Governance = Governance()
    alerts: Alerts = Alerts()
    supervisor: Supervisor = Supervisor()
    dashboard: Dashboard = Dashboard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from."""

    value: object
    source: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The checked configuration and the folder that relative paths start from.

    Attributes:
        given: secrets that stand in for variables of the environment, such as the keys of an emulator.
    """

    path: Path
    root: Path
    text: str
    file: File
    raw: Mapping[str, object]
    given: Mapping[str, Secret] = field(default_factory=dict, repr=False)

    @property
    def sha256(self) -> str:
        """The hash of the file's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def folder(self, path: Path) -> Path:
        """Return *path* as an absolute path."""
        return path if path.is_absolute() else self.root / path

    @property
    def registry_url(self) -> str:
        """The registry's URL with a relative SQLite file made absolute."""
        url = self.file.paths.registry
        prefix = "sqlite:///"
        if url.startswith(prefix) and not url.startswith(prefix + "/"):
            return prefix + str(self.root / url.removeprefix(prefix))
        return url

    def secret(self, variable: str) -> Secret:
        """Return the secret in an environment variable.

        Raises:
            ConfigError: the variable is not set, or empty.
        """
        if variable in self.given:
            return self.given[variable]
        text = _ENVIRONMENT.get(variable, "").strip()
        if not text:
            raise ConfigError(
                f"expected a secret in the environment variable {variable}, found none; make a key at the venue and set it: "
                f'export {variable}="..."'
            )
        return Secret(variable, text)

    def has_secret(self, variable: str) -> bool:
        """Tell whether an environment variable holds a secret."""
        return variable in self.given or bool(_ENVIRONMENT.get(variable, "").strip())

    def environment(self, *needed: str) -> dict[str, str]:
        """Return the environment for another process that needs no secrets but those in the variables named."""
        testnet = self.file.exchange.kraken_testnet
        safety = self.file.safety
        secret = {testnet.api_key_env, testnet.api_secret_env, safety.api_key_env, safety.api_secret_env}
        secret |= {*LIVE_VARIABLES, *self.file.alerts.channels.values()}
        return {name: value for name, value in _ENVIRONMENT.items() if name not in secret - set(needed)}

    def pointed_at(self, base_url: str, websocket_url: str, key: str, secret: str) -> "Settings":
        """Return these settings with one other exchange, and its keys, in place of those configured."""
        testnet = self.file.exchange.kraken_testnet
        names = (testnet.api_key_env, testnet.api_secret_env)
        place = {"base_url": base_url, "websocket_url": websocket_url}
        exchange = self.file.exchange.model_copy(update={"kraken_testnet": testnet.model_copy(update=place)})
        live = self.file.live_exchange.model_copy(update=place)
        secrets = {name: Secret(name, text) for name, text in zip(names, (key, secret), strict=True)}
        return replace(self, file=self.file.model_copy(update={"exchange": exchange, "live_exchange": live}), given=secrets)

    def with_risk(self, **values: object) -> "Settings":
        """Return these settings with other values in [live_risk].

        Raises:
            ConfigError: they make no section.
        """
        risk = checked({"live_risk": self.file.live_risk.model_dump() | values}, text="", path=self.path).file.live_risk
        return replace(self, file=self.file.model_copy(update={"live_risk": risk}))

    def get(self, key: str, default: object = None) -> object:
        """Return the value of a dotted key, a section as a plain dict, or *default* where there is none."""
        found: object = self.file.model_dump(mode="json")
        for part in split_key(key):
            if not isinstance(found, Mapping) or part not in found:
                return default
            found = found[part]
        return found

    def explain(self, key: str) -> Origin:
        """Tell a key's value, where it came from and what it means.

        Raises:
            ConfigError: no such key; names the nearest.
        """
        marker = object()
        value = self.get(key, marker)
        if value is marker:
            raise ConfigError(f"expected a configuration key, found {key!r}{_nearest(key, self.every_key())}")
        line = _line_of(self.text, key)
        source = f"{self.path}:{line}" if line else str(self.path) if _holds(self.raw, split_key(key)) else "default"
        return Origin(value=value, source=source, description=_description(key))

    def every_key(self) -> tuple[str, ...]:
        """Return every dotted key that has a value, in the order of the sections."""
        return tuple(_walk(self.file.model_dump(mode="json"), ""))


def _is_date(text: str) -> bool:
    try:
        parse_moment(text)
    except (ValueError, OverflowError):
        return False
    return True


def load_config(path: str | Path | None = None) -> Settings:
    """Read the configuration: *path*, else `PEAK_TRADE_CONFIG_PATH`, else `config.toml` here or in a folder above.

    Raises:
        ConfigError: no file, not TOML, an unknown key, a wrong value or a secret in it.
    """
    found = _locate(path)
    try:
        text = found.read_text("utf-8")
        raw = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected UTF-8 text in {found}, found other bytes at offset {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{found} can't be read ({error.strerror}); check its permissions") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"expected TOML in {found}, found a mistake: {error}") from error
    return checked(raw, text=text, path=found)


def checked(raw: Mapping[str, object], *, text: str, path: Path) -> Settings:
    """Turn parsed TOML into `Settings`.

    Raises:
        ConfigError: an unknown key, a wrong value or a secret.
    """
    refuse_secrets(raw, text, path)
    try:
        file = File.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(error, path)) from error
    return Settings(path=path, root=path.resolve().parent, text=text, file=file, raw=raw)


def refuse_secrets(raw: Mapping[str, object], text: str, path: Path) -> None:
    """Let a parsed file pass that holds no secret, in its comments neither.

    Raises:
        ConfigError: it holds one.
    """
    _refuse_secrets(raw, path)
    _refuse_comments(text, path)


def split_key(key: str) -> list[str]:
    """Split a dotted key; a part in double quotes may hold dots: `instrument."BTC/EUR".lot_step`."""
    return [part.strip('"') for part in re.findall(r'"[^"]*"|[^.]+', key)]


def service_socket() -> str:
    """Return where a service manager that started this process waits to hear of it; empty where none does."""
    return _ENVIRONMENT.get("NOTIFY_SOCKET", "")


def in_project() -> bool:
    """Tell whether `load_config()` has a file to read: one that is named, or `config.toml` here or in a folder above."""
    return bool(_ENVIRONMENT.get(PATH_VARIABLE)) or _nearby() is not None


def _nearby() -> Path | None:
    here = Path.cwd()
    return next((folder / "config.toml" for folder in (here, *here.parents) if (folder / "config.toml").is_file()), None)


def _locate(path: str | Path | None) -> Path:
    named = path or _ENVIRONMENT.get(PATH_VARIABLE)
    if named:
        found = Path(named).expanduser()
        if not found.is_file():
            how = "--config" if path else PATH_VARIABLE
            raise ConfigError(f"expected a configuration file at {found} (named by {how}), found none; correct {how}")
        return found.absolute()
    if (near := _nearby()) is not None:
        return near
    raise ConfigError(
        f"expected config.toml in {Path.cwd()} or a folder above, found none; go to the project's folder or set {PATH_VARIABLE}"
    )


#: A key by one of these names must not be in the file, whatever its value (`*_url` and `*_path` may be).
_SECRET_NAME = re.compile(r"(api[_-]?key|api[_-]?secret|secret|passw(or)?d|passphrase|token|private[_-]?key|credential)", re.I)
#: Values that are secrets whatever the key: a Kraken secret (64 bytes in base64), a PEM key, a password in a URL.
_SECRET_VALUE = re.compile(
    r"^[A-Za-z0-9+/]{86}==$|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]*:[^/\s@]+@|[?&](password|passwd|sslpassword|token|secret)="
)


def _refuse_secrets(node: object, path: Path, key: str = "") -> None:
    if isinstance(node, Mapping):
        for name, value in node.items():
            _refuse_secrets(value, path, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            _refuse_secrets(value, path, key)
    elif (
        (isinstance(node, str | int | float) and str(node) and _names_secret(key.rsplit(".", 1)[-1], str(node)))
        or (isinstance(node, str) and _SECRET_VALUE.search(node.strip()))
        or _leads_to_people(key, str(node))
    ):
        raise ConfigError(
            f"expected no secret in {path}, found one under {key.partition('://')[0]}; delete it there, make a new one at the "
            "venue and set it as an environment variable"
        )


def _leads_to_people(key: str, value: str) -> bool:
    """Tell whether a value under [alerts] is an address of a channel: whoever has it can write to the people behind it."""
    if key.startswith("alerts.channels."):
        return "://" in key or re.fullmatch(VARIABLE, value) is None
    return key.startswith("alerts.") and "://" in value


def _names_secret(name: str, value: str) -> bool:
    """Tell whether a key holds a secret; one that ends in `_env` holds the name of a variable, else a secret after all."""
    return _SECRET_NAME.search(name) is not None and not (name.endswith("_env") and re.fullmatch(VARIABLE, value))


def _refuse_comments(text: str, path: Path) -> None:
    """Refuse a secret that was only commented out: it is in the file, and in every copy of it, all the same."""
    alerts = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*\"?(\w+)", line):
            alerts = header[1] == "alerts"
        comment = line.partition("#")[2]
        setting = re.match(r"\s*[\w.\"-]+\s*=\s*(\S+)", comment)
        words = [word.strip("\"',;") for word in comment.split()]
        named = setting and _names_secret(setting[0].split("=")[0].strip(), setting[1].strip("\"',;"))
        if named or ("://" in comment and (alerts or "alert" in comment)) or any(_SECRET_VALUE.search(word) for word in words):
            raise ConfigError(
                f"expected no secret in {path}, found one in the comment of line {number}; delete it there, make a new one "
                "at the venue and set it as an environment variable"
            )


def _sentence(error: ValidationError, path: Path) -> str:
    """Say the first problem of a validation in one sentence, an unknown key before a wrong value."""
    problems = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    problem = problems[0]
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "extra_forbidden":
        siblings = [".".join([*parts[:-1], name]) for name in _names_at(parts[:-1])]
        return f"expected only known keys in {path}, found {key}{_nearest(key, siblings)}{more}"
    if problem["type"] == "missing":
        return f"expected {key} in {path}, found nothing; add it{more}"
    found = problem.get("input")
    return f"{path}: {key} was {found!r}, but {_plain(problem['msg'])}; correct that line{more}"


def _plain(message: str) -> str:
    return re.sub(r"^Input s", "s", message.removeprefix("Value error, ")).replace("Input ", "it ")


def _names_at(parts: list[str]) -> list[str]:
    model = _model_at(parts)
    return list(model.model_fields) if model else []


def _model_at(parts: list[str]) -> type[Section] | None:
    """Return the section class that a path of keys leads to; a table of named sections takes one key of any name."""
    model: type[Section] | None = File
    named: type[Section] | None = None
    for part in parts:
        if named is not None:
            model, named = named, None
            continue
        if model is None or part not in model.model_fields:
            return None
        kind = model.model_fields[part].annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            model = kind
            continue
        inner: tuple[object, ...] = getattr(kind, "__args__", ())
        value = inner[1] if len(inner) == 2 else None
        named = value if isinstance(value, type) and issubclass(value, Section) else None
        model = None
    return model


def _nearest(key: str, keys: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; peak-trade config show lists the keys there are"


def _walk(node: Mapping[str, object], prefix: str) -> Iterator[str]:
    for name, value in node.items():
        quoted = f'"{name}"' if "/" in name or "." in name else name
        key = f"{prefix}.{quoted}" if prefix else quoted
        if isinstance(value, Mapping):
            yield from _walk(value, key)
        else:
            yield key


def _holds(node: object, parts: list[str]) -> bool:
    """Tell whether parsed TOML sets a key, wherever in the text."""
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _line_of(text: str, key: str) -> int | None:
    """Return the line on which the file sets *key*, or opens that section; None where it does not."""
    wanted = split_key(key)
    section: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            section = split_key(header[1].strip())
            if section == wanted:
                return number
        elif (setting := re.match(r'\s*("[^"]*"|[\w.-]+)\s*=', line)) and section + split_key(setting[1]) == wanted:
            return number
    return None


def _description(key: str) -> str:
    parts = split_key(key)
    model = _model_at(parts)
    if model is not None:
        return (model.__doc__ or "").strip()
    owner = _model_at(parts[:-1])
    if owner is not None and parts[-1] in owner.model_fields:
        return owner.model_fields[parts[-1]].description or ""
    of_profile = parts[0] == "testnet_profiles" and "params" in parts
    return "default of a strategy's parameter" if parts[0] == "strategy" else "a strategy's parameter" if of_profile else ""
