"""The file of jobs: typed, closed, and with commands from a table that a person has, too."""

import pytest
import typer
from tests.paths import ROOT

from peak_trade.cli.main import app
from peak_trade.model.errors import ConfigError
from peak_trade.runs.schedule.file import read_schedule
from peak_trade.runs.schedule.job import made_in
from peak_trade.runs.schedule.kinds import COMMANDS, account_of, kind_of, secrets_of
from peak_trade.settings import checked

JOB = '[jobs.check]\ncommand = ["journal", "verify"]\nevery = "1h"\n'


def read(tmp_path, text):
    path = tmp_path / "scheduler.toml"
    path.write_text(text)
    return read_schedule(path)


def test_the_file_that_comes_along_is_sound():
    """Every job of it can be read, and what needs a network or a choice is off."""
    schedule = read_schedule(ROOT / "config" / "scheduler.toml")

    assert {job.kind.name for job in schedule.jobs.values() if job.enabled} == {"verification", "backup", "alerts"}
    assert schedule.stop_grace.total_seconds() == 30


def test_a_job_has_its_kinds_times_unless_the_file_says_otherwise(tmp_path):
    """Grace and time limit come from the kind, then from the job."""
    usual = read(tmp_path, JOB).jobs["check"]
    own = read(tmp_path, JOB + "grace_minutes = 2\ntimeout_minutes = 0.5\n").jobs["check"]

    assert (usual.grace, usual.longest) == (usual.kind.grace, usual.kind.longest)
    assert (own.grace.total_seconds(), own.longest.total_seconds()) == (120, 30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JOB + "tiemout_minutes = 3", "found jobs.check.tiemout_minutes; did you mean timeout_minutes?"),
        ("[schedular]\n", "found schedular; did you mean scheduler?"),
        ("[scheduler]\nstop_grace = 3\n", "found scheduler.stop_grace; did you mean stop_grace_s?"),
        (JOB + 'cron = "0 1 * * *"', "either cron or every under jobs.check in .*, found both"),
        ('[jobs.check]\ncommand = ["journal", "verify"]', "either cron or every under jobs.check in .*, found neither"),
        ('[jobs.check]\nevery = "1h"', "expected jobs.check.command in .*, found nothing"),
        ('[jobs.check]\ncommand = []\nevery = "1h"', "jobs.check.command was"),
        ('[jobs.check]\ncommand = ["jornal", "verify"]\nevery = "1h"', "found jornal verify; did you mean journal verify?"),
        ('[jobs.check]\ncommand = ["release", "--why", "x"]\nevery = "1h"', "a command that may be scheduled, found release"),
        ('[jobs.check]\ncommand = ["kill"]\nevery = "1h"', "a command that may be scheduled, found kill"),
        ('[jobs.check]\ncommand = ["gate", "decide"]\nevery = "1h"', "a command that may be scheduled, found gate decide"),
        ('[jobs.check]\ncommand = ["backup", "--config=x"]\nevery = "1h"', "a command without --config"),
        ('[jobs.check]\ncommand = ["backup", "--to", "a\\nb"]\nevery = "1h"', "expected printable words"),
        ('[jobs.check]\ncommand = ["backup"]\nevery = "90x"', "jobs.check in .*: expected an interval"),
        ('[jobs.check]\ncommand = ["backup"]\nevery = 90', "jobs.check.every was 90"),
        ('[jobs."A b"]\ncommand = ["backup"]\nevery = "1h"', "expected job names"),
        ("[scheduler]\nstop_grace_s = 0.5\n", "scheduler.stop_grace_s was 0.5"),
        (JOB + 'api_secret = "x"', "expected no secret in"),
        ("jobs = 3", "jobs was 3"),
        ("[jobs", "expected TOML in"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, text, words):
    """An unknown key names the nearest one; a command that is for people alone is none of a scheduler's."""
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path):
    """And how another one is named."""
    with pytest.raises(ConfigError, match=r"expected the file of jobs at .*, found none; write one, or name it with --config"):
        read_schedule(tmp_path / "none.toml")


def test_every_command_that_may_be_scheduled_is_one():
    """Each is a command of ours that takes a configuration and can answer in JSON."""
    group = typer.main.get_command(app)
    for words in COMMANDS:
        command = group
        for word in words:
            command = command.commands[word]
        names = {name for parameter in command.params for name in parameter.opts}

        assert {"--config", "--json"} <= names, words


def test_secrets_are_for_those_that_need_them(tmp_path):
    """A backup gets none, a readiness check the key, sending alerts the channels; an emulator makes keys of its own."""
    raw = {"alerts": {"channels": {"ops": "PEAK_TRADE_ALERT_OPS"}}}
    settings = checked(raw, text="", path=tmp_path / "config.toml")
    keys = ("KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET")

    def needed(*command):
        return secrets_of(kind_of(command), command, settings)

    assert needed("backup") == needed("journal", "verify") == needed("session", "run") == ()
    assert needed("readiness", "--stage", "testnet") == needed("testnet", "run", "quick_smoke") == keys
    assert needed("readiness", "--stage", "testnet", "--emulator") == ()
    assert needed("alert", "send") == ("PEAK_TRADE_ALERT_OPS",)


def test_the_account_of_a_command():
    """Told with a space or an equals sign, or not at all."""
    assert account_of(["session", "run", "--account", "spare"]) == "spare"
    assert account_of(["session", "run", "--account=spare"]) == "spare"
    assert account_of(["session", "run"]) is None
    assert account_of(["session", "run", "--account"]) is None


@pytest.mark.parametrize(
    ("printed", "made"),
    [
        (b'{"session_id": "s1", "run_id": "r1", "x": {"run_id": "no"}}', ["run_id=r1", "session_id=s1"]),
        (b'{"sessions": [{"session_id": "s1"}, {"session_id": "s2"}]}', ["session_id=s1", "session_id=s2"]),
        (b'[{"run_id": "r1"}, 3]', ["run_id=r1"]),
        (b'{"run_id": 3}', []),
        (b"not JSON", []),
        (b"", []),
        (b"[" * 100_000, []),
    ],
)
def test_what_a_command_made_is_read_from_its_document(printed, made):
    """Whatever it printed."""
    assert made_in(printed) == made
