"""Checklists of the steps: Markdown that people fill in, and that is read as strictly as what they sign.

A template and a filled list have one form, line by line:

    ---                                             head: `key: value`, closed by the same line
    - [ ] (measured) **id**: words                  a point that a criterion of the policy answers, by the same id
      - answer: pass (hard)                         filled: the answer and what it rests on, sealed by the comment after it
    - [ ] (by hand) **id**: words                   a point for a person, with hints below it
      - name: …   - date: …   - note: …             one line each; a note may go on in more

A soft criterion that is not met has lines for a person too, who names the signed deviation from it.
Invariant: everything else in a filled list is the template's text; whatever is not, is told as an open point.
Seals tell what was edited, they keep nobody from it: the gate measures by itself, and people sign the bytes of the list.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from peak_trade.governance.criteria import Answer, Criterion, EvidenceKind, Ruling
from peak_trade.governance.documents import BYTES_MAX, Fact, Moment, Name, Sha256, Symbol, Written, digest
from peak_trade.governance.ladder import Rung, StrategyVersion
from peak_trade.governance.policy import ROLES_NAMED
from peak_trade.governance.requests import Promotion
from peak_trade.model.errors import ConfigError, InputError, require

#: The checklist of each step: names of files and words of commands.
CHECKLISTS: dict[Rung, str] = {rung: rung.value.replace("->", "_to_").replace("-", "_") for rung in Rung}
#: The criterion that a list itself has to meet, and can't answer.
CHECKLIST = "checklist_current"
#: What the one measured point asks that no criterion of the policy has words for.
_ROLES_WORDS = "There are people for every role that decides."
#: Where troubles stand that belong to no point.
HEAD, TEXT = "head", "text"

_FENCE = "---"
_SEAL_KEY = "machine_sha256"
_POINT = re.compile(r"- \[\s*([xX]?)\s*\] \((measured|by hand)\) \*\*([a-z][a-z0-9_]{0,63})\*\*(?:: (.*))?")
_FIELD = re.compile(r"\s+- (name|date|note|deviation):(.*)")
_ANSWER = re.compile(r"  - answer: (pass|fail|inconclusive) \((hard|soft)\)")
_SEALED = re.compile(r"  <!-- sealed ([0-9a-f]{64}) -->")
_HTML = re.compile(r"<[A-Za-z!/?]")
_BY_HAND = ("name", "date", "note")
_DEVIATED = ("deviation", *_BY_HAND)

Version = Annotated[str, msgspec.Meta(pattern=r"^v[0-9]{1,4}\.[0-9]{1,4}\Z")]


class TemplateHead(Written, frozen=True, kw_only=True):
    """The head of a template."""

    checklist: Name
    version: Version
    step: Rung


class ChecklistHead(TemplateHead, frozen=True, kw_only=True):
    """The head of a filled list: what it is about, and from what it was made; `package_sha256` is the whole code's hash."""

    template_sha256: Sha256
    made_at: Moment
    strategy: Name
    params_sha256: Sha256
    code_sha256: Sha256
    package_sha256: Sha256
    account: Name
    symbols: Annotated[tuple[Symbol, ...], msgspec.Meta(min_length=1, max_length=200)]

    @property
    def strategy_version(self) -> StrategyVersion:
        """The strategy as it was judged."""
        return StrategyVersion(key=self.strategy, params_sha256=self.params_sha256, code_sha256=self.code_sha256)


class ChecklistPoint(NamedTuple):
    """A point as it stands in a file: `body` has the lines below it, without empty ones."""

    id: str
    measured: bool
    ticked: bool
    words: str
    body: tuple[str, ...]


class ChecklistTemplate(NamedTuple):
    """A template: its head, its lines with points among them, and the hash of its bytes."""

    head: TemplateHead
    items: tuple[str | ChecklistPoint, ...]
    sha256: str

    @property
    def points(self) -> tuple[ChecklistPoint, ...]:
        """Its points in their order."""
        return tuple(item for item in self.items if isinstance(item, ChecklistPoint))


class Filled(NamedTuple):
    """A filled list as it was read: `seal` is what its head says of everything that was measured."""

    head: ChecklistHead
    head_lines: tuple[str, ...]
    seal: str
    items: tuple[str | ChecklistPoint, ...]

    @property
    def points(self) -> tuple[ChecklistPoint, ...]:
        """Its points in their order."""
        return tuple(item for item in self.items if isinstance(item, ChecklistPoint))


class OpenPoint(NamedTuple):
    """A point that is not done, or `head` or `text`, and everything that is missing in it."""

    point: str
    why: str


class Statement(NamedTuple):
    """What a person stated in a point by hand; `agreed` is whether they ticked it."""

    about: str
    person: str
    on: date
    note: str
    agreed: bool

    @property
    def at(self) -> datetime:
        """The beginning of that day in UTC: never later than the statement itself."""
        return datetime.combine(self.on, time(), UTC)


class ChecklistLook(NamedTuple):
    """All that a gate asks of a filled list.

    Attributes:
        current_version: whether it was made from the present template, byte for byte.
        sha256: of its bytes.
        statements: of people who were given as such.
        deviations: by criterion, the hash of the signed deviation that somebody names.
    """

    head: ChecklistHead
    open_points: tuple[OpenPoint, ...]
    current_version: bool
    sha256: str
    statements: tuple[Statement, ...]
    deviations: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether no point is open."""
        return not self.open_points

    @property
    def facts(self) -> dict[str, Fact]:
        """What the criterion `checklist_current` is measured in."""
        return {
            "check": "checklist",
            "sha256": self.sha256,
            "current_version": self.current_version,
            "open_points": len(self.open_points),
        }


def checklist_rung(name: str) -> Rung:
    """Return the step of a checklist by its name, such as `shadow_to_testnet` or `shadow->testnet`.

    Raises:
        InputError: there is none of that name.
    """
    for rung, known in CHECKLISTS.items():
        if name in (known, rung.value):
            return rung
    raise InputError(f"expected one of the checklists {', '.join(CHECKLISTS.values())}, found {name[:60]!r}; name one of them")


def read_template(content: bytes, where: str) -> ChecklistTemplate:
    """Read a template.

    Raises:
        ConfigError: it has another form, or a point twice.
    """
    try:
        raw, lines = _parted(content)
        head = msgspec.convert(raw, TemplateHead)
    except (_OtherForm, msgspec.ValidationError) as error:
        raise ConfigError(f"expected the template of a checklist in {where}, but {_plain(error)}; correct it") from None
    if CHECKLISTS[head.step] != head.checklist:
        raise ConfigError(f"expected {CHECKLISTS[head.step]} as the checklist of {head.step.value} in {where}, found another")
    found = ChecklistTemplate(head, tuple(_items(lines)), digest(content))
    names = [point.id for point in found.points]
    if twice := sorted({name for name in names if names.count(name) > 1 or name in (HEAD, TEXT)}):
        raise ConfigError(f"expected each point of {where} once, found {twice[0]} again; give it another id")
    for point in found.points:
        if point.measured and (point.words or point.body):
            raise ConfigError(f"expected no words at the measured {point.id} in {where}, found some; the policy has them")
        if not point.measured and not point.words:
            raise ConfigError(f"expected words at {point.id} in {where}, found none; say what is to be done")
    return found


def check_template(template: ChecklistTemplate, criteria: Sequence[Criterion]) -> None:
    """Hold a template against what its step asks.

    Raises:
        ConfigError: a criterion without a point, a measured point without a criterion, or a point by hand that must be there
            because a person's statement is the evidence of a criterion.
    """
    where = f"the checklist {template.head.checklist}"
    asked = {ROLES_NAMED, *(item.id for item in criteria if _by_machine(item))}
    measured = {point.id for point in template.points if point.measured}
    by_hand = {point.id for point in template.points if not point.measured}
    stated = {str(item.where["about"]) for item in criteria if not _by_machine(item) and "about" in item.where}
    if absent := sorted(asked - measured):
        raise ConfigError(f"expected a measured point for every criterion in {where}, found none for {absent[0]}; add it")
    if extra := sorted(measured - asked):
        raise ConfigError(f"expected measured points of criteria alone in {where}, found {extra[0]}; take it out")
    if absent := sorted(stated - by_hand):
        raise ConfigError(f"expected a point by hand for what people must state in {where}, found no {absent[0]}; add it")


def fill(
    template: ChecklistTemplate,
    head: ChecklistHead,
    criteria: Sequence[Criterion],
    rulings: Sequence[Ruling],
    links: Mapping[str, str],
) -> bytes:
    """Return a list with every measured point filled in and every other one left open.

    Args:
        criteria, rulings: of its step; the rulings with that of `roles_named`.
        links: by run, where its results lie, as seen from where lists are archived.

    Raises:
        InputError: the head names what no file and no document can, such as an account with a line break.
        ConfigError: the template does not fit the criteria.
    """
    facts = _head_lines(head)
    check_template(template, criteria)
    words = {ROLES_NAMED: _ROLES_WORDS} | {item.id: item.words for item in criteria}
    ruled = {ruling.criterion: ruling for ruling in rulings}
    body: list[str] = []
    seals: list[str] = []
    told_at: dict[tuple[str, ...], str] = {}
    for item in template.items:
        if isinstance(item, str):
            body.append(item)
        elif item.measured:
            require(item.id in ruled, f"{item.id} has been ruled on before a checklist is filled")
            ruling = ruled[item.id]
            told = _single(words[item.id])
            measured = tuple(_told(ruling, links, told_at))
            seals.append(_seal(item.id, told, measured))
            passed = ruling.answer is Answer.PASS
            body += [
                f"- [{'x' if passed else ' '}] (measured) **{item.id}**: {told}",
                *measured,
                f"  <!-- sealed {seals[-1]} -->",
            ]
            body += [] if passed or ruling.hard else [f"  - {name}:" for name in _DEVIATED]
        else:
            body += [f"- [ ] (by hand) **{item.id}**: {item.words}", *item.body, *(f"  - {name}:" for name in _BY_HAND)]
    lines = [_FENCE, *facts, f"{_SEAL_KEY}: {_seal(*facts, seals)}", _FENCE, *body]
    return ("\n".join(lines) + "\n").encode()


def read_filled(content: bytes) -> Filled:
    """Read a filled list, whatever is still open in it.

    Raises:
        InputError: it is no checklist.
    """
    try:
        raw, lines = _parted(content)
        seal = raw.pop(_SEAL_KEY, "")
        facts = tuple(f"{name}: {value}" for name, value in raw.items())
        symbols = tuple(filter(None, raw.get("symbols", "").split(", ")))
        head = msgspec.convert({**raw, "symbols": symbols}, ChecklistHead)
    except (_OtherForm, msgspec.ValidationError) as error:
        raise InputError(
            f"expected a checklist that peak-trade checklist new made, but {_plain(error)}; take the file as it was made"
        ) from None
    if head.checklist != CHECKLISTS[head.step]:
        raise InputError(f"expected the checklist of {head.step.value}, found {head.checklist}; take the file as it was made")
    return Filled(head, facts, seal, tuple(_items(lines)))


def statements(filled: Filled) -> list[Statement]:
    """Return what people stated in points by hand: every point with a name and a date."""
    found = []
    for point in filled.points:
        if not point.measured:
            _, fields, _ = _divided(point)
            on = _day(fields.get("date", ""))
            if fields.get("name") and on is not None:
                found.append(Statement(point.id, fields["name"], on, fields.get("note", ""), point.ticked))
    return found


def look(
    content: bytes,
    template: ChecklistTemplate,
    people: Collection[str],
    at: datetime,
    max_age: timedelta,
    request: Promotion | None = None,
) -> ChecklistLook:
    """Return everything that is open in a filled list, at a moment.

    Args:
        people: ids of who may act at that moment.
        max_age: how old the list and what was stated in it may be.
        request: the step that is asked for; with it, a list about something else is open in its head.

    Raises:
        InputError: it is no checklist, or another one.
    """
    filled = read_filled(content)
    if filled.head.checklist != template.head.checklist:
        raise InputError(f"expected the checklist {template.head.checklist}, found {filled.head.checklist}; give that one")
    current = (filled.head.version, filled.head.template_sha256) == (template.head.version, template.sha256)
    found: dict[str, list[str]] = {HEAD: list(_head_troubles(filled, template, at, max_age))}
    if request is not None:
        found[HEAD] += _other_than(filled.head, request)
    known = {point.id: point for point in template.points}
    counts = Counter(point.id for point in filled.points)
    for point in filled.points:
        troubles = found.setdefault(point.id, [])
        origin = known.get(point.id)
        if counts[point.id] > 1:
            troubles.append(f"it stands here {counts[point.id]} times")
        if origin is None or origin.measured != point.measured:
            troubles.append("the template has no such point")
            continue
        troubles += (
            _measured_troubles(point, people, at, max_age) if point.measured else _hand_troubles(point, people, at, max_age)
        )
        # Against another template every line would differ; that it is another one is told already.
        if current and not point.measured and (point.words, _divided(point)[0]) != (origin.words, origin.body):
            troubles.append("its words are not the template's")
    for name in known:
        if name not in found:
            found[name] = ["it is missing"]
    if current:
        found[TEXT] = list(_text_troubles(filled, template))
    opened = tuple(OpenPoint(name, "; ".join(dict.fromkeys(troubles))) for name, troubles in found.items() if troubles)
    stated = tuple(item for item in statements(filled) if item.person in people)
    return ChecklistLook(filled.head, opened, current, digest(content), stated, _deviations(filled))


class _OtherForm(Exception):
    """A file has no head, or is no text."""


def _parted(content: bytes) -> tuple[dict[str, str], list[str]]:
    """Return the head as pairs, and the lines after it; blanks at the ends of lines, and what ends them, mean nothing."""
    if len(content) > BYTES_MAX:
        raise _OtherForm(f"it has more than {BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _OtherForm(f"it is no UTF-8 text at offset {error.start}") from None
    lines = [line.rstrip() for line in text.rstrip().split("\n")]
    if lines[0] != _FENCE or _FENCE not in lines[1:]:
        raise _OtherForm(f"it does not begin with a head between two lines {_FENCE}")
    end = lines.index(_FENCE, 1)
    head: dict[str, str] = {}
    for number, line in enumerate(lines[1:end], 2):
        key, sign, value = line.partition(": ")
        if not sign or key in head:
            raise _OtherForm(f"line {number} of its head is no 'key: value', or has a key again")
        head[key] = value
    return head, lines[end + 1 :]


def _items(lines: Sequence[str]) -> Iterator[str | ChecklistPoint]:
    """Return text line by line, and points with the indented lines below them."""
    number = 0
    while number < len(lines):
        found = _POINT.fullmatch(lines[number])
        if found is None:
            yield lines[number]
            number += 1
            continue
        end = ahead = number + 1
        # Empty lines belong to a point where an indented one follows: an editor or a note with paragraphs left them.
        while ahead < len(lines) and (lines[ahead].startswith("  ") or not lines[ahead]):
            ahead += 1
            end = ahead if lines[ahead - 1] else end
        body = tuple(line for line in lines[number + 1 : end] if line)
        yield ChecklistPoint(found[3], found[2] == "measured", bool(found[1]), found[4] or "", body)
        number = end


def _divided(point: ChecklistPoint) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """Return the lines before the first that a person fills in, what they filled in, and the lines that are too much."""
    before: list[str] = []
    fields: dict[str, str] = {}
    note: list[str] = []
    extra: list[str] = []
    last = ""
    for line in point.body:
        found = _FIELD.fullmatch(line)
        if found is not None and found[1] not in fields:
            last = found[1]
            fields[last] = found[2].strip()
        elif found is not None:
            extra.append(line)
        elif not fields:
            before.append(line)
        elif last == "note":
            note.append(line.strip())
        else:
            extra.append(line)
    if note:
        fields["note"] = "\n".join(filter(None, [fields["note"], *note]))
    return tuple(before), fields, tuple(extra)


def _told(ruling: Ruling, links: Mapping[str, str], told_at: dict[tuple[str, ...], str]) -> Iterator[str]:
    """Write what a criterion came to, a line each; runs that were told at another point are named by that."""
    yield f"  - answer: {ruling.answer.value} ({'hard' if ruling.hard else 'soft'})"
    for item in ruling.measured:
        yield f"  - {_single(item.name)}: {_single(item.found)}, needed {_single(item.limit)} ({item.answer.value})"
    if not ruling.measured:
        yield f"  - why: {_single(ruling.why)}"
    if ruling.deviation:
        yield f"  - under the deviation {ruling.deviation}"
    if ruling.runs:
        before = told_at.setdefault(ruling.runs, ruling.criterion)
        listed = ", ".join(f"[{run}]({links[run]})" if run in links else run for run in ruling.runs)
        runs = listed if before == ruling.criterion or len(ruling.runs) == 1 else f"the runs of {before}"
        yield f"  - evidence ({len(ruling.runs)}): {runs}"


def _head_lines(head: ChecklistHead) -> list[str]:
    plain: dict[str, Any] = msgspec.to_builtins(head)
    try:
        msgspec.convert(plain, ChecklistHead)
    except msgspec.ValidationError as error:
        raise InputError(f"expected names that a checklist can have in its head, but {_plain(error)}; correct it") from None
    plain["made_at"] = f"{head.made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    plain["symbols"] = ", ".join(head.symbols)
    return [f"{name}: {value}" for name, value in plain.items()]


def _seal(*parts: str | Iterable[str]) -> str:
    """Return a hash over lines, in which no two lists of lines are the same text."""
    return digest(msgspec.json.encode([part if isinstance(part, str) else list(part) for part in parts]))


def _head_troubles(filled: Filled, template: ChecklistTemplate, at: datetime, max_age: timedelta) -> Iterator[str]:
    head, own = filled.head, template.head
    if head.version != own.version:
        yield f"it was made from {head.version} of the template, the present one is {own.version}: make it anew"
    elif head.template_sha256 != template.sha256:
        yield f"the template has other bytes now, though it still is {own.version}: make it anew"
    if head.made_at > at:
        yield f"it says it was made at {head.made_at:%F %T}, which is yet to come"
    elif at - head.made_at > max_age:
        yield f"it was made at {head.made_at:%F %T}, more than {max_age.days} days ago: make it anew"
    seals = [_sealed(point)[1] for point in filled.points if point.measured]
    if _seal(*filled.head_lines, seals) != filled.seal:
        yield "it, or which points were measured, was edited since the list was made: make it anew"


def _other_than(head: ChecklistHead, request: Promotion) -> Iterator[str]:
    """Say in what a list is about something else than a request."""
    code = list(request.parts.get("code", {}).values())
    pairs: dict[str, tuple[object, object]] = {
        "step": (head.step.value, request.transition.value),
        "strategy": (head.strategy, request.strategy.key),
        "parameters": (head.params_sha256, request.strategy.params_sha256),
        "strategy's code": (head.code_sha256, request.strategy.code_sha256),
        "code": ([head.package_sha256], code),
        "account": (head.account, request.account),
        "pairs": (sorted(head.symbols), sorted(request.symbols)),
    }
    if other := [name for name, (own, asked) in pairs.items() if own != asked]:
        yield f"it is about something else than the request: other {', '.join(other)}"


def _sealed(point: ChecklistPoint) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Return what was measured in a point, its seal (empty without one), and the lines after it."""
    for number, line in enumerate(point.body):
        if found := _SEALED.fullmatch(line):
            return point.body[:number], found[1], point.body[number + 1 :]
    return point.body, "", ()


def _measured_troubles(point: ChecklistPoint, people: Collection[str], at: datetime, max_age: timedelta) -> Iterator[str]:
    lines, seal, after = _sealed(point)
    answer = _ANSWER.fullmatch(lines[0]) if lines else None
    if answer is None or _seal(point.id, point.words, lines) != seal:
        yield "what was measured was edited since the list was made: make it anew"
        return
    if answer[1] == Answer.PASS.value:
        if not point.ticked:
            yield "not ticked"
        if after:
            yield _foreign(after)
        return
    if answer[2] == "hard":
        yield f"it came to {answer[1]}, not pass"
        return
    own = point._replace(body=after)
    before, fields, _ = _divided(own)
    troubles = [_foreign(before)] if before else []
    if re.fullmatch(r"[0-9a-f]{64}", fields.get("deviation", "")) is None:
        troubles.append("no deviation, which is the hash of its document, 64 digits")
    troubles += _hand_troubles(own, people, at, max_age, _DEVIATED)
    if troubles:
        yield f"it came to {answer[1]} and is soft: needs a signed deviation"
        yield from troubles


def _hand_troubles(
    point: ChecklistPoint, people: Collection[str], at: datetime, max_age: timedelta, names: Sequence[str] = _BY_HAND
) -> Iterator[str]:
    _, fields, extra = _divided(point)
    if not point.ticked:
        yield "not ticked"
    if not fields.get("name"):
        yield "no name"
    elif fields["name"] not in people:
        yield f"the name {fields['name'][:64]!r} is no id of somebody in governance/roles.toml who may act now"
    on = _day(fields.get("date", ""))
    if not fields.get("date"):
        yield "no date"
    elif on is None:
        yield f"the date {fields['date'][:20]!r} is none: write it as {at:%F}"
    else:
        begun = datetime.combine(on, time(), UTC)
        if begun > at:
            yield f"the date {on} is yet to come"
        elif at - begun > max_age:
            yield f"the date {on} lies more than {max_age.days} days back"
    if not any(letter.isalnum() for letter in fields.get("note", "")):
        yield "no note"
    elif _HTML.search(fields["note"]):
        yield "HTML in the note, which can hide from readers what follows: write it without '<'"
    if foreign := (*extra, *(name for name in fields if name not in names)):
        yield _foreign(foreign)


def _text_troubles(filled: Filled, template: ChecklistTemplate) -> Iterator[str]:
    """Say where the text between the points is not the template's; empty lines count for nothing."""
    wanted = [item for item in template.items if isinstance(item, str) and item]
    found = [item for item in filled.items if isinstance(item, str) and item]
    if wanted != found:
        pairs = zip([*wanted, None], [*found, None], strict=False)
        own, line = next((own, line) for own, line in pairs if own != line)
        yield f"expected {_cut(own)} as the template has it, found {_cut(line)}; notes belong into points"


def _deviations(filled: Filled) -> dict[str, str]:
    found = {}
    for point in filled.points:
        name = _divided(point._replace(body=_sealed(point)[2]))[1].get("deviation", "") if point.measured else ""
        if name:
            found[point.id] = name
    return found


def _by_machine(item: Criterion) -> bool:
    """Tell whether a criterion can be judged before its checklist is filled: not by people's word, nor the list itself."""
    return item.id != CHECKLIST and set(item.evidence) != {EvidenceKind.PERSON}


def _day(text: str) -> date | None:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _single(text: str) -> str:
    """Return text in one line, in which nothing opens or closes a comment of Markdown."""
    return " ".join(text.split()).replace("<!--", "<!- -").replace("-->", "- ->")


def _foreign(lines: Sequence[str]) -> str:
    more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"a line that does not belong here: {lines[0].strip()[:60]!r}{more}"


def _cut(line: str | None) -> str:
    return "the end" if line is None else repr(line[:60])


def _plain(error: Exception) -> str:
    words = str(error).splitlines()[0][:200]
    return words[:1].lower() + words[1:]
