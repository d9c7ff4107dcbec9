"""The dashboard in German: no text lacks it, no translation is left over, and who asks gets it.

Texts that pages translate but data structures hold are taken from there; what a macro translates is heard from the macro.
"""

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from io import BytesIO
from itertools import product
from types import SimpleNamespace as Fake
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from babel.support import NullTranslations
from jinja2 import Environment, nodes
from starlette.exceptions import HTTPException
from starlette.requests import Request
from tests.unit.report.session_records import EXPECTED, a_session
from tests.unit.webui.desks import a_safety_desk

from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import Census
from peak_trade.model.errors import PeakTradeError, StorageError
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import ENDS, OrderKind, OrderState, Reason
from peak_trade.model.stage import Stage
from peak_trade.report import session_facts as facts
from peak_trade.report import session_tables as tables
from peak_trade.report.figures import FIGURES, RESEARCH_FIGURES, SESSION_FIGURES, figure_label
from peak_trade.report.probe_facts import HOLDS
from peak_trade.report.regime_facts import EARNED
from peak_trade.report.robustness_facts import DRAWN
from peak_trade.report.session_rows import side_of, words_of
from peak_trade.research.edge import EdgeAnswer
from peak_trade.research.metrics import LESS_IS_BETTER, Metrics
from peak_trade.risk.gate import Mode
from peak_trade.runs.gates import locks
from peak_trade.runs.sessions import view as session_view
from peak_trade.webui import actions, experiments, home, problems, session_page, strategies
from peak_trade.webui.desk import Urgent
from peak_trade.webui.header import Banner, header_of
from peak_trade.webui.language import COOKIE, LANGUAGES, Language, chosen, language
from peak_trade.webui.pages import _templates

#: The macros that pages share.
SHARED = ("parts.html", "report/parts.html")
BOTH = (False, True)


class Heard(NullTranslations):
    """A language that remembers every text it was asked for, and answers with the same."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()

    def gettext(self, message: str) -> str:
        """Remember a text."""
        self.texts.add(message)
        return message

    ugettext = gettext


class Ear:
    """The environment of the pages, the macros they share, and what these ask a translation for."""

    def __init__(self) -> None:
        self._heard = Heard()
        self.environment: Environment = _templates(Language("en", self._heard))
        self._parts = [self.environment.get_template(name).module for name in SHARED]

    def call(self, macro: str, *given: Any) -> None:
        """Hear a macro; what is the name of none is passed over."""
        for part in self._parts:
            if found := getattr(part, macro, None):
                found(*given)

    def said(self, found: Iterable[str]) -> None:
        """Hear texts that a page translates as they are."""
        self._heard.texts.update(found)

    def texts(self) -> set[str]:
        """Return everything that was heard."""
        return self._heard.texts - {""}


def catalog() -> Catalog:
    path = files("peak_trade.webui").joinpath("locale", "de", "LC_MESSAGES", "dashboard.po")
    return read_po(BytesIO(path.read_bytes()), locale="de", abort_invalid=True)


def german() -> dict[str, str]:
    """Return what the server can use: texts with a translation that nobody doubts."""
    return {str(one.id): str(one.string) for one in catalog() if one.id and one.string and not one.fuzzy}


def literal(node: nodes.Node) -> Any:
    """Return what a template says itself; what a page fills in is empty."""
    if isinstance(node, nodes.Const):
        return node.value
    return [literal(item) for item in node.items] if isinstance(node, nodes.List | nodes.Tuple) else ""


def template_texts() -> set[str]:
    """Return what templates mark, and what they hand to a macro that translates it."""
    ear = Ear()
    pages = ear.environment.list_templates(filter_func=lambda name: name.endswith(".html") and not name.startswith("report/"))
    for name in {*pages, *SHARED}:
        source = ear.environment.loader.get_source(ear.environment, name)[0]
        for _, _, found in ear.environment.extract_translations(source):
            # A text with placeholders comes with a gap for each of them, one that is taken from data as nothing.
            ear.said([found] if isinstance(found, str) else filter(None, found or ()))
        for call in ear.environment.parse(source).find_all(nodes.Call) if name in pages else ():
            ear.call(getattr(call.node, "attr", getattr(call.node, "name", "")), *map(literal, call.args))
    return ear.texts()


def figure_texts(ear: Ear) -> None:
    """Hear the labels of figures, alone and as the best of a sweep."""
    best = [f"best_{name}" for name in Metrics._fields if name not in LESS_IS_BETTER]
    for label in (
        *(figure_label(name, "EUR") for name in (*FIGURES, *SESSION_FIGURES, *RESEARCH_FIGURES)),
        *(*EARNED, *DRAWN, *strategies.DAY_HEADS),
        *(experiments._name_of(name, "EUR") for name in best),
    ):
        ear.call("label_in_parts", label)
    ear.said(facts.GROUPS)


def state_texts(ear: Ear) -> None:
    """Hear the words for stages, statuses, modes and whose money it is."""
    for stage in Stage:
        ear.call("mode", stage.value)
    for status in RunStatus:
        ear.call("status", status.value)
    for mode in Mode:
        for badge in facts.badges(a_session(mode_at_end=mode.value)):
            ear.call("badge", badge.kind, badge.text)
    ear.said(facts.MODES.values())


def session_texts(ear: Ear) -> None:
    """Hear the tables and pairs of a session's page."""
    gaps = {"holes": 1, "missing_bars": 2, "by_kind": {"missing": 2}}
    for record in (a_session(expected=EXPECTED, dataset={"gaps": gaps}), a_session(dataset={"first": None}, expected=EXPECTED)):
        record |= {"finished_at": record["started_at"], "continues": "before"}
        ear.call("headlines", facts.headlines(record))
        for row in tables.expected_rows(record):
            ear.call("label_in_parts", row.label)
        ear.call("figures", "", tables.split_rows(record))
        for pairs in (tables.term_pairs, tables.data_pairs, tables.identity_pairs):
            ear.call("pairs", "", pairs(record))
        # A currency belongs to no text, whatever stands between the two.
        ear.said(head.removesuffix(record["quote"]).rstrip(", ") for head in tables.leg_heads(record))
        ear.said(row[1] for row in tables.reason_rows(record))
        run = Fake(status=RunStatus.FAILED)
        for what, text in session_page.commands_of(
            Fake(session_id="one", run=run, unhandled=run.status is RunStatus.FAILED), record
        ):
            ear.call("command", what, text)
    ear.said((*tables.REASON_HEADS, *tables.REASONS.values()))


def order_texts(ear: Ear) -> None:
    """Hear the words for an order and its life."""
    ear.said(words_of(one.value) for words in (OrderKind, Reason, OrderState) for one in words)
    ear.said(side_of(quantity) for quantity in ("1", "-1"))
    ear.said((*session_view._STEPS.values(), *(event.value for event in ENDS)))


def run_texts(ear: Ear) -> None:
    """Hear the pairs and commands of a run's page, and the heads of the list of sessions."""
    names = ("run_id", "dataset_sha256", "config_sha256", "result_sha256", "code_version", "started_at", "finished_at")
    run = Fake(**dict.fromkeys(names, "one"), code_clean=True, env_name="local", trials=2)
    ear.call("pairs", "", experiments.identity_of(run))
    for run_type in experiments.REPORTED:
        done = Fake(run_id="one", run_type=run_type, status=RunStatus.COMPLETED)
        for what, text in experiments.commands_of(done, reported=True):
            ear.call("command", what, text)
    ear.said(column.head for column in home.COLUMNS)
    ear.said((*strategies.KINDS.values(), *(text for _, text in strategies.ANSWERS.values())))
    ear.said((*HOLDS.values(), *(answer.value for answer in EdgeAnswer), "robust", "not robust"))


def alerts(census: Any, level: str = "") -> tuple[Banner, ...]:
    """Return the alerts of an installation in which everything is wrong."""
    silent = Fake(tier="core", mode="shadow", lease_until=None)
    told = Fake(mode=Stage.SHADOW, name="local")
    desk = Fake(
        settings=Fake(file=Fake(environment=told)),
        clock=Fake(now=lambda: datetime(2024, 1, 1, tzinfo=UTC)),
        locks=lambda: (locks.live_lock(enabled=True, runnable=True, permits=1),),
        tripped=lambda: Fake(at="2024-01-01T00:00:00Z", by="maria", why="a test"),
        config_changed=lambda: True,
        sessions=Fake(census=census, find=lambda *_: [silent]),
        stages=("shadow",),
        safety=a_safety_desk(Urgent(level, ("paper",), "none has run", ("one",), "altered", "no right")),
    )
    return header_of(desk).alerts


def header_texts(ear: Ear) -> None:
    """Hear the alerts, and the locks with their reasons, open and closed."""

    def broken() -> Census:
        raise StorageError("the disk is full")

    for census in (broken, lambda: Census(newest="one", started=(("one", ""),), unhandled=1)):
        ear.said(alert.words for level in KillLevel for alert in alerts(census, level.value))
    found = [locks.live_lock(enabled=a, runnable=b, permits=int(c)) for a, b, c in product(BOTH, BOTH, BOTH)]
    found += [locks.safety_lock(simulated=a, validates=b, blocks=c) for a, b, c in product(BOTH, BOTH, BOTH)]
    ear.said(text for lock in found for text in (lock.name, *lock.reasons))
    ear.said(words_of(stage.value) for stage in Stage)


def refusal(why: str, *, exhausted: bool) -> str:
    """Return the words for a form that is not accepted."""
    browser = "0" * 32

    async def form(**_limits: int) -> dict[str, str]:
        return {"browser": browser, "why": why, "token": "wrong"}

    request = Fake(
        app=Fake(state=Fake(tickets=None)),
        headers={"content-type": "application/x-www-form-urlencoded"},
        cookies={actions.FORM_COOKIE: browser},
        state=Fake(attempts=Fake(holder=lambda token: None, exhausted=lambda: exhausted)),
        form=form,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actions, "_switch", lambda *_: {})
        patch.setattr(actions, "_form", lambda *_, refused="", **__: refused)
        return str(asyncio.run(actions.ask_to_kill(request)))


def problem_texts(ear: Ear) -> None:
    """Hear the titles of errors, and the refusals of a form."""
    ear.said(title for _, _, title in problems._STATUS)
    ear.said((problems.status_of(PeakTradeError())[1], HTTPException(405).detail))
    ear.said(refusal(why, exhausted=False) for why in ("", "x" * (actions.REASON_MAX + 1), "a test"))
    ear.said([refusal("a test", exhausted=True)])


def data_texts() -> set[str]:
    """Return what data structures hold and templates translate."""
    ear = Ear()
    for hear in (figure_texts, state_texts, session_texts, order_texts, run_texts, header_texts, problem_texts):
        hear(ear)
    return ear.texts()


def asking(query: str = "", cookie: str = "", accept: str = "") -> str:
    """Return the language that a request gets."""
    given = {"cookie": cookie, "accept-language": accept}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": headers}
    return chosen(Request(scope)).code


def test_templates_in_german():
    """Every text that a template marks, or hands to a macro that translates it, has a German one."""
    assert sorted(template_texts() - german().keys()) == []


def test_data_in_german():
    """Every text that pages take from data has a German one: labels, heads, states, reasons, alerts, titles, refusals."""
    assert sorted(data_texts() - german().keys()) == []


def test_nothing_left_over():
    """Every German text belongs to one that is used; none is doubted, and none is kept as obsolete."""
    found = catalog()

    assert sorted(german().keys() - template_texts() - data_texts()) == []
    assert [one.id for one in found if one.fuzzy and one.id] == []
    assert list(found.obsolete) == []


def test_same_placeholders():
    """A translation has the placeholders of its text, each as often."""
    pattern = re.compile(r"%\(\w+\)s|\{\w*\}|%")
    wrong = [text for text, words in german().items() if sorted(pattern.findall(text)) != sorted(pattern.findall(words))]

    assert wrong == []


def test_same_ends():
    """A translation has the spaces and the stop at the end of its text, so that what follows it still fits."""
    pattern = re.compile(r"^\s*|[\s.:?!]*$")
    wrong = [text for text, words in german().items() if pattern.findall(text) != pattern.findall(words)]

    assert wrong == []


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "code"),
    [
        ("", "", "", "en"),
        ("", "", "de", "de"),
        ("", "", "de-AT,de;q=0.9,en", "de"),
        ("", "", "de-AT", "de"),
        ("", "", "fr", "en"),
        ("", "", "fr-FR,fr;q=0.9,de;q=0.5", "de"),
        ("", "", ";;q=,%%\xff, -,_", "en"),
        ("", "", "x" * 5_000, "en"),
        ("", f"{COOKIE}=de", "en", "de"),
        ("", f"{COOKIE}=xx", "de", "de"),
        ("", "other=de", "en", "en"),
        ("lang=de", f"{COOKIE}=en", "en", "de"),
        ("lang=en", f"{COOKIE}=de", "de", "en"),
        ("lang=xx", f"{COOKIE}=de", "en", "de"),
        ("lang=xx", "", "", "en"),
        ("lang=", "", "de", "de"),
        ("lang=DE", "", "en", "en"),
    ],
)
def test_chosen(query, cookie, accept, code):
    """The address beats the cookie, the cookie beats the browser; what is no language of ours is passed over."""
    assert asking(query, cookie, accept) == code


def test_many_wishes():
    """A browser's wishes are read up to a number; what stands behind is left alone."""
    assert asking(accept=",".join([*["fr"] * 19, "de"])) == "de"
    assert asking(accept=",".join([*["fr"] * 20, "de"])) == "en"


@pytest.mark.parametrize("code", LANGUAGES)
def test_data_stays_text(code):
    """A text from data that a page translates is no markup and no format, whatever stands in it."""
    page = _templates(language(code)).from_string("{{ _(words) }} {% trans by=words %}seen by {{ by }}{% endtrans %}")

    assert (
        page.render(words="<i>5% of %(by)s")
        == {
            "en": "&lt;i&gt;5% of %(by)s seen by &lt;i&gt;5% of %(by)s",
            "de": "&lt;i&gt;5% of %(by)s quittiert von &lt;i&gt;5% of %(by)s",
        }[code]
    )


@pytest.mark.parametrize("code", LANGUAGES)
def test_nothing_is_nothing(code):
    """No text is translated into no text, never into a catalogue's own header."""
    assert language(code).text("") == ""


def test_text():
    """A text is itself in English and where nobody translated it, and another in German."""
    assert language("en").text("Sessions of today") == "Sessions of today"
    assert language("de").text("nobody ever wrote this") == "nobody ever wrote this"
    assert language("en").text("Kill switch") == "Kill switch"
    assert language("de").text("Kill switch") == "Kill-Switch"
