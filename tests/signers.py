"""People's keys for the tests: SSH signatures written by hand after PROTOCOL.sshsig, also those of hardware keys."""

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PURPOSE = "peak-trade-approval"
CURVES = {
    "ecdsa-sha2-nistp256": ("nistp256", ec.SECP256R1(), hashes.SHA256()),
    "ecdsa-sha2-nistp384": ("nistp384", ec.SECP384R1(), hashes.SHA384()),
    "ecdsa-sha2-nistp521": ("nistp521", ec.SECP521R1(), hashes.SHA512()),
    "sk-ecdsa-sha2-nistp256@openssh.com": ("nistp256", ec.SECP256R1(), hashes.SHA256()),
}
KINDS = (*CURVES, "ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ssh-rsa")


def text(content: bytes | str) -> bytes:
    """Return an SSH string."""
    content = content.encode() if isinstance(content, str) else content
    return len(content).to_bytes(4, "big") + content


def whole(value: int) -> bytes:
    """Return a positive SSH mpint."""
    return text(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def armour(blob: bytes, width: int = 70) -> bytes:
    """Return a signature file."""
    encoded = base64.b64encode(blob).decode()
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


@dataclass
class SshSigner:
    """A key of one kind and how it signs; the fields are what an attacker could choose otherwise."""

    kind: str = "ssh-ed25519"
    bits: int = 2_048
    flags: int = 1
    counter: int = 7
    application: str = "ssh:"
    key: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key is None and self.kind in CURVES:
            self.key = ec.generate_private_key(CURVES[self.kind][1])
        elif self.key is None and self.kind == "ssh-rsa":
            self.key = rsa.generate_private_key(65_537, self.bits)
        elif self.key is None:
            self.key = ed25519.Ed25519PrivateKey.generate()

    @cached_property
    def blob(self) -> bytes:
        """The public key in SSH's wire format."""
        public = self.key.public_key()
        tail = text(self.application) if self.kind.startswith("sk-") else b""
        if self.kind in CURVES:
            point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return text(self.kind) + text(CURVES[self.kind][0]) + text(point) + tail
        if self.kind == "ssh-rsa":
            return text(self.kind) + whole(public.public_numbers().e) + whole(public.public_numbers().n)
        return text(self.kind) + text(public.public_bytes_raw()) + tail

    @property
    def line(self) -> str:
        """The public key as OpenSSH writes it."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()} somebody@somewhere"

    @property
    def fingerprint(self) -> str:
        """What ssh-keygen calls the key."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def raw(self, signed: bytes, algorithm: str = "") -> bytes:
        """Return the innermost signature, in SSH's wire format."""
        tail = b""
        if self.kind.startswith("sk-"):
            tail = bytes([self.flags]) + self.counter.to_bytes(4, "big")
            signed = hashlib.sha256(self.application.encode()).digest() + tail + hashlib.sha256(signed).digest()
        if self.kind in CURVES:
            r, s = decode_dss_signature(self.key.sign(signed, ec.ECDSA(CURVES[self.kind][2])))
            return text(algorithm or self.kind) + text(whole(r) + whole(s)) + tail
        if self.kind == "ssh-rsa":
            algorithm = algorithm or "rsa-sha2-512"
            used = {"ssh-rsa": hashes.SHA1(), "rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}[algorithm]  # noqa: S303
            return text(algorithm) + text(self.key.sign(signed, padding.PKCS1v15(), used))
        return text(algorithm or self.kind) + text(self.key.sign(signed)) + tail

    def sign(self, message: bytes, purpose: str = PURPOSE, **parts: Any) -> bytes:
        """Return a signature file over a message; *parts* replace what a well-made one would say."""
        hashed = parts.get("hash", "sha512")
        digest = hashlib.new(hashed, message).digest()
        inner = b"SSHSIG" + text(purpose) + text(parts.get("reserved", b"")) + text(hashed) + text(digest)
        signature = parts.get("signature") or self.raw(inner, parts.get("algorithm", ""))
        version = parts.get("version", 1).to_bytes(4, "big")
        head = parts.get("magic", b"SSHSIG") + version + text(parts.get("blob", self.blob))
        outer = head + text(purpose) + text(parts.get("reserved", b"")) + text(hashed) + text(signature)
        return armour(outer + parts.get("trailing", b""), parts.get("width", 70))
