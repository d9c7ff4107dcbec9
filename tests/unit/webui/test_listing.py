"""The session list's questions: as they stand in a URL, as the registry takes them, and where a page goes on."""

from dataclasses import fields
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.journal.sessions import SORTABLE, Place, SessionFilter
from peak_trade.model.errors import InputError
from peak_trade.webui.listing import CURSOR_MAX, NEWEST_FIRST, TEXT_MAX, Question, cursor_of, place_of

MODES = ("shadow", "testnet", "shadow_live", "live")
STATUSES = ("started", "completed", "failed", "aborted", "damaged")
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" ")).map(
    lambda text: text.strip()[:TEXT_MAX].strip()
)
DAYS = st.dates(datetime(1970, 1, 1, tzinfo=UTC).date(), datetime(9998, 12, 31, tzinfo=UTC).date()).map(
    lambda day: day.isoformat()
)
QUESTIONS = st.builds(
    Question,
    mode=st.sampled_from(("", *MODES)),
    status=st.sampled_from(("", *STATUSES)),
    strategy=WORDS,
    symbol=WORDS,
    tag=WORDS,
    account=WORDS,
    env_name=WORDS,
    run_type=st.sampled_from(("", "live_session_shadow", "shadow_run")),
    text=WORDS,
    since=st.just("") | DAYS,
    until=st.just("") | DAYS,
    unhandled=st.sampled_from(("", "1")),
    sort=st.sampled_from([sign + name for sign in ("", "-") for name in SORTABLE]),
)
VALUES = st.none() | st.text(st.characters(codec="utf-8"), max_size=255) | st.floats(-1e299, 1e299)


def asked(url: str) -> dict[str, str]:
    """Return the parameters of a URL."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


@given(QUESTIONS)
def test_a_question_survives_its_url(question):
    """What is read from a question's URL is the question."""
    assert Question.read(asked(question.url())) == question


@given(QUESTIONS)
def test_the_registry_is_asked_what_the_reader_asked(question):
    """Each filter of the URL is one of the registry, an empty one is none, and none appears from nowhere."""
    told = question.filter()

    for name in ("mode", "status", "strategy", "symbol", "tag", "account", "env_name", "run_type", "text"):
        assert (getattr(told, name) or "") == getattr(question, name)
    assert told.unhandled is (question.unhandled == "1")
    assert (told.since is None, told.until is None) == (not question.since, not question.until)
    assert question.filtered() == (told != SessionFilter())


def test_no_question():
    """Without parameters nothing is filtered, the newest come first, and the address is the bare one."""
    question = Question.read({})

    assert question == Question()
    assert (question.url(), question.sort, question.filtered(), question.place()) == ("/", NEWEST_FIRST, False, None)
    assert question.filter() == SessionFilter()


def test_foreign_parameters_are_left_alone():
    """Parameters of other parts of the page, and spaces around values, are no matter."""
    assert Question.read({"lang": "de", "utm": "x", "mode": " live "}) == Question(mode="live")


@pytest.mark.parametrize("name", [field.name for field in fields(Question)])
def test_what_can_t_be_meant_is_refused(name):
    """A text that is too long or can't be shown is refused by name."""
    longest = CURSOR_MAX if name == "after" else TEXT_MAX
    for value in ("x" * (longest + 1), "a\0b", "a\nb", "\u202eabc"):
        with pytest.raises(InputError, match=f"characters as {name},"):
            Question.read({name: value})


@pytest.mark.parametrize("name", ["strategy", "symbol", "tag", "account", "env_name", "text"])
def test_the_longest_text(name):
    """A text of the largest length is taken."""
    assert getattr(Question.read({name: "x" * TEXT_MAX}), name) == "x" * TEXT_MAX


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "research"}, "expected mode to be one of shadow, testnet, shadow_live, live, found 'research'"),
        ({"mode": "LIVE"}, "expected mode to be one of"),
        ({"status": "open"}, "expected status to be one of started, completed, failed, aborted, damaged"),
        ({"run_type": "backtest"}, "expected run_type to be one of live_session_shadow"),
        ({"sort": "notes"}, "expected sort to be one of started_at"),
        ({"sort": "--started_at"}, "expected sort to be one of"),
    ],
)
def test_closed_lists(given, words):
    """A mode, status, type or column that does not exist is refused with those that do."""
    with pytest.raises(InputError, match=words):
        Question.read(given)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("2026-01-31", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2024-02-28", datetime(2024, 2, 29, tzinfo=UTC)),
        ("20260131", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-01-31T00:00", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:30:00Z", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("2026-01-31T12:30:00+02:00", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
    ],
)
def test_until_a_day_or_a_moment(text, until):
    """A last day is included as a whole, a moment is not."""
    assert Question(until=text).filter().until == until


def test_one_day():
    """From and until the same day is that day, from midnight to midnight."""
    where = Question(since="2026-01-31", until="2026-01-31").filter()

    assert (where.since, where.until) == (datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize("text", ["0001-01-01", "0999-12-31", "9999-12-31", "9999-12-31T23:59:59", "1969-12-31"])
def test_far_days(text):
    """Days before the first and after the last session are taken for those, so that no comparison goes wrong."""
    where = Question(since=text, until=text).filter()

    assert 1970 <= where.since.year <= 9999
    assert 1970 <= where.until.year <= 9999


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-02-30", "31.01.2026", "2026", "0001-01-01T00:00:00+05:00"])
def test_no_dates(name, text):
    """What is no date is refused by name, with an example."""
    with pytest.raises(InputError, match=f"expected a date such as 2026-01-31 as {name}, found '"):
        Question(**{name: text}).filter()


def test_another_question_begins_on_its_first_page():
    """A change of filter or order leaves the page behind, and only it; the next page keeps all."""
    question = Question(mode="live", sort="account", after="abc")

    assert asked(question.url(status="failed")) == {"mode": "live", "status": "failed", "sort": "account"}
    assert asked(question.url(after="def")) == {"mode": "live", "sort": "account", "after": "def"}
    assert asked(question.url(sort=NEWEST_FIRST)) == {"mode": "live"}
    assert question.url("/elsewhere", mode="", sort="") == "/elsewhere"


@given(VALUES, st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_cursor_is_its_place(value, session_id):
    """A cursor leads back to its place, is made of letters that a URL keeps, and is never too long to be read."""
    cursor = cursor_of(Place(value, session_id))

    assert place_of(cursor) == Place(value, session_id)
    assert Question.read({"after": cursor}).place() == Place(value, session_id)


def test_whole_numbers_are_figures():
    """A number without a point is the figure that it is."""
    found = place_of(cursor_of(Place(3, "a")))

    assert (found, type(found.value)) == (Place(3.0, "a"), float)


@pytest.mark.parametrize(
    "cursor",
    [
        *(
            "x",
            "AAAA",
            "%00",
            "é",
            "\0",
            "null",
            "W10",
            "WzFd",
            "eyJhIjoxfQ",
            "WzEsMiwzXQ",
            "WzEsMl0",
            "W3RydWUsImEiXQ",
            "=" * 8,
        ),
        # [{}, "a"], [[], "a"], [NaN, "a"], [1e999, "a"], [1e300, "a"], deep nesting, a number of 5,000 digits
        *("W3t9LCJhIl0", "W1tdLCJhIl0", "W05hTiwiYSJd", "WzFlOTk5LCJhIl0", "WzFlMzAwLCJhIl0", "W1tb" * 5_000, "MTEx" * 2_000),
    ],
)
def test_no_cursors(cursor):
    """What no page gave is refused in one sentence."""
    with pytest.raises(InputError, match="expected a cursor as the page before gave it"):
        place_of(cursor)


@given(st.text(max_size=60))
def test_any_text_as_a_cursor(cursor):
    """Whatever is given as a cursor is a place or a refusal."""
    try:
        assert isinstance(place_of(cursor), Place)
    except InputError as error:
        assert "begin without one" in str(error)
