"""`peak-trade incident`: by hand, with what a session went through, and what it says of bad input."""

import json

import pytest

CLOSING = ("--cause", "the feed sent a bar twice", "--follow-up", "the feed drops repeats now")
OPENING = ("incident", "open", "--title", "Prices look wrong", "--why", "the spread is odd")


def test_the_life_of_an_incident(project):
    assert "no incident yet" in project.run("incident", "list").out
    run = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html", "--json")
    session = project.run(*run).json["session_id"]
    opened = project.run(*OPENING, "--severity", "critical", "--session", session, "--by", "kim", "--json")
    assert opened.code == 0
    name = opened.json["id"]
    assert project.run("incident", "list", "--open").code == 1

    shown = project.run("incident", "show", name, "--json").json
    kinds = {item["what"] for item in shown["timeline"]}
    assert {"begun", "sending", "filled", "ended"} <= kinds
    assert shown["session_id"] == session
    assert "## Timeline" in project.run("incident", "show", name).out

    assert project.run("incident", "note", name, "--words", "asked the exchange").code == 0
    closed = project.run("incident", "close", name, "--by", "kim", *CLOSING)
    assert (closed.code, "closed by kim" in closed.out) == (0, True)
    assert project.run("incident", "list", "--open").code == 0
    [line] = project.run("incident", "list", "--json").json
    assert (line["cause"], line["open"], "timeline" in line) == (CLOSING[1], False, False)
    report = json.loads((project.folder / "reports" / "incidents" / f"{name}.json").read_text())
    assert report["notes"][0]["words"] == "asked the exchange"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((*OPENING, "--severity", "urgent"), 2, "low, medium, high, critical"),
        ((*OPENING, "--severity", "high", "--session", "none"), 2, "none"),
        ((*OPENING, "--severity", "high", "--key", ""), 0, ""),
        (("incident", "show", "latest"), 2, "peak-trade incident list"),
        (("incident", "close", "x", "--by", "kim", *CLOSING), 2, "peak-trade incident list"),
        (("incident", "close", "x", "--by", "kim"), 2, "--cause"),
        (("incident", "note", "x", "--words", ""), 2, "the note"),
    ],
)
def test_bad_input(project, words, code, said):
    found = project.run(*words)
    assert (found.code, said in found.err) == (code, True)
    assert found.err.count("\n") <= 1
