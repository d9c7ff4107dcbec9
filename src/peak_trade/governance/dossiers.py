"""A dossier as one file: what a permit is checked from, on any machine."""

from typing import Literal

from peak_trade.governance.approvals import Signature
from peak_trade.governance.criteria import Evidence
from peak_trade.governance.decisions import Dossier
from peak_trade.governance.deviations import SignedDeviation
from peak_trade.governance.documents import Moment, Written, decode, encode


class SignatureFile(Written, frozen=True, kw_only=True):
    """A `.sig` file, and when it came in."""

    armoured: str
    received_at: Moment


class DeviationFile(Written, frozen=True, kw_only=True):
    """A deviation's text and who signed it."""

    content: str
    signatures: tuple[SignatureFile, ...]


class DossierFile(Written, frozen=True, kw_only=True):
    """The file; texts are the bytes that were signed."""

    format: Literal["peak-trade-dossier-1"] = "peak-trade-dossier-1"
    request: str
    signatures: tuple[SignatureFile, ...]
    evidence: tuple[Evidence, ...]
    deviations: tuple[DeviationFile, ...]


def pack(dossier: Dossier) -> bytes:
    """Return a dossier as a file; bytes that are no text, such as rubbish among the signatures, lose their meaning."""
    return encode(
        DossierFile(
            request=_text(dossier.request),
            signatures=tuple(map(_packed, dossier.signatures)),
            evidence=tuple(dossier.evidence),
            deviations=tuple(
                DeviationFile(content=_text(item.content), signatures=tuple(map(_packed, item.signatures)))
                for item in dossier.deviations
            ),
        )
    )


def unpack(content: bytes) -> Dossier:
    """Read a dossier back.

    Raises:
        Objected: `malformed`.
    """
    file = decode(content, DossierFile, "a dossier")
    return Dossier(
        file.request.encode(),
        tuple(map(_unpacked, file.signatures)),
        file.evidence,
        tuple(SignedDeviation(item.content.encode(), tuple(map(_unpacked, item.signatures))) for item in file.deviations),
    )


def _packed(signature: Signature) -> SignatureFile:
    return SignatureFile(armoured=_text(signature.armoured), received_at=signature.received_at)


def _unpacked(file: SignatureFile) -> Signature:
    return Signature(file.armoured.encode(), file.received_at)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
