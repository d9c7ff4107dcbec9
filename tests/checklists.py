"""Filled checklists for tests: made from the rulings of a case, and finished as a person would with an editor."""

import re
from collections.abc import Sequence
from datetime import datetime

from tests.gates import MADE, GateCase, sha
from tests.paths import ROOT

from peak_trade.governance.checklists import CHECKLISTS, ChecklistHead, ChecklistTemplate, fill, read_template
from peak_trade.governance.criteria import Ruling
from peak_trade.governance.ladder import Rung
from peak_trade.runs.checklists import TEMPLATES, head_of


def template(rung: Rung) -> ChecklistTemplate:
    """Return the template that is delivered."""
    path = ROOT / TEMPLATES / f"{CHECKLISTS[rung]}.md"
    return read_template(path.read_bytes(), path.name)


def head(case: GateCase, made_at: datetime = MADE) -> ChecklistHead:
    """Return the head of a case's list."""
    return head_of(case.request, template(case.rung), made_at)


def rulings(case: GateCase) -> Sequence[Ruling]:
    """Return what the criteria of a case come to, with that of `roles_named`."""
    return case.decide().document.rulings


def filled(case: GateCase, made_at: datetime = MADE) -> bytes:
    """Return a case's list as it is made, with what people do still open."""
    links = {"shadow-0": "../experiments/shadow-0/"}
    return fill(template(case.rung), head(case, made_at), case.policy.criteria[case.rung], rulings(case), links)


def finished(
    content: bytes, person: str = "olga", on: str = f"{MADE:%F}", note: str = "looked at it", point: str = ""
) -> bytes:
    """Tick and fill in every point by hand that is empty, or one of them."""
    lines = content.decode().split("\n")
    said = {"name": person, "date": on, "note": note}
    inside = ""
    for number, line in enumerate(lines):
        if found := re.match(r"- \[.\] \((measured|by hand)\) \*\*(\w+)\*\*", line):
            inside = found[2] if found[1] == "by hand" and point in ("", found[2]) else ""
            lines[number] = line.replace("- [ ]", "- [x]") if inside else line
        elif inside and (field := re.fullmatch(r"  - (name|date|note):", line)):
            lines[number] = f"{line} {said[field[1]]}"
    return "\n".join(lines).encode()


def edited(content: bytes, old: str, new: str) -> bytes:
    """Replace the first place of a text that must be there."""
    text = content.decode()
    assert old in text, old
    return text.replace(old, new, 1).encode()


#: For heads of another package.
OTHER = sha("something else")
