"""Who may ask for what: which address, which host name, which operator, which origin; and the headers of every answer.

Invariant: nothing is answered on an address other than loopback unless a TLS proxy is configured and an operator exists.
Invariant: a token is only ever read from a header or a form's body.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
import secrets
from collections.abc import Iterable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peak_trade.model.errors import PeakTradeError
from peak_trade.webui.desk import Desk
from peak_trade.webui.problems import problem

#: Longest body of a request; the only bodies are small forms.
BODY_MAX = 16 * 1024
#: Names by which a browser on this machine reaches it; any other could be a foreign site's that resolves to loopback.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: Attempts with a wrong token within a minute, before no further one is looked at.
WRONG_MAX, WRONG_WINDOW_S = 10, 60.0
#: Where open pages are told of changes; an answer that has no end.
STREAM = "/events"
#: A Host header: a name or an address in brackets, perhaps a port.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::[0-9]{1,5})?")

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: What every page may do: load from here, and nothing else.
STRICT = _POLICY.format(styles="")
#: Bokeh and Swagger write style sheets into the page; scripts stay as strict.
STYLED = _POLICY.format(styles=" 'unsafe-inline'")
#: A report is a page of its own without an origin: it can read nothing of the dashboard's, whatever stands in it.
SEALED = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'"
)
_HEADERS = {
    "content-security-policy": STRICT,
    "x-content-type-options": "nosniff",
    # No referrer at all would make browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """The outermost layer of the application; what is said of a fault goes through it too."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app, self._desk = app, desk
        told = desk.settings.file.dashboard
        self._proxied = told.behind_tls_proxy
        self._names = LOCAL_NAMES | {name.lower() for name in told.hosts}
        self.attempts = Attempts(desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse or pass on a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope.setdefault("state", {})["attempts"] = self.attempts
        refusal = self._refusal(scope)
        if refusal is None and self._proxied:
            # Operators are in the registry, which may keep one waiting.
            refusal = await run_in_threadpool(self._unknown_reader, Headers(scope=scope))
        if scope["method"] == "HEAD" and scope["path"] != STREAM:
            # Answered like GET; the server leaves the body away.
            scope = {**scope, "method": "GET"}
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._proxied and not is_loopback((scope.get("server") or ("",))[0]):
            return problem(
                403,
                "Only on this machine",
                "expected a connection to a loopback address, found one from the network; bind to 127.0.0.1, or put a TLS "
                "proxy in front and set dashboard.behind_tls_proxy",
            )
        if host_name(headers.get("host", "")) not in self._names:
            return problem(
                421, "Unknown host name", "expected a host name of this dashboard; add the proxy's to dashboard.hosts"
            )
        if not small(headers):
            return problem(413, "Body too large", f"expected a body of a told length of at most {BODY_MAX} bytes; send less")
        if scope["method"] not in ("GET", "HEAD") and not same_origin(headers):
            return problem(403, "Another origin", "expected a form of this dashboard, found one of another site; open it here")
        return None

    def _unknown_reader(self, headers: Headers) -> Response | None:
        try:
            if not self._desk.operators.any_active():
                return problem(
                    403,
                    "No operator yet",
                    "expected an operator before this is open to a network; peak-trade operator add NAME",
                )
            token = token_of(headers.get("authorization", ""))
            if token is not None and self.attempts.holder(token) is not None:
                return None
        except PeakTradeError:
            # The reason names files of this machine, and nobody knows yet who asks.
            return problem(503, "Storage refused", "expected to look a token up, found no registry; look at the machine")
        answer = problem(401, "Operator's token needed", "expected an operator's token as the password; any user name will do")
        answer.headers["www-authenticate"] = 'Basic realm="Peak_Trade", charset="UTF-8"'
        return answer


class Attempts:
    """Looks tokens up, and stops looking for a while after too many wrong ones."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wrong: list[float] = []
        self._good: set[str] = set()

    def exhausted(self) -> bool:
        """Tell whether too many wrong tokens came within the last minute."""
        now = self._desk.clock.elapsed_s()
        self._wrong = [moment for moment in self._wrong if now - moment < WRONG_WINDOW_S]
        return len(self._wrong) >= WRONG_MAX

    def holder(self, token: str) -> str | None:
        """Return whose token it is; None for nobody's, and while too many were wrong for any that was never right."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        # Somebody who tries tokens must not keep those out who have one.
        if self.exhausted() and digest not in self._good:
            return None
        name = self._desk.operators.holder(token) if token else None
        if name is None:
            self._wrong.append(self._desk.clock.elapsed_s())
            self._good.discard(digest)
        else:
            self._good.add(digest)
        return name


def is_loopback(address: str) -> bool:
    """Tell whether a socket's own address can only be reached from this machine; a Unix socket's can."""
    if address.startswith("/"):
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address == "localhost"
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def host_name(header: str) -> str:
    """Return the name in a Host header, without port, in small letters; empty where the header can't be one."""
    found = _HOST.fullmatch(header.strip().lower())
    return found.group(1) if found else ""


def small(headers: Headers) -> bool:
    """Tell whether a request says that its body is short; one without a body need not."""
    length = headers.get("content-length", "0")
    told = length.isascii() and length.isdigit() and len(length) < 10
    return "transfer-encoding" not in headers and told and int(length) <= BODY_MAX


def same_origin(headers: Headers) -> bool:
    """Tell whether a form was sent by a page of ours, as far as the browser says; one that says nothing is none of a page."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()


def token_of(header: str) -> str | None:
    """Return the token in an Authorization header: a bearer's, or the password of a user of any name."""
    kind, _, given = header.strip().partition(" ")
    if kind.lower() == "bearer":
        return given.strip() or None
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2] or None
    except (binascii.Error, ValueError):
        return None


def refuse_network(host: str, *, behind_tls_proxy: bool, operators: Iterable[object]) -> str | None:
    """Return why the dashboard may not listen on an address; None where it may."""
    if is_loopback(host):
        return None
    if not behind_tls_proxy:
        return (
            f"expected a loopback address such as 127.0.0.1 to listen on, found {host}: a token would cross the network "
            "readable for others; put a TLS proxy in front and set dashboard.behind_tls_proxy = true"
        )
    if not list(operators):
        return f"expected an operator before listening on {host}, found none; peak-trade operator add NAME"
    return None


def equal(one: str, other: str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())


def attempts_of(request: Request) -> Attempts:
    """Return who looks tokens up for this request."""
    found: Attempts = request.state.attempts
    return found
