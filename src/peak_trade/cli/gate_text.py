"""What the gates' commands print for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peak_trade.cli.show import sentence, table

Json = Mapping[str, Any]
#: How many criteria that lack are told in one line.
TOLD_MAX = 4


def asked_lines(found: Json) -> Iterator[str]:
    """Yield what a step asks."""
    yield f"{found['step']}: decided by {', '.join(found['deciders'])}, each another person, and not by who asks"
    yield f"a permit lasts {found['permit_days']} days at most; too little data is inconclusive, and that is never pass"
    yield "there must be people in governance/roles.toml for every role that decides"
    yield ""
    rows = [
        (item["id"] if number == 0 else "", ("hard" if item["hard"] else "soft") if number == 0 else "", words)
        for item in found["criteria"]
        for number, words in enumerate([item["words"], *_details(item)])
    ]
    yield table(["criterion", "", "asks"], rows)


def _details(item: Json) -> list[str]:
    """Return what a criterion takes, a line each."""
    which = "the newest run" if item["newest"] else "all runs"
    lines = [f"  {line}" for line in item["needs"]]
    return [f"  from {' or '.join(item['evidence'])}: {which} of the last {item['max_age_days']} days", *lines]


def look_lines(found: Json, *, fresh: bool) -> Iterator[str]:
    """Yield how a strategy stands in each criterion of a step."""
    total = len(found["criteria"])
    yield f"{found['step']} for {found['strategy']} {found['version']} on {found['account']}, {', '.join(found['symbols'])}"
    yield f"{found['passed']} of {total} criteria pass, on {len(found['evidence'])} pieces of evidence"
    if not fresh:
        yield "sessions and backtests as the registry has them; --fresh verifies the journals and does backtests again"
    yield ""
    yield table(["criterion", "", "answer", "why"], _ruled(found["criteria"]))


def _ruled(rulings: Sequence[Json]) -> list[tuple[str, str, str, str]]:
    return [(item["id"], "hard" if item["hard"] else "soft", item["answer"], item["why"]) for item in rulings]


def decision_lines(found: Json) -> Iterator[str]:
    """Yield what was decided, with every criterion."""
    yield f"{found['answer']}: {found['step']} for {found['strategy']}, request {found['id']}"
    yield ""
    yield table(["criterion", "", "answer", "why"], _ruled(found["criteria"]))
    yield ""
    if found["approvals"]:
        yield "approved by " + ", ".join(f"{item['person']} as {item['role']}" for item in found["approvals"])
    for item in (*found["objections"], *found["notes"]):
        yield sentence(f"{item['code']}: {item['words']}")
    if found["permit"]:
        permit = found["permit"]
        yield f"permit {permit['id']} for {permit['stage']} until {permit['until']}: {permit['file']}"
    else:
        yield "no permit was granted"


def status_lines(found: Json) -> Iterator[str]:
    """Yield the ladder, requests and permits."""
    ladder = found["ladder"]
    if not ladder:
        yield "nothing stands on the ladder yet: run sessions with peak-trade session run, then peak-trade gate explain"
    else:
        heads = ["strategy", "version", "account", "pairs", "stage", "next", "passes"]
        yield table(heads, [_rung(line) for line in ladder])
        for line in ladder:
            if line["next"] and line["next"]["lacking"]:
                names = [item["id"] for item in line["next"]["lacking"]]
                more = f" and {len(names) - TOLD_MAX} more" if len(names) > TOLD_MAX else ""
                told = ", ".join(names[:TOLD_MAX]) + more
                yield f"{line['strategy']} {line['version']} lacks for {line['next']['step']}: {told}"
            if line["trouble"]:
                yield sentence(f"{line['strategy']} {line['version']} can't be judged: {line['trouble']}")
            if not line["current"]:
                yield f"{line['strategy']} {line['version']} was judged with other code than today's: it begins in research"
    if found["requests"]:
        yield ""
        rows = [_request(line) for line in found["requests"]]
        yield table(["request", "step", "strategy", "by", "until", "approved by", "missing", "decided"], rows)
    if found["permits"]:
        yield ""
        rows = [
            (
                item["id"],
                item["strategy"],
                item["stage"],
                item["account"],
                item["until"] or "",
                "good" if item["good"] else _codes(item),
            )
            for item in found["permits"]
        ]
        yield table(["permit", "strategy", "stage", "account", "until", "state"], rows)
    for item in found["refused"]:
        yield sentence(f"the record holds what must not be there: {item['code']}: {item['words']}")
    yield ""
    yield "what a step asks and lacks in full: peak-trade gate explain STEP --strategy NAME"


def _rung(line: Json) -> tuple[str, ...]:
    after = line["next"]
    passes = f"{after['passed']} of {after['of']}" if after else ""
    step = after["step"] if after else ""
    return (line["strategy"], line["version"], line["account"], ", ".join(line["symbols"]), line["stage"], step, passes)


def _request(line: Json) -> tuple[str, ...]:
    people = ", ".join(item["person"] for item in line["approvals"])
    decided = line["decided"] or line["trouble"] or ("expired" if line.get("expired") else "")
    return (
        line["id"],
        line["step"],
        line["strategy"],
        line["by"],
        line["until"] or "",
        people,
        ", ".join(line["missing"]),
        decided,
    )


def _codes(item: Json) -> str:
    return ", ".join(sorted({found["code"] for found in item["objections"]}))


def history_lines(found: Sequence[Json]) -> Iterator[str]:
    """Yield steps and decisions."""
    if not found:
        yield "nothing was decided yet"
        return
    rows = [
        (
            item["at"],
            item["strategy"],
            item["version"],
            item["account"],
            ", ".join(item["symbols"]),
            item["what"],
            str(item.get("step") or item.get("to", "")),
            ("pass" if item["passed"] else "no pass") if "passed" in item else str(item.get("why", "")),
        )
        for item in found
    ]
    yield table(["at (UTC)", "strategy", "version", "account", "pairs", "", "", ""], rows)
