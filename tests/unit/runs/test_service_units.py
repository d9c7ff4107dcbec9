"""The units and the image that are shipped name commands and options that exist, and keep to what they promise."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.paths import ROOT

from peak_trade.cli.main import app

OPS = ROOT / "ops"
UNITS = sorted((OPS / "systemd").glob("*.service"))
PROGRAM = "/opt/peak-trade/.venv/bin/peak-trade"
EXAMPLE = dict(
    line.split("=", 1) for line in (OPS / "systemd" / "session.env").read_text().splitlines() if not line.startswith("#")
)


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Return the values of a unit's settings, by name."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def objection(words: list[str]) -> str | None:
    """Return why the command line does not take these words, None where it does; nothing is run."""
    command: Any = typer.main.get_command(app)
    left = words
    while hasattr(command, "commands"):
        if not left or left[0] not in command.commands:
            return f"there is no command {left[:1]}"
        command, left = command.commands[left[0]], left[1:]
    try:
        command.make_context("x", list(left))
    except Exception as error:  # noqa: BLE001 - whatever the parser raises
        return str(error)
    return None


def test_the_test_can_say_no() -> None:
    assert objection(["supervisor", "run"]) is None
    assert objection(["supervisor", "walk"]) is not None
    assert objection(["supervisor"]) is not None
    assert objection(["supervisor", "run", "--fast"]) is not None


def test_there_is_a_unit_for_each_service() -> None:
    assert [unit.name.removeprefix("peak-trade-").removesuffix(".service") for unit in UNITS] == [
        "dashboard",
        "scheduler",
        "session@",
        "supervisor",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_what_exists(unit: Path) -> None:
    (line,) = settings_of(unit)["ExecStart"]
    program, *words = line.split()
    given = [part for word in words for part in (shlex.split(EXAMPLE[word[1:]]) if word.startswith("$") else [word])]
    assert program == PROGRAM
    assert objection(given) is None


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_may_do_no_more_than_it_needs(unit: Path) -> None:
    told = settings_of(unit)
    expected = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "User": "peak-trade"}
    assert {name: told[name][0] for name in expected} == expected
    assert told["CapabilityBoundingSet"] == [""]
    assert all(path.startswith("/var/lib/peak-trade/") for path in told["ReadWritePaths"][0].split())
    assert all(path.removeprefix("-").startswith("/etc/peak-trade/") for path in told["EnvironmentFile"])
    assert not re.search(r"(?i)(key|secret|token|password)\s*=\s*\S", unit.read_text().replace("safety key", ""))


def test_the_safety_key_is_the_supervisors_alone() -> None:
    having = [unit.name for unit in UNITS if "-/etc/peak-trade/safety.env" in settings_of(unit)["EnvironmentFile"]]
    assert having == ["peak-trade-supervisor.service"]


def test_a_session_is_started_again_after_a_death_and_not_after_a_no() -> None:
    told = settings_of(OPS / "systemd" / "peak-trade-session@.service")
    assert told["Restart"] == ["on-failure"]
    assert told["RestartPreventExitStatus"] == ["1 2 3 130"]
    assert told["KillSignal"] == ["SIGTERM"]
    assert (told["WatchdogSec"], told["NotifyAccess"]) == (["120"], ["main"])


def test_the_image_checks_itself_with_a_command_that_exists() -> None:
    text = (OPS / "Containerfile").read_text()
    (check,) = re.findall(r"HEALTHCHECK .*CMD \[(.*)\]", text)
    program, *words = [word.strip('" ') for word in check.split(",")]
    assert (program, objection(words)) == ("peak-trade", None)
    (given,) = re.findall(r"^CMD \[(.*)\]", text, re.M)
    assert objection([word.strip('" ') for word in given.split(",")]) is None
    assert text.index("\nUSER peak-trade\n") < text.index("\nENTRYPOINT")
    assert not re.search(r"(?i)^(env|arg).*(key|secret|token|password)", text, re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """The program is put where the test can; everything else is as shipped."""
    program = tmp_path / "peak-trade"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, str(program)))
    names = [str(tmp_path / unit.name.replace("@.", "@one.")) for unit in UNITS]
    (tmp_path / "peak-trade-session@one.service").symlink_to(tmp_path / "peak-trade-session@.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        check=False,
        timeout=60,
    )
    mine = [line for line in done.stderr.splitlines() if "peak-trade" in line]
    assert (done.returncode, mine) == (0, []), done.stderr
