"""The two things that an operator may do over HTTP, each asked twice and journalled; and that nothing else does them."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.dashboard import Served, ShiftedClock, hidden, serving
from tests.e2e.houses import QUICK, put

from peak_trade.compose import Parts
from peak_trade.journal.operators import token_hash
from peak_trade.settings import load_config

KILL = "/kill-switch"
WHY = 'prices <b>look</b> wrong: 50%s of "BTC/EUR" {{7*7}}'
COOKIE = "peak_trade_form"
#: Seconds that anything may take that must not be waited for otherwise.
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def served(project, clock) -> Iterator[Served]:
    """The dashboard of an empty folder, on a clock that can be put forward."""
    with serving(clock=clock) as made:
        yield made


@pytest.fixture
def token(served) -> str:
    """The token of maria, who is an operator."""
    return served.operator("maria")


@pytest.fixture
def failed(served) -> str:
    """The id of a session that failed."""
    return put(served.parts, "failed", error="it broke")


def acknowledging(session_id: str) -> str:
    return f"/session/{session_id}/acknowledge"


def journalled(project) -> list[tuple[Any, ...]]:
    """Return what the operators' journal says was done: action, by whom, through what, how it ended."""
    folder = project.folder / "var" / "journal" / "operators"
    found = []
    for path in sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name):
        begun, *rest = (json.loads(line)["body"] for line in path.read_text().splitlines())
        if begun["action"] not in ("operator_add", "operator_revoke"):
            found.append((begun["action"], begun["by"], begun["via"], rest[-1]["status"] if rest else "-"))
    return found


def nothing_done(project, served: Served) -> bool:
    """Tell whether neither the kill switch is on nor any session acknowledged, nor anything journalled."""
    sessions = served.json("/api/live_sessions")["sessions"]
    killed = "\npeak_trade_kill_switch_on 1.0\n" in served.get("/metrics").text
    return not killed and not any(row["acknowledged"] for row in sessions) and journalled(project) == []


# ---- as it should go -------------------------------------------------------------------------------------------------


def test_the_kill_switch(project, served, token):
    """Asked, asked again, turned on: told on every page, journalled by name, and no session can begin any more."""
    asked = served.ask(KILL, token, WHY)
    assert asked.status_code == 200
    assert "Turn it on now?" in asked.text
    assert WHY in unescape(asked.text)
    assert token not in asked.text
    assert nothing_done(project, served)

    done = served.confirm(KILL, asked)

    assert (done.status_code, done.headers["location"]) == (303, KILL)
    page = unescape(served.get(KILL).text)
    assert all(words in page for words in ("ON", "maria", WHY, "peak-trade release --why"))
    assert "<b>look</b>" not in served.get(KILL).text
    assert "The kill switch is on" in served.get("/").text
    assert "on since" in served.get("/api/health").text
    assert "\npeak_trade_kill_switch_on 1.0\n" in served.get("/metrics").text
    refused = project.run(*QUICK)
    assert (refused.code, "set by maria" in refused.err) == (3, True)
    assert journalled(project) == [("kill", "maria", "dashboard", "completed")]
    assert project.run("journal", "verify").code == 0


def test_released_at_the_machine(project, served, token):
    """The dashboard offers no way to turn it off; when it is released at the machine every page says so."""
    served.confirm(KILL, served.ask(KILL, token))
    assert "<form" not in re.sub(r'<form class="filters".*?</form>', "", served.get(KILL).text, flags=re.S)

    assert project.run("release", "--why", "it was a test").code == 0

    assert "The kill switch is on" not in served.get("/").text
    assert journalled(project)[1][0] == "release"
    assert project.run("journal", "verify").code == 0


def test_acknowledging_a_failed_session(project, served, token, failed):
    """A failure stands out until a person has seen it: asked, asked again, noted by name in registry and journal."""
    assert f'<tr id="s-{failed}" class="attention">' in served.get("/").text
    assert "Failed sessions that nobody has acknowledged: 1" in served.get("/").text

    asked = served.ask(acknowledging(failed), token, WHY)
    assert asked.status_code == 200
    assert "Is this right?" in asked.text
    assert nothing_done(project, served)
    done = served.confirm(acknowledging(failed), asked)

    assert (done.status_code, done.headers["location"]) == (303, f"/session/{failed}")
    told = served.json(f"/api/live_sessions/{failed}")["acknowledged"]
    assert (told["by"], told["note"]) == ("maria", WHY)
    page = served.get(f"/session/{failed}").text
    assert WHY in unescape(page)
    assert "nobody has acknowledged" not in page
    assert "nobody has acknowledged" not in served.get("/").text
    assert served.json("/api/live_sessions?unhandled=1")["sessions"] == []
    assert journalled(project) == [("acknowledge", "maria", "dashboard", "completed")]
    assert project.run("journal", "verify").code == 0


def test_the_first_note_stays(project, served, token, failed):
    """A session that was acknowledged meanwhile keeps the first note."""
    asked = served.ask(acknowledging(failed), token, "mine")
    assert project.run("session", "acknowledge", failed, "--note", "theirs", "--by", "kim").code == 0

    assert served.confirm(acknowledging(failed), asked).status_code == 303

    assert served.json(f"/api/live_sessions/{failed}")["acknowledged"]["note"] == "theirs"
    assert "theirs" in served.get(acknowledging(failed)).text
    assert [row[1] for row in journalled(project)] == ["kim"]


def test_the_token_is_kept_nowhere(project, served, token, failed):
    """After both actions no file of the installation holds the token, and the registry holds its hash."""
    served.confirm(KILL, served.ask(KILL, token))
    served.confirm(acknowledging(failed), served.ask(acknowledging(failed), token))
    served.post(KILL, {"token": token})

    files = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}

    assert [path for path, content in files.items() if token.encode() in content] == []
    assert [path.name for path, content in files.items() if token_hash(token).encode() in content] == ["registry.db"]


def test_cookies(served):
    """The cookie of a form is for this origin only, out of reach of scripts, unguessable, and the same while it is good."""
    first = served.get(KILL)
    again = served.get(KILL)

    cookie = first.headers["set-cookie"]
    assert re.fullmatch(rf"{COOKIE}=[0-9a-f]{{32}}; HttpOnly; Path=/; SameSite=strict", cookie)
    assert again.headers["set-cookie"] == cookie
    assert hidden(first.text) == {"browser": cookie[len(COOKIE) + 1 :].split(";")[0]}
    served.client.cookies.clear()
    assert served.get(KILL).headers["set-cookie"] != cookie


@pytest.mark.parametrize("value", ["x", "0" * 31, "0" * 33, "G" * 32, '"\\001\\012"', "<script>", "a" * 5_000])
def test_a_cookie_that_is_none_of_ours(served, value):
    """A cookie that was made up is not taken over into a page or an answer."""
    answer = served.get(KILL, headers={"cookie": f"{COOKIE}={value}"})

    assert answer.status_code == 200
    assert re.fullmatch(rf"{COOKIE}=[0-9a-f]{{32}}; HttpOnly; Path=/; SameSite=strict", answer.headers["set-cookie"])
    assert value == "x" or value not in answer.text


# ---- what is refused, and leaves nothing done ------------------------------------------------------------------------


def test_without_a_token(project, served):
    """No token, a wrong one, a hash or an empty one is nobody's; what was written is kept for the next attempt."""
    for wrong in ("", "ptop_wrong", token_hash("x"), "\0", "x" * 5_000):
        answer = served.ask(KILL, wrong, WHY)
        assert (answer.status_code, "That is no operator&#39;s token" in answer.text) == (403, True)
        assert WHY in unescape(answer.text)
        assert "ticket" not in hidden(answer.text)
        assert len(wrong) < 5 or wrong not in answer.text
    assert nothing_done(project, served)


def test_a_revoked_token(project, served, token, failed):
    """A token that was taken away is no better than a wrong one, also for what was asked before."""
    asked, noted = served.ask(KILL, token), served.ask(acknowledging(failed), token)
    assert project.run("operator", "revoke", "maria").code == 0

    assert served.ask(KILL, token).status_code == 403
    for path, question in ((KILL, asked), (acknowledging(failed), noted)):
        answer = served.confirm(path, question)
        assert (answer.status_code, "revoked" in answer.text) == (403, True)
    assert nothing_done(project, served)


def test_without_a_reason(project, served, token):
    """A reason is needed, and must be text that can be shown, of bounded length."""
    for why, words in (
        ("", "A reason is needed"),
        (" \n", "A reason is needed"),
        ("x" * 501, "too long"),
        ("a\0b", "too long"),
    ):
        answer = served.ask(KILL, token, why)
        assert (answer.status_code, words in answer.text, "ticket" in hidden(answer.text)) == (400, True, False)
    assert "too long" in served.ask(KILL, token, "\u202eabc").text
    assert nothing_done(project, served)


def test_the_longest_reason(project, served, token):
    """A reason of the largest length arrives whole."""
    why = "ü" * 500
    served.confirm(KILL, served.ask(KILL, token, why))

    assert why in served.get(KILL).text


def test_confirmed_without_being_asked(project, served, token, failed):
    """A confirmation needs the number of a question: none, an empty and a made up one are refused."""
    form = hidden(served.get(KILL).text)
    for path in (KILL, acknowledging(failed)):
        for ticket in ({}, {"ticket": ""}, {"ticket": "0" * 32}, {"ticket": form["browser"]}):
            answer = served.post(f"{path}/confirmed", form | ticket | {"token": token, "why": "x"})
            assert (answer.status_code, "nothing was done" in answer.text) == (400, True)
    assert nothing_done(project, served)


def test_confirmed_twice(project, served, token):
    """A confirmation that is sent again is refused, and nothing is done a second time."""
    asked = served.ask(KILL, token)
    assert served.confirm(KILL, asked).status_code == 303
    assert project.run("release", "--why", "it was a test").code == 0

    assert served.confirm(KILL, asked).status_code == 400

    assert "The kill switch is on" not in served.get("/").text
    assert [row[0] for row in journalled(project)] == ["kill", "release"]


def test_confirmed_too_late(project, served, token, clock):
    """Two minutes after the question it is too late, just before not."""
    late, early = served.ask(KILL, token), served.ask(KILL, token)
    clock.shift_s = 121.0
    assert served.confirm(KILL, late).status_code == 400
    assert nothing_done(project, served)

    clock.shift_s = 100.0
    assert served.confirm(KILL, early).status_code == 303


def test_confirmed_for_something_else(project, served, token, failed):
    """What was asked for one thing confirms no other: not the other action, not another session."""
    other = put(served.parts, "failed", "other")
    for asked_at, confirmed_at in (
        (KILL, acknowledging(failed)),
        (acknowledging(failed), KILL),
        (acknowledging(failed), acknowledging(other)),
    ):
        answer = served.confirm(confirmed_at, served.ask(asked_at, token))
        assert (answer.status_code, "nothing was done" in answer.text) == (400, True)
    assert nothing_done(project, served)


def test_confirmed_in_another_browser(project, served, token):
    """Whoever gets hold of a number can't use it with a form of their own."""
    asked = hidden(served.ask(KILL, token).text)
    with httpx2.Client(base_url=served.url, trust_env=False) as thief:
        form = hidden(thief.get(KILL).text)
        stolen = thief.post(f"{KILL}/confirmed", data=form | {"ticket": asked["ticket"]})
        both = thief.post(f"{KILL}/confirmed", data=asked)

    assert (stolen.status_code, both.status_code) == (400, 400)
    assert nothing_done(project, served)


@pytest.mark.parametrize("cookie", [None, "", "0" * 32], ids=["none", "empty", "another"])
def test_a_form_without_its_cookie(project, served, token, cookie):
    """A form that another site sends has not got the cookie, or not this one, and is refused both times."""
    form, asked = hidden(served.get(KILL).text), hidden(served.ask(KILL, token).text)
    headers = {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}
    served.client.cookies.clear()

    for path, given in ((KILL, form | {"token": token, "why": "x"}), (f"{KILL}/confirmed", asked)):
        answer = served.post(path, given, headers=headers)
        assert (answer.status_code, "opened in this browser" in unescape(answer.text)) == (400, True)
    served.client.cookies.clear()
    assert nothing_done(project, served)


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_form_of_another_site(project, served, token, failed, headers):
    """Where the browser says that a form comes from elsewhere it is refused, even with cookie and token."""
    for path in (KILL, acknowledging(failed)):
        form = hidden(served.get(path).text) | {"token": token, "why": "x"}
        asked = served.ask(path, token)
        for address, given in ((path, form), (f"{path}/confirmed", hidden(asked.text))):
            answer = served.post(address, given, headers=headers)
            assert (answer.status_code, answer.json()["title"]) == (403, "Another origin")
    assert nothing_done(project, served)


def test_a_token_in_the_address(project, served, token, failed):
    """A token, a reason or a number in an address counts for nothing: addresses end up in histories and logs."""
    form = hidden(served.get(KILL).text)
    asked = hidden(served.ask(KILL, token).text)
    told = {"token": token, "why": "x", **asked}

    assert served.post(KILL, form, params=told).status_code == 400
    assert served.post(KILL, form | {"why": "x"}, params=told).status_code == 403
    assert served.post(f"{KILL}/confirmed", {}, params=told).status_code == 400
    for path in (KILL, f"{KILL}/confirmed", acknowledging(failed), f"{acknowledging(failed)}/confirmed"):
        answer = served.get(path, params=told)
        assert answer.status_code == (405 if path.endswith("confirmed") else 200)
        assert f'value="{token}"' not in answer.text
    headers = {"authorization": f"Bearer {token}", "x-token": token}
    assert served.post(KILL, form | {"why": "x"}, headers=headers).status_code == 403
    assert nothing_done(project, served)


def test_after_ten_wrong_tokens(project, served, token, clock):
    """After ten wrong tokens not even the right one is looked at, with what to do meanwhile; a minute later it is."""
    form = hidden(served.get(KILL).text) | {"why": "x"}
    answers = [served.post(KILL, form | {"token": f"wrong {number}"}).status_code for number in range(10)]

    assert answers == [403] * 9 + [429]
    locked = served.ask(KILL, token)
    assert (locked.status_code, "peak-trade kill --why REASON" in locked.text) == (429, True)
    clock.shift_s = 61.0
    assert served.ask(KILL, token).status_code == 200
    assert nothing_done(project, served)


def test_one_confirmation_sent_many_times_at_once(project, served, token):
    """Of one confirmation that arrives many times at the same moment one is done."""
    from concurrent.futures import ThreadPoolExecutor

    asked = served.ask(KILL, token)
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: served.confirm(KILL, asked).status_code, range(8)))

    assert statuses == [303] + [400] * 7
    assert [row[0] for row in journalled(project)] == ["kill"]


@pytest.mark.parametrize("status", ["completed", "aborted", "started"])
def test_only_failures_are_acknowledged(project, served, token, status):
    """A session that did not fail offers no form, and takes none."""
    name = put(served.parts, status)
    form = hidden(served.get(KILL).text) | {"token": token, "why": "x"}

    answers = [served.get(acknowledging(name)), served.post(acknowledging(name), form)]
    answers.append(served.post(f"{acknowledging(name)}/confirmed", form | {"ticket": "0" * 32}))

    assert [answer.status_code for answer in answers] == [400] * 3
    assert all("only failed ones wait for that" in answer.text for answer in answers)
    assert nothing_done(project, served)


def test_sessions_that_do_not_exist(project, served, token):
    """Nothing is acknowledged under an id that is none, or that fits several sessions."""
    names = [put(served.parts, "failed", account) for account in "ab"]
    form = hidden(served.get(KILL).text) | {"token": token, "why": "x"}

    for name in ("nowhere", "%", "_" * 26, names[0][:8], "..", "latest:backtest"):
        assert served.post(acknowledging(name), form).status_code in (404, 405), name
    assert nothing_done(project, served)


def test_the_latest_one_is_the_one_that_was_shown(project, served, token, failed):
    """A question about the latest session confirms nothing for one that came later."""
    asked = served.ask(acknowledging("latest"), token)
    later = put(served.parts, "failed", "later")

    answer = served.confirm(acknowledging("latest"), asked)

    assert (answer.status_code, served.json(f"/api/live_sessions/{later}")["acknowledged"]) == (400, None)
    assert nothing_done(project, served)


# ---- bodies ----------------------------------------------------------------------------------------------------------


def test_duplicate_fields(project, served, token):
    """A field that is sent twice does nothing twice, and no second reason slips past the question."""
    asked = hidden(served.ask(KILL, token, "shown").text)
    body = "&".join(f"{name}={value}" for name, value in (*asked.items(), *asked.items())) + "&why=hidden"
    cookies = {"content-type": "application/x-www-form-urlencoded", "origin": served.url}

    answer = served.client.post(f"{KILL}/confirmed", content=body, headers=cookies)

    assert answer.status_code == 303
    assert "shown" in served.get(KILL).text
    assert "hidden</blockquote>" not in served.get(KILL).text
    assert len(journalled(project)) == 1


@pytest.mark.parametrize("charset", ["utf-8", "unicode_escape", "punycode", "idna", "undefined", "utf-7", "nonsense"])
def test_forms_of_another_kind(project, served, token, charset):
    """A form with files, or in an encoding of its own, is none of ours and is refused without a fault."""
    form = hidden(served.get(KILL).text) | {"token": token, "why": "\\ud800"}
    parts = "".join(f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form.items())
    body = f'{parts}--X\r\nContent-Disposition: form-data; name="f"; filename="../../evil.py"\r\n\r\nprint()\r\n--X--\r\n'
    for path in (KILL, f"{KILL}/confirmed"):
        for kind in (
            f"multipart/form-data; boundary=X; charset={charset}",
            "multipart/form-data",
            "application/json",
            "text/plain",
        ):
            answer = served.client.post(path, content=body, headers={"content-type": kind})
            assert (answer.status_code, "nothing was done" in answer.text) == (400, True), kind
    assert nothing_done(project, served)
    assert not list(project.folder.parent.rglob("evil.py"))


@pytest.mark.parametrize("body", [b"", b"&&&;;;%%%=", b"%ff=%fe&browser=%00", b"=" * 9_000, b"a=1&" * 4_000, b"\xff\xfe" * 100])
def test_bodies_that_say_nothing(project, served, body):
    """Whatever else is sent as a form is refused in one sentence."""
    served.get(KILL)
    kind = {"content-type": "application/x-www-form-urlencoded"}

    assert [served.client.post(path, content=body, headers=kind).status_code for path in (KILL, f"{KILL}/confirmed")] == [
        400
    ] * 2
    assert nothing_done(project, served)


def test_large_bodies(project, served, token):
    """A body that is longer than any form, or does not say how long it is, is refused before it is read."""
    form = hidden(served.get(KILL).text) | {"token": token, "why": "x", "more": "y" * 17_000}
    assert served.post(KILL, form).status_code == 413
    assert served.client.post(KILL, content=iter([b"token="] * 3)).status_code == 413
    host = served.url.removeprefix("http://")
    for length in ("16385", "9" * 15):
        begun = f"POST {KILL} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        assert served.raw(begun).startswith(b"HTTP/1.1 413 ")
    assert nothing_done(project, served)


@pytest.mark.parametrize(
    "headers", ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: +5", "Content-Length: -1", "Content-Length: x"]
)
def test_lengths_that_are_none(served, headers):
    """A length that is told twice or is no number ends the connection with a refusal."""
    host = served.url.removeprefix("http://")

    answer = served.raw(f"POST {KILL} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\nConnection: close\r\n\r\nabcde")

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


def test_slow_bodies(project, served, token):
    """Forms that never come to their end keep nobody else waiting."""
    import socket

    host, port = served.url.removeprefix("http://").split(":")
    head = f"POST {KILL} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    waiting = [socket.create_connection((host, int(port)), timeout=10) for _ in range(60)]
    try:
        for connection in waiting:
            connection.sendall(f"{head}Content-Length: 100\r\n\r\ntoken=".encode())
        began = time.monotonic()
        assert served.get("/").status_code == 200
        assert served.confirm(KILL, served.ask(KILL, token)).status_code == 303
        assert time.monotonic() - began < PATIENCE_S
    finally:
        for connection in waiting:
            connection.close()


# ---- when something is broken ----------------------------------------------------------------------------------------


def test_without_a_registry(project, served, token):
    """Where tokens can't be looked up nothing is done and it is said why; the form still shows the command that needs none."""
    form = hidden(served.get(KILL).text) | {"token": token, "why": "x"}
    Path(project.folder / "var" / "registry.db").write_bytes(b"no database" * 5_000)

    answer = served.post(KILL, form)

    assert (answer.status_code, "registry.db" in answer.text) == (503, True)
    assert "peak-trade kill --why" in served.get(KILL).text
    assert not (project.folder / "var" / "kill_switch.json").exists()


def test_killed_without_a_registry(project, served, token):
    """What an operator was asked is done when they say yes, even if the registry is lost in between."""
    asked = served.ask(KILL, token)
    (project.folder / "var" / "registry.db").write_bytes(b"no database" * 5_000)

    served.confirm(KILL, asked)

    assert (project.folder / "var" / "kill_switch.json").exists()
    assert "The kill switch is on" in served.get(KILL).text


def test_a_journal_that_can_t_be_written(project, served, token):
    """The kill switch is turned on even where its record can't be written, and the answer says so."""
    asked = served.ask(KILL, token)
    folder = project.folder / "var" / "journal" / "operators"
    folder.rename(folder.with_name("moved"))
    folder.write_text("no folder")

    answer = served.confirm(KILL, asked)

    assert answer.status_code >= 500
    assert "the kill switch is on, but" in unescape(answer.text)
    assert "The kill switch is on" in served.get("/").text


def test_operators_of_another_process(project, served):
    """An operator who was made by the command while the dashboard runs may act at once; one revoked no longer."""
    with closing(Parts(load_config())) as parts:
        assert not parts.operators.any_active()
    token = project.run("operator", "add", "kim").out.strip()

    assert served.ask(KILL, token).status_code == 200
    project.run("operator", "revoke", "kim")
    assert served.ask(KILL, token).status_code == 403
