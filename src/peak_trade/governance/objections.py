"""Why the gates say no: every code there is, and the one exception that carries it.

Invariant: whatever is malformed, forged, late or missing ends as one of these codes with a sentence, never as a traceback.
"""

from typing import NamedTuple

from peak_trade.model.errors import SafetyRefused, require

#: Every code, with what it means; the guide's table is held against this one.
CODES: dict[str, str] = {
    # what a file is
    "malformed": "a document or signature has another form than it must have, to the byte",
    "armour": "no SSH signature between its two lines",
    "namespace": "a signature that was made for another purpose",
    "algorithm": "a kind of key or hash that is not accepted, such as SHA-1",
    "weak_key": "an RSA key of less than 2048 bits, or of a form that no tool makes",
    "touch": "a hardware key that was not touched",
    "mismatch": "a signature over other bytes, or one that was altered",
    # who signed
    "unknown_key": "a key of nobody in the roles",
    "key_not_valid": "a key before its first or after its last day",
    "key_revoked": "a key that was revoked",
    "person_not_valid": "a person before their first or after their last day",
    "unknown_requester": "a requester who is nobody in the roles",
    "unasked": "a request that the one who is said to ask has not signed",
    "requester": "the requester's own signature, which says who asks and never counts",
    "no_role": "somebody who does not decide about this step",
    "same_person": "another signature of somebody who has been counted",
    "signed_early": "a signature that is said to be older than what it signs",
    "approval_expired": "a signature that is too old",
    "approvals_missing": "nobody, or not enough different people, signed in a role that decides",
    # what is asked
    "request_expired": "a request that is too old, or was to live for too long",
    "clock_set_back": "a moment that lies before something that has happened already",
    "changed": "something the request is bound to has other bytes now",
    "evidence_unbound": "evidence that the request does not name",
    "evidence_missing": "evidence that the request names and that is not there",
    "evidence_altered": "evidence whose content is not what the request names",
    "criterion_failed": "a criterion whose numbers are beyond its limit",
    "criterion_inconclusive": "a criterion with too little data, or none",
    "deviation_unbound": "a deviation that the request does not name, or that is missing",
    "deviation_other": "a deviation of another step, strategy, account, or of no criterion of this step",
    "deviation_hard": "a deviation from a hard criterion",
    "deviation_limit": "a deviation beyond what the policy lets anyone go",
    "deviation_expired": "a deviation before its beginning or after its end",
    "deviation_unsigned": "a deviation that nobody signed who may",
    # the ladder
    "rung_order": "a step that is not the next one up",
    "no_decision": "a step up without a decision that passed, for exactly it, since the last step down",
    "decision_used": "a decision that has been recorded before",
    "decision_expired": "a step up on a decision that is too old",
    "not_lower": "a step down that does not lead down",
    # permits
    "other_request": "a permit of another request",
    "other_stage": "a permit for another stage",
    "other_account": "a permit for another account",
    "other_symbols": "a permit for other pairs",
    "other_version": "a permit for another strategy, other parameters or other code",
    "other_decision": "a permit whose decision comes out otherwise",
    "permit_expired": "a permit after its end",
    "permit_too_long": "a permit that lasts longer than the policy allows",
    "demoted": "a permit of a version that has been taken down since",
    "unrecorded": "a permit of a decision on which no step up is recorded",
    "permit_revoked": "a permit that was revoked",
}


class Objection(NamedTuple):
    """One reason for a no: its code, and a sentence."""

    code: str
    words: str


class Objected(SafetyRefused):
    """Something can't be accepted; `code` is one of `CODES`."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        require(code in CODES, f"{code} is a code of the gates")
        self.code = code

    @property
    def objection(self) -> Objection:
        """The same as a value, for lists of reasons."""
        return Objection(self.code, str(self))
