"""The configuration file: precedence, errors, secrets, explanations."""

import copy
import pickle
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.model.errors import ConfigError
from peak_trade.settings import PATH_VARIABLE, checked, load_config

ROOT = Path(__file__).resolve().parents[3]


def load(tmp_path: Path, text: str):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(path)


def test_the_shipped_file_holds_the_defaults(tmp_path):
    """Every value in config.toml equals the default, except the example strategy and profile sections."""
    shipped, bare = load_config(ROOT / "config.toml"), load(tmp_path, "")

    assert {key: shipped.get(key) for key in bare.every_key() if bare.get(key) != {}} == {
        key: bare.get(key) for key in bare.every_key() if bare.get(key) != {}
    }


@pytest.mark.parametrize(
    "section",
    [
        "backtest",
        "risk",
        "shadow",
        "live_risk",
        "shadow_paper",
        "exchange",
        "exchange.kraken_testnet",
        "testnet_limits",
        "live_exchange",
        "live",
    ],
)
def test_the_playbook_sections_are_in_the_file(section):
    """config.toml shows every section of the playbook, 9.1."""
    assert f"\n[{section}]" in (ROOT / "config.toml").read_text()


def test_the_linked_file_is_the_same():
    """config/config.toml, which the playbook commits, is the root file, and its folder counts as the root."""
    assert load_config(ROOT / "config" / "config.toml").root == ROOT


def test_an_unknown_key_names_the_nearest(tmp_path):
    """A typo is an error with a suggestion."""
    with pytest.raises(ConfigError, match=r"backtest\.fee_bp; did you mean backtest\.fee_bps"):
        load(tmp_path, "[backtest]\nfee_bp = 1")


def test_an_unknown_section_names_the_nearest(tmp_path):
    """So is a misspelt section."""
    with pytest.raises(ConfigError, match="did you mean backtest"):
        load(tmp_path, "[backtets]")


@pytest.mark.parametrize(
    "text",
    [
        '[exchange]\napi_key = "abc"',
        '[exchange.kraken_testnet]\napi_secret = "abc"',
        '[environment]\nname = "-----BEGIN OPENSSH PRIVATE KEY-----"',
        '[paths]\nregistry = "postgresql://me:password@localhost/db"',
        '[strategy.mine]\ntoken = "x"',
        '[paths]\nregistry = "postgresql://me@localhost/db?password=hunter2"',
        f'[environment]\nname = "{"A" * 86}=="',
        '[strategy.mine]\nlist = ["-----BEGIN PRIVATE KEY-----"]',
    ],
)
def test_a_secret_in_the_file_is_refused(tmp_path, text):
    """Keys that name secrets and values that look like secrets are refused, and the value is not repeated."""
    with pytest.raises(ConfigError, match="expected no secret") as caught:
        load(tmp_path, text)

    assert "password" not in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_validate_only_cannot_be_switched_off(tmp_path):
    """The testnet connection is validate-only by type."""
    with pytest.raises(ConfigError, match=r"validate_only was False, but should be True"):
        load(tmp_path, "[exchange.kraken_testnet]\nvalidate_only = false")


@pytest.mark.parametrize(
    "text",
    [
        "[backtest]\nfee_bps = -1",
        "[backtest]\nfee_bps = nan",
        '[backtest]\ninitial_cash = "NaN"',
        '[backtest]\ninitial_cash = "0"',
        "[risk]\nstop_loss = 1.0",
        '[environment]\nmode = "prod"',
        "[live_risk]\nmax_open_positions = 0",
    ],
)
def test_wrong_values_are_refused(tmp_path, text):
    """A value outside its range is an error that names the key."""
    key = text.splitlines()[1].split(" ")[0]

    with pytest.raises(ConfigError, match=key):
        load(tmp_path, text)


def test_broken_toml_says_where(tmp_path):
    """A syntax error carries its line."""
    with pytest.raises(ConfigError, match="line 2"):
        load(tmp_path, "[backtest]\nfee_bps = = 1")


def test_other_bytes_are_refused(tmp_path):
    """A file that is not UTF-8 is one sentence."""
    (tmp_path / "config.toml").write_bytes(b'name = "\xff"')

    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "config.toml")


def test_the_argument_beats_the_environment(tmp_path, monkeypatch):
    """--config wins over PEAK_TRADE_CONFIG_PATH, which wins over the folder."""
    for name in ("argument", "variable", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(f'[environment]\nname = "{name}"')
    monkeypatch.chdir(tmp_path / "folder")
    in_folder = load_config().get("environment.name")
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "variable" / "config.toml"))
    by_variable = load_config().get("environment.name")

    assert [in_folder, by_variable, load_config(tmp_path / "argument" / "config.toml").get("environment.name")] == [
        "folder",
        "variable",
        "argument",
    ]


def test_a_folder_below_the_project_finds_it(tmp_path, monkeypatch):
    """Commands work from a subfolder; paths start at the file's folder."""
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")

    settings = load_config()

    assert settings.registry_url == f"sqlite:///{tmp_path}/var/registry.db"


def test_no_file_says_what_to_do(tmp_path, monkeypatch):
    """The playbook's troubleshooting table: set PEAK_TRADE_CONFIG_PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)

    with pytest.raises(ConfigError, match=PATH_VARIABLE):
        load_config()


def test_a_wrong_path_names_its_source(tmp_path, monkeypatch):
    """The message tells whether the option or the variable is wrong."""
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "none.toml"))

    with pytest.raises(ConfigError, match=f"named by {PATH_VARIABLE}"):
        load_config()


def test_get_takes_dotted_keys(tmp_path):
    """`get` finds values, whole sections and quoted names, else gives the default."""
    settings = load(tmp_path, '[instrument."BTC/EUR"]\nlot_step = "0.5"')

    assert settings.get("exchange.default_type") == "kraken_testnet"
    assert settings.get('instrument."BTC/EUR".lot_step') == "0.5"
    assert settings.get("live") == {"enabled": False}
    assert settings.get("nothing.here", 7) == 7


def test_explain_tells_file_line_and_meaning(tmp_path):
    """A value of the file is named with its line, another as default."""
    settings = load(tmp_path, "# comment\n[backtest]\nfee_bps = 12.5")

    assert settings.explain("backtest.fee_bps").source.endswith("config.toml:3")
    assert settings.explain("backtest.slippage_bps").source == "default"
    assert "basis points" in settings.explain("backtest.fee_bps").description


def test_explain_sees_inline_tables(tmp_path):
    """A value set inside an inline table is no default."""
    settings = load(tmp_path, "backtest = { fee_bps = 12.5 }")

    assert settings.explain("backtest.fee_bps").source.endswith("config.toml")


def test_explain_of_a_wrong_key_suggests(tmp_path):
    """So does asking for a key that is not there."""
    with pytest.raises(ConfigError, match=r"did you mean backtest\.fee_bps"):
        load(tmp_path, "").explain("backtest.fee")


def test_every_key_can_be_explained():
    """Each key of the shipped file has a value and, outside strategies, a meaning."""
    settings = load_config(ROOT / "config.toml")
    silent = [key for key in settings.every_key() if not settings.explain(key).description]

    assert silent == []


def test_money_is_exact(tmp_path):
    """An amount given as text is the decimal that was written."""
    assert load(tmp_path, '[backtest]\ninitial_cash = "0.10"').file.backtest.initial_cash == Decimal("0.10")


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        ),
        max_size=4,
    )
)
def test_any_table_is_checked_or_refused(raw):
    """Whatever the file holds, it becomes settings or one error of ours."""
    try:
        settings = checked(raw, text="", path=Path("config.toml"))
    except ConfigError:
        return

    assert settings.file is not None


@pytest.mark.parametrize(
    "text",
    [
        '# api_secret = "abc"',
        f"# old: {'B' * 86}==",
        "[strategy.mine]\napi_key = 12345",
        f'[environment]\nname = " {"A" * 86}== "',
    ],
)
def test_disguised_secrets_are_refused(tmp_path, text):
    """Commented out, as a number or with spaces around it, a secret is one."""
    with pytest.raises(ConfigError, match="expected no secret"):
        load(tmp_path, text)


def test_the_names_of_secrets_may_be_in_the_file(tmp_path):
    """Which variable holds a secret may be said; the secret is read when it is asked for."""
    told = load(tmp_path, '[exchange.kraken_testnet]\napi_key_env = "MY_KEY"  # api_secret_env = "MY_SECRET"')

    assert told.file.exchange.kraken_testnet.api_key_env == "MY_KEY"
    assert told.file.exchange.kraken_testnet.api_secret_env == "KRAKEN_TESTNET_API_SECRET"


@pytest.mark.parametrize("text", ['api_key_env = "s3cr+t/lower"', '# api_secret_env = "s3cr+t/lower"'])
def test_a_secret_in_place_of_its_name_is_refused(tmp_path, text):
    """What is no name of a variable is taken for the secret itself, and not repeated."""
    with pytest.raises(ConfigError, match="expected no secret") as caught:
        load(tmp_path, f"[exchange.kraken_testnet]\n{text}")

    assert "s3cr" not in str(caught.value)


def test_a_secret_comes_from_the_environment(tmp_path, monkeypatch):
    """It is read under its name, without the spaces around it, and shown by nothing."""
    monkeypatch.setenv("MY_SECRET", " hush\n")
    secret = load(tmp_path, "").secret("MY_SECRET")

    assert secret.reveal() == "hush"
    shown = f"{secret} {secret!r} {secret:>9} {[secret]} {vars(type(secret)).keys()} {dir(secret)}"
    assert "hush" not in shown
    with pytest.raises(TypeError, match="pickled or copied"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="pickled or copied"):
        copy.deepcopy(secret)
    with pytest.raises(AttributeError, match="can't be changed"):
        secret.name = "OTHER"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_secret_that_is_not_set_is_asked_for(tmp_path, monkeypatch, value):
    """The sentence names the variable and the command that sets it."""
    monkeypatch.delenv("MY_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_SECRET", value)

    with pytest.raises(ConfigError, match=r'environment variable MY_SECRET, found none; .*export MY_SECRET="\.\.\."'):
        load(tmp_path, "").secret("MY_SECRET")


def test_the_shipped_profiles_keep_the_limits():
    """The delivered profiles ask for nothing that the delivered limits refuse."""
    file = load_config(ROOT / "config.toml").file
    limits = file.testnet_limits

    assert {"quick_smoke", "ma_crossover_small", "btc_momentum", "eth_swing"} <= set(file.testnet_profiles)
    for profile in file.testnet_profiles.values():
        assert profile.max_orders <= limits.run.max_orders
        assert profile.duration_minutes <= limits.run.max_duration_minutes
        assert all(profile.max_order_notional <= limits.symbols[symbol].max_order_notional for symbol in profile.symbols)
