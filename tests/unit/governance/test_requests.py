"""The request: one form in bytes, bound to everything, and what changed is named."""

import json

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gates import DAY, MADE, NOW, GateCase, evidence_for, sha

from peak_trade.governance.criteria import Evidence, EvidenceKind
from peak_trade.governance.documents import BYTES_MAX, Fact, decode, encode
from peak_trade.governance.ladder import Rung
from peak_trade.governance.objections import Objected
from peak_trade.governance.requests import PARTS, age_trouble, compare, read_request, request_id
from peak_trade.model.errors import InvariantBroken

CASE = GateCase(evidence=evidence_for(Rung.SHADOW_TESTNET)[:3])
PLAIN = json.loads(CASE.content)


def code_of(content: bytes) -> str:
    try:
        read_request(content)
    except Objected as objected:
        assert "\n" not in str(objected)
        return objected.code
    return ""


def canonical(**changes) -> bytes:
    merged = PLAIN | changes
    return rfc8785.dumps({name: value for name, value in merged.items() if value is not ...})


def test_it_comes_back_as_it_went():
    """Reading gives what was written; the bytes are those of another implementation of RFC 8785."""
    assert read_request(CASE.content) == CASE.request
    assert canonical() == CASE.content
    assert len(request_id(CASE.content)) == 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"{" * 5_000,
        json.dumps(PLAIN).encode(),
        CASE.content + b"\n",
        b" " + CASE.content,
        CASE.content.replace(b'"account":"paper"', b'"account":"paper","account":"paper"'),
        CASE.content.replace(b"paper", b"p\\u0061per"),
        b" " * (BYTES_MAX + 1),
        canonical(extra=1),
        canonical(account=...),
        canonical(account="../paper"),
        canonical(account="paper\n"),
        canonical(account=""),
        canonical(transition="shadow->live"),
        canonical(format="peak-trade-request-2"),
        canonical(symbols=[]),
        canonical(symbols=["ETH/EUR", "BTC/EUR"]),
        canonical(symbols=["BTC/EUR", "BTC/EUR"]),
        canonical(symbols=["btc"]),
        canonical(symbols="BTC/EUR"),
        canonical(created_at="2026-11-18T12:00:00"),
        canonical(created_at="2026-11-18T12:00:00+00:00"),
        canonical(created_at="0001-01-01T00:00:00Z"),
        canonical(expires_at="9999-01-01T00:00:00Z"),
        canonical(expires_at=PLAIN["created_at"]),
        canonical(parts={}),
        canonical(parts=PLAIN["parts"] | {"policy": {}}),
        canonical(parts=PLAIN["parts"] | {"other": {"a": sha("a")}}),
        canonical(parts=PLAIN["parts"] | {"code": {"src": "0" * 63}}),
        canonical(parts=PLAIN["parts"] | {"code": {"src\n": sha("a")}}),
        canonical(parts=PLAIN["parts"] | {"code": {"\x1b[2J": sha("a")}}),
        canonical(parts=PLAIN["parts"] | {"code": {"src": "A" * 64}}),
        canonical(evidence=PLAIN["evidence"][::-1]),
        canonical(evidence=PLAIN["evidence"][:1] * 2),
        canonical(strategy=PLAIN["strategy"] | {"key": ""}),
        canonical(deviations=[sha("a"), sha("a")]),
    ],
)
def test_other_forms_are_refused(content):
    """Other bytes of the same request, fields that nobody knows, lists out of order, moments without a zone."""
    assert code_of(content) == "malformed"


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content):
    """Never a traceback."""
    assert code_of(content) == "malformed"


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(CASE.content) - 1), st.integers(1, 255))
def test_another_byte_is_another_request(at, by):
    """It is refused, or says something else: no byte is without meaning."""
    content = CASE.content[:at] + bytes([CASE.content[at] ^ by]) + CASE.content[at + 1 :]

    assert code_of(content) or read_request(content) != CASE.request


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_compared(part):
    """Each by its name: what changed, what is gone, what has come."""
    request, present = CASE.request, CASE.present
    name = next(iter(present[part]))

    assert compare(request, present) == ()
    said = [
        compare(request, present | {part: {name: sha("other")}}),
        compare(request, present | {part: {}}),
        compare(request, {other: found for other, found in present.items() if other != part}),
        compare(request, present | {part: present[part] | {"more": sha("more")}}),
    ]
    assert [[item.code for item in found] for found in said] == [["changed"]] * 4
    assert [found[0].words for found in said] == [
        f"{part}: {name} changed since the request",
        f"{part}: {name} is gone since the request",
        f"{part}: {name} is gone since the request",
        f"{part}: more has come since the request",
    ]


def test_evidence_is_compared_too():
    """A row of the registry that was edited has another hash, one that was deleted has none."""
    request, present = CASE.request, CASE.present
    run = request.evidence[0].run_id

    edited = compare(request, present | {"evidence": present["evidence"] | {run: sha("edited")}})
    assert [item.words for item in edited] == [f"evidence: {run} changed since the request"]
    assert len(compare(request, present | {"evidence": {}})) == 3


def test_the_age_has_its_ends():
    """Not before it was made, not from its end on, and never for longer than the policy has."""
    request = CASE.request

    def code(at) -> str | None:
        found = age_trouble(request, 14 * DAY, at)
        return found.code if found else None

    assert code(MADE) is None
    assert code(MADE - DAY / 86_400) == "clock_set_back"
    assert code(MADE + 14 * DAY) == "request_expired"
    assert code(MADE + 14 * DAY - DAY / 86_400) is None
    assert age_trouble(request, 13 * DAY, NOW).code == "request_expired"


FACTS = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8),
    st.one_of(st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(st.characters(exclude_categories=["Cs"]))),
    max_size=8,
)


@given(FACTS)
def test_facts_have_the_bytes_of_rfc_8785(facts: dict[str, Fact]):
    """Evidence is hashed over canonical JSON, whatever its facts are called and say."""
    item = Evidence(kind=EvidenceKind.DRILL, run_id="r", sha256=sha("r"), at=NOW, facts=facts)
    content = encode(item)

    assert rfc8785.dumps(json.loads(content)) == content
    assert decode(content, Evidence, "evidence") == item


@pytest.mark.parametrize("facts", [{"a": 2**53}, {"a": -(2**53)}, {"ä": 1}, {"a\n": 1}, {"a": 1.5}, {"a": "\ud800"}])
def test_what_has_no_one_form_is_no_document(facts):
    """Numbers that readers round, keys they sort otherwise, half characters."""
    item = Evidence(kind=EvidenceKind.DRILL, run_id="r", sha256=sha("r"), at=NOW, facts={})
    with pytest.raises(InvariantBroken):
        encode(msgspec.structs.replace(item, facts=facts))
