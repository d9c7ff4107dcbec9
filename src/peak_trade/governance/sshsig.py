"""SSH signatures as `ssh-keygen -Y sign` makes them, read and checked: formats of OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f.

    SSHSIG, version 1, public key, namespace, reserved, hash algorithm, signature      the blob, each as an SSH string
    SSHSIG, namespace, reserved, hash algorithm, hash of the message                   what the key signs

Invariant: there is one way to write a signature; whatever has other lengths, more bytes or another encoding is refused.
Invariant: no SHA-1, no RSA key below 2048 bits, no hardware key that was not touched.
"""

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn

from peak_trade.governance.objections import Objected

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve

#: What approvals are signed for, and deviations: a signature for the one is none for the other.
APPROVAL = "peak-trade-approval"
DEVIATION = "peak-trade-deviation"
#: Longest signature file, in bytes: an RSA key of 16384 bits needs some 6,000.
BYTES_MAX = 16_384

_MAGIC = b"SSHSIG"
_FIRST, _LAST = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
_LINE_MAX = 76
_RSA_BITS = range(2_048, 16_385)
_TOUCHED = 0x01
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}

_ED25519, _RSA = "ssh-ed25519", "ssh-rsa"
_SK_ED25519, _SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
#: Of each elliptic key: name of its curve and bytes of a coordinate.
_CURVES = {
    "ecdsa-sha2-nistp256": ("nistp256", 32),
    "ecdsa-sha2-nistp384": ("nistp384", 48),
    "ecdsa-sha2-nistp521": ("nistp521", 66),
    _SK_ECDSA: ("nistp256", 32),
}


class SshKey(NamedTuple):
    """A public key: its kind, and its bytes in SSH's wire format, which are its identity."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` shows: `SHA256:` and 43 characters."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


class SshSignature(NamedTuple):
    """What a signature file holds."""

    key: SshKey
    namespace: str
    hash_name: Literal["sha256", "sha512"]
    signature: bytes


class _Wire:
    """Reads SSH's wire format from the front; a length that goes beyond the end is refused."""

    def __init__(self, content: bytes, what: str) -> None:
        self._rest, self._what = content, what

    def take(self, count: int) -> bytes:
        if len(self._rest) < count:
            self.refuse("it ends too early")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def name(self) -> str:
        found = self.string()
        if not found.isascii() or not found.decode("ascii", "replace").isprintable():
            self.refuse("a name in it is no printable ASCII")
        return found.decode("ascii")

    def mpint(self) -> int:
        """Return a positive integer in its shortest form; anything else is refused."""
        found = self.string()
        if not found or found[0] & 0x80 or (found[0] == 0 and (len(found) == 1 or not found[1] & 0x80)):
            self.refuse("an integer in it is not positive or not in its shortest form")
        return int.from_bytes(found, "big")

    def end(self) -> None:
        if self._rest:
            self.refuse(f"{len(self._rest)} more bytes follow")

    def refuse(self, why: str) -> NoReturn:
        raise Objected("malformed", f"expected {self._what}, but {why}")


def read_key(line: str) -> SshKey:
    """Read a public key as it stands in `~/.ssh/id_ed25519.pub`: kind, base64, and a comment that is not looked at.

    Raises:
        Objected: `malformed`, `algorithm` or `weak_key`.
    """
    words = line.split()
    if len(words) < 2 or "\n" in line.strip():
        raise Objected("malformed", f"expected a public key such as 'ssh-ed25519 AAAA… name', found {line[:60]!r}")
    found = _key(_base64(words[1].encode("utf-8", "replace"), "a public key"))
    if found.kind != words[0]:
        raise Objected("malformed", f"expected a key of the kind {words[0][:40]} that its line begins with, found {found.kind}")
    return found


def read_signature(armoured: bytes) -> SshSignature:
    """Read the content of a `.sig` file.

    Raises:
        Objected: `armour`, `malformed`, `algorithm` or `weak_key`.
    """
    wire = _Wire(_unarmour(armoured), "an SSH signature")
    if wire.take(len(_MAGIC)) != _MAGIC:
        wire.refuse("it does not begin as one")
    if (version := wire.uint32()) != 1:
        wire.refuse(f"its version is {version} and not 1")
    key = _key(wire.string())
    namespace = wire.name()
    if not namespace:
        wire.refuse("it has no namespace")
    if wire.string():
        wire.refuse("it uses the field that is reserved")
    hash_name = wire.name()
    signature = wire.string()
    wire.end()
    match hash_name:
        case "sha256" | "sha512":
            return SshSignature(key, namespace, hash_name, signature)
    raise Objected("algorithm", f"expected a signature over a sha256 or sha512, found {hash_name[:40]!r}")


def verify(message: bytes, armoured: bytes, namespace: str) -> SshKey:
    """Return the key that signed *message* for that purpose; whose it is, is another question.

    Raises:
        Objected: why it is no such signature: a code of `read_signature`, `namespace`, `touch` or `mismatch`.
    """
    found = read_signature(armoured)
    if found.namespace != namespace:
        raise Objected("namespace", f"expected a signature for {namespace}, found one for {found.namespace[:60]!r}; sign again")
    hashed = _HASHES[found.hash_name](message).digest()
    parts = (namespace.encode(), b"", found.hash_name.encode(), hashed)
    _check(found.key, found.signature, _MAGIC + b"".join(_string(part) for part in parts))
    return found.key


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _unarmour(armoured: bytes) -> bytes:
    if len(armoured) > BYTES_MAX:
        raise Objected("armour", f"expected an SSH signature of at most {BYTES_MAX} bytes, found {len(armoured)}")
    if not armoured.startswith(_FIRST) or not armoured.endswith(b"\n" + _LAST):
        raise Objected("armour", "expected a file of ssh-keygen -Y sign, from BEGIN SSH SIGNATURE to END, found another")
    lines = armoured[len(_FIRST) : -len(_LAST)].split(b"\n")[:-1]
    width = len(lines[0]) if lines else 0
    even = all(len(line) == width for line in lines[:-1])
    if not (lines and 0 < len(lines[-1]) <= width <= _LINE_MAX and even):
        raise Objected("armour", "expected lines of one length in an SSH signature, found others; take the file as it was made")
    return _base64(b"".join(lines), "an SSH signature")


def _base64(text: bytes, what: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    # Unused bits of the last character would let two texts mean the same.
    if not content or base64.b64encode(content) != text:
        raise Objected("malformed", f"expected {what} in base64, found something else")
    return content


def _key(blob: bytes) -> SshKey:
    wire = _Wire(blob, "a public key of SSH")
    kind = wire.name()
    if kind in (_ED25519, _SK_ED25519):
        if len(wire.string()) != 32:
            wire.refuse("an Ed25519 key has 32 bytes, this one has not")
    elif kind in _CURVES:
        _point(wire, kind)
    elif kind == _RSA:
        exponent, modulus = wire.mpint(), wire.mpint()
        if modulus.bit_length() not in _RSA_BITS:
            raise Objected("weak_key", f"expected an RSA key of 2048 to 16384 bits, found {modulus.bit_length()}; use Ed25519")
        if not (modulus & 1 and exponent & 1 and 3 <= exponent < 1 << 64):
            raise Objected(
                "weak_key", "expected an RSA key as tools make them, found one with an impossible modulus or exponent"
            )
    else:
        raise Objected("algorithm", f"expected a key of Ed25519, ECDSA, RSA or a hardware key, found {kind[:40]!r}")
    if kind in (_SK_ED25519, _SK_ECDSA) and not wire.name().startswith("ssh:"):
        wire.refuse("a hardware key's application begins with ssh:")
    wire.end()
    return SshKey(kind, blob)


def _point(wire: _Wire, kind: str) -> None:
    curve, size = _CURVES[kind]
    if wire.name() != curve:
        wire.refuse(f"its curve is not {curve}")
    point = wire.string()
    if len(point) != 1 + 2 * size or point[0] != 4:
        wire.refuse("its point is not written out in full")
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    try:
        EllipticCurvePublicKey.from_encoded_point(_curve(kind), point)
    except ValueError:
        wire.refuse("its point does not lie on the curve")


def _curve(kind: str) -> "EllipticCurve":
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1

    return {"nistp256": SECP256R1(), "nistp384": SECP384R1(), "nistp521": SECP521R1()}[_CURVES[kind][0]]


def _check(key: SshKey, signature: bytes, signed: bytes) -> None:
    """Refuse a signature that is not this key's over these bytes."""
    wire = _Wire(signature, "the signature of a key")
    kind = wire.name()
    if key.kind == _RSA:
        if kind not in ("rsa-sha2-256", "rsa-sha2-512"):
            raise Objected("algorithm", f"expected rsa-sha2-256 or rsa-sha2-512, found {kind[:40]!r}; update ssh-keygen")
    elif kind != key.kind:
        raise Objected("algorithm", f"expected a signature of the kind {key.kind}, as its key is, found {kind[:40]!r}")
    body = wire.string()
    if key.kind in (_SK_ED25519, _SK_ECDSA):
        flags, counter = wire.take(1), wire.take(4)
        if not flags[0] & _TOUCHED:
            raise Objected("touch", "expected a hardware key that was touched for its signature, found one that was not")
        fields = _Wire(key.blob, "a public key of SSH")
        # Kind, curve where there is one, and key come before the application.
        *_, application = (fields.string() for _ in range(4 if key.kind == _SK_ECDSA else 3))
        signed = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(signed).digest()
    wire.end()
    if not (_fits_curve if key.kind in _CURVES else _fits_rsa if key.kind == _RSA else _fits_ed25519)(key, kind, body, signed):
        raise Objected(
            "mismatch", f"expected a signature of {key.fingerprint} over these bytes, found one that does not fit them"
        )


def _fits_ed25519(key: SshKey, _kind: str, body: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    fields = _Wire(key.blob, "a public key of SSH")
    fields.string()
    if len(body) != 64:
        raise Objected("malformed", f"expected an Ed25519 signature of 64 bytes, found {len(body)}")
    try:
        Ed25519PublicKey.from_public_bytes(fields.string()).verify(body, signed)
    except InvalidSignature:
        return False
    return True


def _fits_curve(key: SshKey, _kind: str, body: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    numbers = _Wire(body, "an ECDSA signature")
    r, s = numbers.mpint(), numbers.mpint()
    numbers.end()
    fields = _Wire(key.blob, "a public key of SSH")
    fields.string()
    hashed = {"nistp256": SHA256(), "nistp384": SHA384(), "nistp521": SHA512()}[fields.string().decode()]
    public = EllipticCurvePublicKey.from_encoded_point(_curve(key.kind), fields.string())
    try:
        public.verify(encode_dss_signature(r, s), signed, ECDSA(hashed))
    except InvalidSignature:
        return False
    return True


def _fits_rsa(key: SshKey, kind: str, body: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.hashes import SHA256, SHA512

    fields = _Wire(key.blob, "a public key of SSH")
    fields.string()
    exponent, modulus = fields.mpint(), fields.mpint()
    if len(body) != (modulus.bit_length() + 7) // 8:
        raise Objected("malformed", "expected an RSA signature as long as its key, found another length")
    try:
        public = RSAPublicNumbers(exponent, modulus).public_key()
        public.verify(body, signed, PKCS1v15(), SHA256() if kind == "rsa-sha2-256" else SHA512())
    except InvalidSignature:
        return False
    except ValueError:
        # What the library finds impossible in a key's numbers.
        raise Objected("weak_key", "expected an RSA key as tools make them, found one with impossible numbers") from None
    return True
