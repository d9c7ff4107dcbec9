"""The emulator's control interface `/_ctl/*`: faults, scenarios, the log; from this machine only, and with the token only."""

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.faults import FaultPlan
from peak_trade.model.errors import InputError

#: The header that holds the token, longest body in bytes, lines of the log in one answer, and longest wait for more, seconds.
TOKEN_HEADER, BODY_MAX, LINES_MAX, WAIT_MAX_S = "x-control-token", 8 * 1024 * 1024, 5_000, 30.0


class Control:
    """Answers `/_ctl/*`."""

    def __init__(self, faults: FaultPlan, token: str, now: Callable[[], int]) -> None:
        self._faults, self._token, self._now = faults, token, now
        self.server: Any = None

    def routes(self) -> list[Route]:
        """Return its routes."""
        found = (("faults", self._faulted), ("log", self._log), ("scenario", self._scenario), ("options", self._options))
        return [Route(f"/_ctl/{name}", self._guarded(act), methods=["GET", "POST", "DELETE"]) for name, act in found]

    def _guarded(self, act: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if request.client is None or not _is_loopback(request.client.host):
                return JSONResponse({"error": "expected a request from this machine, found another; use 127.0.0.1"}, 403)
            given = request.headers.get(TOKEN_HEADER, "")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                text = "expected the control token, found another or none; it is in the file that serve writes"
                return JSONResponse({"error": text}, 403)
            try:
                return JSONResponse(await act(request))
            except InputError as error:
                return JSONResponse({"error": str(error)}, 400)

        return answer

    async def _faulted(self, request: Request) -> Any:
        now = self._now()
        if request.method == "POST":
            fault = self._faults.add(await _object(request), now)
            if self.server is not None:
                # From now on, and not from the next step on.
                self.server.hush()
            return fault.told(now)
        if request.method == "DELETE":
            number = request.query_params.get("id")
            if number is not None and not (number.isascii() and number.isdigit() and len(number) < 10):
                raise InputError(f"expected id to be a fault's number, found {number!r}; list the faults")
            return {"cleared": self._faults.clear(now, None if number is None else int(number))}
        names = {name: {"does": kind.summary, "args": dict(kind.args)} for name, kind in CATALOGUE.items()}
        return {"faults": [fault.told(now) for fault in self._faults.faults], "catalogue": names}

    async def _scenario(self, request: Request) -> Any:
        if request.method != "POST":
            raise InputError(f"expected POST, found {request.method}; post the lines of a scenario")
        lines = (await _object(request)).get("lines")
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise InputError("expected lines to be a list of faults with at_s, found something else; correct it")
        return {"planned": self._faults.plan(lines, self._now())}

    async def _options(self, request: Request) -> Any:
        """Whether answers name the faults that struck them, and the limits of connections; a POST changes them."""
        holders: dict[str, tuple[Any, str, type]] = {"tell_faults": (self._faults, "telling", bool)}
        if self.server is not None:
            holders |= {"attempts_max": (self.server, "attempts_max", int), "idle_s": (self.server, "idle_s", float)}
        told = await _object(request) if request.method == "POST" else {}
        if extra := sorted(set(told) - set(holders)):
            raise InputError(f"expected options among {', '.join(holders)}, found {extra[0]!r}; leave it out")
        for name, value in told.items():
            kind = holders[name][2]
            fits = isinstance(value, bool) if kind is bool else isinstance(value, kind | int) and not isinstance(value, bool)
            if not fits or not 0 <= value <= 10**9:
                raise InputError(
                    f"expected {name} to be {'true or false' if kind is bool else 'a number from 0 on'}, found {value!r}"
                )
        for name, value in told.items():
            setattr(holders[name][0], holders[name][1], holders[name][2](value))
        return {name: getattr(holder, attribute) for name, (holder, attribute, _) in holders.items()}

    async def _log(self, request: Request) -> Any:
        after, wait = _whole(request, "after"), _whole(request, "wait_s")
        for _ in range(int(min(wait, WAIT_MAX_S) * 10)):
            if self._faults.ending or (self._faults.log and self._faults.log[-1]["number"] > after):
                break
            await asyncio.sleep(0.1)
        return {"lines": [line for line in self._faults.log if line["number"] > after][:LINES_MAX]}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InputError(f"expected {name} to be a whole number, found {text!r}; correct it")
    return int(text)


async def _object(request: Request) -> dict[str, Any]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX:
            raise InputError(f"expected at most {BODY_MAX} bytes, found more; send less at once")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("expected a JSON object, found none; correct it") from error
    if not isinstance(found, dict):
        raise InputError(f"expected a JSON object, found {type(found).__name__}; correct it")
    return found
