"""What an operator may do here: turn the kill switch on, and acknowledge a failed session.

Each takes a token and a reason first, shows what will happen, and does it only when that is confirmed. Invariant: what is
confirmed is exactly what was shown, once, within two minutes.
"""

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.model.clock import Clock
from peak_trade.model.errors import InputError, SafetyRefused, StorageError
from peak_trade.webui.access import attempts_of, equal
from peak_trade.webui.desk import Desk
from peak_trade.webui.pages import desk_of, page, remember

router = APIRouter(include_in_schema=False)

#: Seconds in which something must be confirmed, and how much may wait for that at one time.
TICKET_AGE_S, TICKETS_MAX = 120.0, 100
#: Longest reason, characters.
REASON_MAX = 500
#: Ties a form to the browser that it was shown in.
FORM_COOKIE = "peak_trade_form"
KILL, ACKNOWLEDGE = "kill", "acknowledge"
#: How far the kill switch can be turned on here: what needs no exchange. A process of its own does the rest.
LEVELS = ("no-new", "reduce-only")
#: What `Tickets.secret` returns; a cookie that holds anything else is none of ours.
_SECRET = re.compile(r"[0-9a-f]{32}")
_FORM = "application/x-www-form-urlencoded"


class Ticket(NamedTuple):
    """What an operator asked for and has not confirmed yet."""

    action: str
    target: str
    by: str
    why: str
    browser: str
    until: float


class Tickets:
    """What waits to be confirmed, by a number that nobody can guess."""

    def __init__(self, clock: Clock, randomness: random.Random) -> None:
        self._clock, self._randomness = clock, randomness
        self._waiting: dict[str, Ticket] = {}

    def secret(self) -> str:
        """Return 128 random bits as text."""
        return f"{self._randomness.getrandbits(128):032x}"

    def issue(self, action: str, target: str, by: str, why: str, browser: str) -> str:
        """Keep what is to be confirmed; return its number."""
        now = self._clock.elapsed_s()
        self._waiting = {number: ticket for number, ticket in self._waiting.items() if ticket.until > now}
        while len(self._waiting) >= TICKETS_MAX:
            self._waiting.pop(next(iter(self._waiting)))
        number = self.secret()
        self._waiting[number] = Ticket(action, target, by, why, browser, now + TICKET_AGE_S)
        return number

    def take(self, number: str, action: str, target: str, browser: str) -> Ticket:
        """Return what a number stands for, once.

        Raises:
            InputError: it stands for nothing, for something else, or came too late.
        """
        ticket = self._waiting.pop(number, None)
        fits = ticket is not None and (ticket.action, ticket.target) == (action, target) and equal(ticket.browser, browser)
        if ticket is None or not fits or ticket.until <= self._clock.elapsed_s():
            raise InputError(
                "expected a confirmation within two minutes of the question, found none; nothing was done: begin again"
            )
        return ticket


@router.get("/kill-switch")
def kill_switch(request: Request) -> Response:
    """Show the kill switch."""
    return _form(request, "kill_switch.html", _switch(request, LEVELS[-1]))


@router.post("/kill-switch")
async def ask_to_kill(request: Request) -> Response:
    """Take the reason for turning the kill switch on, and ask once more."""
    level = _level(await _sent(request))
    return await _asked(request, KILL, level, "kill_switch.html", await run_in_threadpool(_switch, request, level))


@router.post("/kill-switch/confirmed")
async def kill(request: Request) -> Response:
    """Turn the kill switch on."""
    desk, level = desk_of(request), _level(await _sent(request))

    def act(ticket: Ticket) -> object:
        return desk.actions.kill(ticket.by, ticket.why, ticket.target)

    return await _confirmed(request, KILL, level, act, "/kill-switch")


def _switch(request: Request, level: str) -> dict[str, object]:
    """Return how far the kill switch goes now, and how far it can be turned on from here, with what was chosen."""
    now = desk_of(request).safety.urgent().level
    further = LEVELS if not now else LEVELS[LEVELS.index(now) + 1 :] if now in LEVELS else ()
    return {"level": now, "levels": further, "chosen": level if level in further else (further or LEVELS)[-1]}


def _level(form: FormData) -> str:
    """Return how far the kill switch is to go; a form that says nothing means that only what reduces a position passes.

    Raises:
        InputError: it names a level that can't be set from here.
    """
    level = _field(form, "level") or "reduce-only"
    if level not in LEVELS:
        raise InputError(f"expected one of the levels {', '.join(LEVELS)}, found another; peak-trade kill --level has the rest")
    return level


@router.get("/session/{session_id}/acknowledge")
def acknowledge_form(request: Request, session_id: str) -> Response:
    """Ask what was found out about a failed session."""
    return _form(request, "acknowledge.html", {"session": _failed(desk_of(request), session_id)})


@router.post("/session/{session_id}/acknowledge")
async def ask_to_acknowledge(request: Request, session_id: str) -> Response:
    """Take a note on a failed session, and ask once more."""
    session = await run_in_threadpool(_failed, desk_of(request), session_id)
    return await _asked(request, ACKNOWLEDGE, str(session.session_id), "acknowledge.html", {"session": session})


@router.post("/session/{session_id}/acknowledge/confirmed")
async def acknowledge(request: Request, session_id: str) -> Response:
    """Mark a failed session as seen."""
    desk = desk_of(request)
    session = await run_in_threadpool(_failed, desk, session_id)

    def act(ticket: Ticket) -> object:
        return desk.actions.acknowledge(ticket.target, ticket.by, ticket.why)

    return await _confirmed(request, ACKNOWLEDGE, str(session.session_id), act, f"/session/{session.session_id}")


def _failed(desk: Desk, session_id: str) -> Session:
    session = desk.sessions.get(session_id)
    if session.run.status is not RunStatus.FAILED:
        raise InputError(
            f"expected a failed session to acknowledge, found {session.session_id}, which is {session.run.status.value}; "
            "only failed ones wait for that"
        )
    return session


def _form(request: Request, template: str, facts: dict[str, object], *, refused: str = "", status: int = 200) -> Response:
    """Show a form that only this browser can send."""
    tickets: Tickets = request.app.state.tickets
    browser = _cookie(request) or tickets.secret()
    answer = page(
        request,
        template,
        {
            "browser": browser,
            "refused": refused,
            "asked": None,
            "ticket": "",
            "reason_max": REASON_MAX,
            "given": "",
            "updates": "",
        }
        | facts,
        status=status,
    )
    remember(request, answer, FORM_COOKIE, browser)
    return answer


async def _asked(request: Request, action: str, target: str, template: str, facts: dict[str, object]) -> Response:
    """Check a form, and show what will happen when it is confirmed."""
    tickets: Tickets = request.app.state.tickets
    form = await _sent(request)
    browser, why = _browser(request, form), _field(form, "why").strip()
    if refused := _wrong_reason(why):
        return await run_in_threadpool(_form, request, template, facts | {"given": why}, refused=refused, status=400)
    attempts = attempts_of(request)
    by = await run_in_threadpool(attempts.holder, _field(form, "token"))
    if by is None:
        words = (
            "Too many wrong tokens; wait a minute. On the machine itself: peak-trade kill --why REASON"
            if attempts.exhausted()
            else "That is no operator's token; peak-trade operator add NAME makes one"
        )
        status = 429 if attempts.exhausted() else 403
        return await run_in_threadpool(_form, request, template, facts | {"given": why}, refused=words, status=status)
    ticket = Ticket(action, target, by, why, browser, 0.0)
    number = tickets.issue(action, target, by, why, browser)
    return await run_in_threadpool(_form, request, template, facts | {"asked": ticket, "ticket": number})


async def _confirmed(
    request: Request, action: str, target: str, act: Callable[[Ticket], object], then: str
) -> RedirectResponse:
    tickets: Tickets = request.app.state.tickets
    form = await _sent(request)
    ticket = tickets.take(_field(form, "ticket"), action, target, _browser(request, form))
    await run_in_threadpool(_check_active, desk_of(request), ticket)
    await run_in_threadpool(act, ticket)
    return RedirectResponse(then, status_code=303)


def _check_active(desk: Desk, ticket: Ticket) -> None:
    """Let pass what somebody asked for who is still an operator.

    Raises:
        SafetyRefused: their token was taken away since.
    """
    try:
        active = any(one.name == ticket.by and one.revoked_at is None for one in desk.operators.list())
    except StorageError:
        # Stopping everything must not depend on a registry that can be read.
        active = ticket.action == KILL
    if not active:
        raise SafetyRefused(f"expected a token that is still good, found that of {ticket.by} revoked; nothing was done")


async def _sent(request: Request) -> FormData:
    """Return what a form says.

    Raises:
        InputError: it is not of the kind that our pages send; others name an encoding of their own.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise InputError("expected a form as the pages here send it, found another kind; nothing was done, open it here")
    return await request.form(max_fields=10)


def _browser(request: Request, form: FormData) -> str:
    """Return which browser a form was shown in.

    Raises:
        InputError: it was shown in another one, or by another site.
    """
    browser = _cookie(request)
    if not browser or not equal(browser, _field(form, "browser")):
        raise InputError("expected a form that was opened in this browser, found another; nothing was done, open it again")
    return browser


def _wrong_reason(why: str) -> str:
    if not why:
        return "A reason is needed: whoever reads the journal later wants to know"
    if len(why) > REASON_MAX or not all(mark.isprintable() or mark in "\r\n" for mark in why):
        return "The reason is too long, or holds characters that can't be shown"
    return ""


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _cookie(request: Request) -> str:
    given = request.cookies.get(FORM_COOKIE, "")
    return given if _SECRET.fullmatch(given) else ""
