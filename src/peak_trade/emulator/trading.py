"""Trading over WebSocket v2: each method is put into REST's words and answered by the same code."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from peak_trade.emulator.counters import NS
from peak_trade.emulator.documents import rfc3339
from peak_trade.emulator.faults import TRADING_METHODS, FaultPlan, FaultTarget, Outcome
from peak_trade.emulator.orders import Rejection
from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.parameters import Parameters
from peak_trade.emulator.rest import Rest, RestParts
from peak_trade.emulator.signing import ApiKey
from peak_trade.emulator.stream import ELSEWHERE, Connection

#: Seconds after a message came in at which its order is too late, where it names no deadline.
DEADLINE_S = 5
Json = dict[str, Any]


class Unanswered(Exception):
    """A fault leaves a message without an answer; *cut*: and ends its connection."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.cut = cut


class StreamTrading:
    """Answers trading methods."""

    def __init__(self, desk: RestParts, rest: Rest, faults: FaultPlan) -> None:
        self._desk, self._rest, self._faults = desk, rest, faults
        self._method = ""
        self._methods: dict[str, Callable[[ApiKey, Json, int], list[Json]]] = {
            "add_order": self._add,
            "amend_order": self._amend,
            "edit_order": self._edit,
            "cancel_order": self._cancel,
            "cancel_all": self._cancel_all,
            "cancel_all_orders_after": self._dead_man,
            "batch_add": self._batch_add,
            "batch_cancel": self._batch_cancel,
        }

    def __call__(self, connection: Connection, frame: Json, params: Json, now: int) -> None:
        """Answer a message; a cancel of several orders has an answer for each."""
        act = self._methods.get(frame["method"])
        if act is None:
            connection.send(frame | {"error": "Unsupported method", "success": False}, now)
            return
        if not connection.private:
            connection.send(frame | {"error": ELSEWHERE[False], "success": False}, now)
            return
        try:
            key = connection.key = self._key(connection, params, now)
            self._method, params = frame["method"], self._in_time(connection, frame["method"], params, now)
            self._rest.let_time_pass(now)
            for told in act(key, params, now):
                connection.send(frame | {"success": "error" not in told, "time_out": rfc3339(now)} | told, now)
        except Unanswered as lost:
            connection.cut = connection.cut or lost.cut
        except Rejection as refused:
            named = params.get("symbol")
            symbol = {"symbol": named} if isinstance(named, str) and named in PAIRS else {}
            connection.send(frame | symbol | {"error": str(refused), "success": False}, now)

    @staticmethod
    def _in_time(connection: Connection, method: str, params: Json, now: int) -> Json:
        """Return what is asked, with the deadline that holds where none is named, if it had to wait until that passed."""
        if (
            now <= connection.received + DEADLINE_S * NS
            or params.get("deadline")
            or method not in ("add_order", "batch_add", "amend_order")
        ):
            return params
        return params | {"deadline": rfc3339(connection.received + DEADLINE_S * NS)}

    def target(self, frame: Any, connection: Connection) -> FaultTarget | None:
        """Return what faults that let a message wait are looked up for; None of what does not trade."""
        params = frame.get("params") if isinstance(frame, dict) else None
        method = frame.get("method") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(method, str) or method not in self._methods:
            return None
        token = params.get("token")
        found = self._desk.tokens.get(token) if isinstance(token, str) else None
        given = dict(params)
        for field, theirs in (("order_id", "txid"), ("cl_ord_id", "cl_ord_id")):
            value = params.get(field)
            given[theirs] = value[0] if isinstance(value, list) and value else value
        key = found[0] if found else connection.key
        return self._faults.target(TRADING_METHODS[method], key, Parameters(given), method)

    def _key(self, connection: Connection, params: Json, now: int) -> ApiKey:
        """Return whose token it is; a token lasts for as long as its connection follows a private channel."""
        token = params.get("token")
        found = self._desk.tokens.get(token) if isinstance(token, str) else None
        if found is None:
            raise Rejection("ESession:Invalid session" if token else "EGeneral:Invalid arguments:token")
        key, until = found
        if until < now and not any(sub.account == key.account for sub in connection.subscriptions.values()):
            raise Rejection("ESession:Invalid session")
        return key

    def _act(self, name: str, key: ApiKey, given: Parameters, now: int) -> Any:
        """Do what a REST method does, with the faults that strike it.

        Raises:
            Rejection: in Kraken's words.
            Unanswered: a fault ate the answer.
        """

        def apply() -> Outcome:
            try:
                return Outcome({"error": [], "result": self._rest.act(name, key, given, now)})
            except Rejection as refused:
                return Outcome({"error": [str(refused)]})

        target = self._faults.target(name, key, given, self._method)
        found = self._faults.around(target, now, apply)
        self._faults.heard(target, now, found)
        if found.answer is None or found.cut:
            # Held back there is no answer at all; cut at once, the connection goes with it.
            raise Unanswered(cut=bool(found.cut) and not found.hold_s)
        if found.error:
            raise Rejection(found.error)
        return found.answer["result"]

    def _add(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        found = self._act("AddOrder", key, Parameters(rest_order(params)), now)
        if "txid" not in found:
            return [{"result": {}}]
        result: Json = {"order_id": found["txid"][0]}
        for theirs, ours in (("cl_ord_id", "cl_ord_id"), ("order_userref", "order_userref")):
            if params.get(theirs):
                result[ours] = params[theirs]
        return [{"result": result}]

    def _amend(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        names = ("cl_ord_id", "order_qty", "display_qty", "limit_price", "trigger_price", "deadline")
        given = {name: _plain(params[name]) for name in names if params.get(name) is not None}
        found = self._act("AmendOrder", key, Parameters(given | {"txid": params.get("order_id", "")}), now)
        which = {"order_id": params["order_id"]} if params.get("order_id") else {"cl_ord_id": params.get("cl_ord_id")}
        return [{"result": {"amend_id": found["amend_id"], **which}}]

    def _edit(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        triggers, limit = params.get("triggers"), _plain(params.get("limit_price"))
        given = {
            "txid": params.get("order_id", ""),
            "volume": _plain(params.get("order_qty")),
            "displayvol": _plain(params.get("display_qty")),
            "price": _plain(triggers.get("price")) if isinstance(triggers, dict) else limit,
            "price2": limit if isinstance(triggers, dict) else None,
        }
        found = self._act("EditOrder", key, Parameters(given), now)
        return [{"result": {"order_id": found["txid"], "original_order_id": found["originaltxid"]}}]

    def _cancel(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        told: list[Json] = []
        for field, theirs in (("order_id", "txid"), ("cl_ord_id", "cl_ord_id"), ("order_userref", "txid")):
            given = params.get(field) or []
            for name in (given if isinstance(given, list) else [given])[:50]:
                try:
                    self._act("CancelOrder", key, Parameters({theirs: str(name)}), now)
                    told.append({"result": {field: name}})
                except Unanswered as lost:
                    if lost.cut:
                        raise
                except Rejection as refused:
                    told.append({"error": str(refused), "success": False})
        if not any(params.get(field) for field in ("order_id", "cl_ord_id", "order_userref")):
            raise Rejection("EGeneral:Invalid arguments:order_id")
        return told

    def _cancel_all(self, key: ApiKey, _params: Json, now: int) -> list[Json]:
        return [{"result": self._act("CancelAll", key, Parameters({}), now)}]

    def _dead_man(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        return [{"result": self._act("CancelAllOrdersAfter", key, Parameters({"timeout": params.get("timeout")}), now)}]

    def _batch_add(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        orders = params.get("orders")
        if not isinstance(orders, list) or not all(isinstance(one, dict) for one in orders):
            raise Rejection("EGeneral:Invalid arguments:orders")
        given = {
            "pair": params.get("symbol"),
            "deadline": params.get("deadline"),
            "validate": params.get("validate") is True,
            "orders": [rest_order(one) for one in orders],
        }
        found = self._act("AddOrderBatch", key, Parameters(given), now)
        return [{"result": [{"order_id": one["txid"]} if "txid" in one else one for one in found["orders"]]}]

    def _batch_cancel(self, key: ApiKey, params: Json, now: int) -> list[Json]:
        orders = params.get("orders")
        if not isinstance(orders, list):
            raise Rejection("EGeneral:Invalid arguments:orders")
        found = self._act("CancelOrderBatch", key, Parameters({"orders": [str(one) for one in orders]}), now)
        return [{"orders_cancelled": found["count"]}]


def rest_order(params: Json) -> Json:
    """Return an order of WebSocket v2 in AddOrder's words."""
    kind = str(params.get("order_type", ""))
    given = params.get("triggers")
    triggers: Json = given if isinstance(given, dict) else {}
    flags = [
        name
        for name, wanted in (
            ("post", params.get("post_only") is True),
            ("fcib", params.get("fee_preference") == "base"),
            ("viqc", params.get("cash_order_qty") is not None),
        )
        if wanted
    ]
    told: Json = {
        "pair": params.get("symbol"),
        "type": params.get("side"),
        "ordertype": kind,
        "volume": _plain(params.get("cash_order_qty") if "viqc" in flags else params.get("order_qty")),
        "oflags": ",".join(flags),
        "timeinforce": str(params.get("time_in_force") or "gtc").upper(),
        "validate": params.get("validate") is True,
        "reduce_only": params.get("reduce_only") is True,
        "userref": _plain(params.get("order_userref")),
        "cl_ord_id": params.get("cl_ord_id"),
        "deadline": params.get("deadline"),
        "expiretm": _moment(params.get("expire_time")),
        "starttm": _moment(params.get("effective_time")),
        "trigger": triggers.get("reference", "last"),
        "displayvol": _plain(params.get("display_qty")),
    }
    if kind in ("limit", "iceberg"):
        told["price"] = _plain(params.get("limit_price"))
    elif kind != "market":
        price = _plain(triggers.get("price"))
        relative = {"pct": "%", "quote": ""}.get(str(triggers.get("price_type", "static")))
        told["price"] = price if relative is None else f"+{price}{relative}"
        told["price2"] = _plain(params.get("limit_price"))
    return told


def _plain(value: Any) -> str | None:
    """Return a number as text, without an exponent."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)


def _moment(value: Any) -> str | None:
    """Return a time of WebSocket v2 (RFC 3339) as REST has it: unix seconds."""
    if not isinstance(value, str) or not value:
        return None
    try:
        return f"{datetime.fromisoformat(value).timestamp():.6f}"
    except (ValueError, OverflowError) as error:
        raise Rejection("EGeneral:Invalid arguments:expire_time") from error
