"""SSH signatures: what ssh-keygen makes is accepted, what anybody altered is refused, with the code of the reason."""

import base64
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.signers import CURVES, KINDS, PURPOSE, SshSigner, armour, text, whole

from peak_trade.governance import sshsig
from peak_trade.governance.objections import CODES, Objected

MESSAGE = b'{"what":"a request"}'
KEYGEN = shutil.which("ssh-keygen")
needs_keygen = pytest.mark.skipif(KEYGEN is None, reason="ssh-keygen is not on this machine")
MADE = [("ed25519", ""), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048"), ("rsa", "3072")]


@cache
def signer(kind: str) -> SshSigner:
    """One key of each kind for all tests."""
    return SshSigner(kind)


@cache
def signed(kind: str) -> bytes:
    """One signature of each: most kinds of keys never sign the same way twice."""
    return signer(kind).sign(MESSAGE)


def code_of(message: bytes, armoured: bytes, purpose: str = PURPOSE) -> str:
    """Return why a signature is refused, empty where it is accepted."""
    try:
        sshsig.verify(message, armoured, purpose)
    except Objected as objected:
        assert objected.code in CODES
        assert "\n" not in str(objected)
        return objected.code
    return ""


def keygen(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run([KEYGEN, *map(str, words)], input=stdin, capture_output=True, check=False)


@needs_keygen
@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
@pytest.mark.parametrize(("kind", "bits"), MADE)
def test_what_ssh_keygen_signs_is_accepted(tmp_path, kind, bits, hashed):
    """A file that ssh-keygen made, and only for its own message and purpose; its own check agrees."""
    key, message = tmp_path / "key", tmp_path / "request.json"
    keygen("-q", "-N", "", "-t", kind, *(["-b", bits] if bits else []), "-C", "anna", "-f", key)
    message.write_bytes(MESSAGE)
    assert keygen("-Y", "sign", "-O", f"hashalg={hashed}", "-n", PURPOSE, "-f", key, message).returncode == 0
    made, public = (tmp_path / "request.json.sig").read_bytes(), key.with_suffix(".pub").read_text()

    found = sshsig.verify(MESSAGE, made, PURPOSE)

    assert found == sshsig.read_key(public)
    assert found.fingerprint in keygen("-l", "-f", key.with_suffix(".pub")).stdout.decode()
    assert code_of(MESSAGE + b" ", made) == "mismatch"
    assert code_of(MESSAGE, made, "file") == "namespace"
    assert says_keygen(tmp_path, public, made, MESSAGE)
    assert not says_keygen(tmp_path, public, made, MESSAGE + b" ")


def says_keygen(folder: Path, public: str, armoured: bytes, message: bytes) -> bool:
    """Ask `ssh-keygen -Y verify` about the same file."""
    (folder / "allowed").write_text(f"anna {public}\n")
    (folder / "asked.sig").write_bytes(armoured)
    words = ("-Y", "verify", "-f", folder / "allowed", "-I", "anna", "-n", PURPOSE, "-s", folder / "asked.sig")
    return keygen(*words, stdin=message).returncode == 0


@needs_keygen
@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_accepts_the_keys_of_these_tests(tmp_path, kind):
    """Also hardware keys, of which there is none here: a signature after the protocol is one to ssh-keygen too."""
    made = signer(kind).sign(MESSAGE)

    assert says_keygen(tmp_path, signer(kind).line, made, MESSAGE)
    assert not says_keygen(tmp_path, signer(kind).line, made, MESSAGE + b"x")


@needs_keygen
def test_another_kind_of_key_of_ssh_keygen_is_refused(tmp_path):
    """An RSA key of 1024 bits still exists; it is refused wherever it is read."""
    assert keygen("-q", "-N", "", "-t", "rsa", "-b", "1024", "-f", tmp_path / "key").returncode == 0

    with pytest.raises(Objected, match="2048") as caught:
        sshsig.read_key((tmp_path / "key.pub").read_text())
    assert caught.value.code == "weak_key"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
def test_every_kind_of_key_is_accepted(kind, hashed):
    """Seven kinds, two hashes; the key that comes back is the signer's."""
    found = sshsig.verify(MESSAGE, signer(kind).sign(MESSAGE, hash=hashed), PURPOSE)

    assert found == sshsig.read_key(signer(kind).line)
    assert found.fingerprint == signer(kind).fingerprint


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
def test_rsa_signs_with_sha2(algorithm):
    """Both names are accepted."""
    assert code_of(MESSAGE, signer("ssh-rsa").sign(MESSAGE, algorithm=algorithm)) == ""


@pytest.mark.parametrize(
    ("kind", "parts", "code"),
    [
        ("ssh-rsa", {"algorithm": "ssh-rsa"}, "algorithm"),
        ("ssh-ed25519", {"hash": "sha1"}, "algorithm"),
        ("ssh-ed25519", {"hash": "md5"}, "algorithm"),
        ("ssh-ed25519", {"hash": "sha384"}, "algorithm"),
        ("ssh-ed25519", {"algorithm": "ssh-rsa"}, "algorithm"),
        ("ssh-ed25519", {"algorithm": "sk-ssh-ed25519@openssh.com"}, "algorithm"),
        ("sk-ecdsa-sha2-nistp256@openssh.com", {"algorithm": "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"}, "algorithm"),
        ("ssh-ed25519", {"version": 0}, "malformed"),
        ("ssh-ed25519", {"version": 2}, "malformed"),
        ("ssh-ed25519", {"magic": b"SSHSIh"}, "malformed"),
        ("ssh-ed25519", {"reserved": b"x"}, "malformed"),
        ("ssh-ed25519", {"trailing": b"\0"}, "malformed"),
        ("ssh-ed25519", {"width": 77}, "armour"),
        ("ssh-ed25519", {"blob": text("ssh-dss") + text(b"1")}, "algorithm"),
        ("ssh-ed25519", {"blob": text("ssh-ed25519") + text(b"1" * 31)}, "malformed"),
        ("ssh-ed25519", {"blob": text("ssh-ed25519") + text(b"1" * 32) + b"x"}, "malformed"),
        ("ssh-ed25519", {"blob": b"\xff\xff\xff\xff"}, "malformed"),
        ("ssh-ed25519", {"blob": text(b"\xe4")}, "malformed"),
        ("ssh-ed25519", {"signature": text("ssh-ed25519") + text(b"1" * 63)}, "malformed"),
        ("ssh-ed25519", {"signature": text("ssh-ed25519") + text(b"1" * 64)}, "mismatch"),
        ("ssh-ed25519", {"signature": text("ssh-ed25519") + text(b"1" * 64) + b"x"}, "malformed"),
        ("ssh-rsa", {"signature": text("rsa-sha2-512") + text(b"1" * 255)}, "malformed"),
        ("ssh-rsa", {"signature": text("rsa-sha2-512") + text(b"\0" + b"1" * 256)}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(whole(1))}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(text(b"") + whole(1))}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(text(b"\x80") + whole(1))}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(text(b"\0") + whole(1))}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(text(b"\0\x01") + whole(1))}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(whole(1) * 3)}, "malformed"),
        ("ecdsa-sha2-nistp256", {"signature": text("ecdsa-sha2-nistp256") + text(whole(1 << 300) * 2)}, "mismatch"),
    ],
)
def test_signatures_of_another_form_are_refused(kind, parts, code):
    """Each wrong part by itself, in a signature that is well made otherwise."""
    assert code_of(MESSAGE, signer(kind).sign(MESSAGE, **parts)) == code


def test_a_hardware_key_must_have_been_touched():
    """Presence is required, verification is fine, and the flags are signed."""
    for kind in ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"):
        key = signer(kind).key
        assert code_of(MESSAGE, SshSigner(kind, flags=0, key=key).sign(MESSAGE)) == "touch"
        assert code_of(MESSAGE, SshSigner(kind, flags=4, key=key).sign(MESSAGE)) == "touch"
        assert code_of(MESSAGE, SshSigner(kind, flags=5, counter=2**32 - 1, key=key).sign(MESSAGE)) == ""
        assert code_of(MESSAGE, SshSigner(kind, application="https://a.example", key=key).sign(MESSAGE)) == "malformed"


def test_a_hardware_key_of_another_application_is_another_key():
    """The application is a part of the key and of what it signs."""
    one = signer("sk-ssh-ed25519@openssh.com")
    other = SshSigner(one.kind, application="ssh:other", key=one.key)

    assert sshsig.verify(MESSAGE, other.sign(MESSAGE), PURPOSE) != sshsig.read_key(one.line)
    assert code_of(MESSAGE, other.sign(MESSAGE, blob=one.blob)) == "mismatch"


def test_the_purpose_is_signed():
    """Writing another purpose over a signature does not make it one."""
    one = signer("ssh-ed25519")
    inner = b"SSHSIG" + text("file") + text(b"") + text("sha512") + text(b"\0" * 64)

    assert code_of(MESSAGE, one.sign(MESSAGE, "file")) == "namespace"
    assert code_of(MESSAGE, one.sign(MESSAGE, "")) == "malformed"
    assert code_of(MESSAGE, one.sign(MESSAGE, PURPOSE + "\n")) == "malformed"
    assert code_of(MESSAGE, one.sign(MESSAGE, PURPOSE + "\0")) == "malformed"
    assert code_of(MESSAGE, one.sign(MESSAGE, PURPOSE + " ")) == "namespace"
    assert code_of(MESSAGE, one.sign(MESSAGE, signature=one.raw(inner))) == "mismatch"


def test_weak_and_impossible_keys_are_refused():
    """Whoever writes the key, not only ssh-keygen."""
    modulus = signer("ssh-rsa").key.public_key().public_numbers().n
    for exponent, number in (
        (1, modulus),
        (2, modulus),
        (4, modulus),
        (65_537, modulus + 1),
        (65_537, modulus >> 1),
        (1 << 70 | 1, modulus),
    ):
        blob = text("ssh-rsa") + whole(exponent) + whole(number)
        with pytest.raises(Objected) as caught:
            sshsig.read_key(f"ssh-rsa {base64.b64encode(blob).decode()}")
        assert caught.value.code == "weak_key"


def test_a_point_must_be_on_its_curve_and_written_in_full():
    """A compressed point is another encoding of the same key, which would then be two."""
    public = signer("ecdsa-sha2-nistp256").key.public_key()
    full = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    short = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    off = full[:-1] + bytes([full[-1] ^ 1])
    other = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    for curve, point in (("nistp256", short), ("nistp256", off), ("nistp256", other), ("nistp384", full)):
        blob = text("ecdsa-sha2-nistp256") + text(curve) + text(point)
        with pytest.raises(Objected) as caught:
            sshsig.read_key(f"ecdsa-sha2-nistp256 {base64.b64encode(blob).decode()}")
        assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!",
        "ssh-rsa {key}",
        "{key}",
        "command=x ssh-ed25519 {key}",
        "ssh-ed25519 {key}=\n",
        "ä ö",
    ],
)
def test_a_line_that_is_no_key_is_refused(line):
    """Options before the key are none of ours: a key in the roles is only a key."""
    key = signer("ssh-ed25519").line.split()[1]
    with pytest.raises(Objected):
        sshsig.read_key(line.replace("{key}", key))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"BEGIN SSH SIGNATURE", b"BEGIN SSH SIGNATURe"),
        (b"-----BEGIN", b"\n-----BEGIN"),
        (b"SIGNATURE-----\n", b"SIGNATURE-----\r\n"),
        (b"\n", b"\r\n"),
        (b"U1NIU0lH", b"U1NI U0lH"),
        (b"U1NIU0lH", b"U1NIU0lH\n"),
        (b"U1NIU0lH", b"U1N\xc3\xa4U0l"),
    ],
)
def test_the_armour_has_one_form(old, new):
    """No other line ends, lengths, spaces or letters."""
    made = signer("ssh-ed25519").sign(MESSAGE)

    assert code_of(MESSAGE, made.replace(old, new)) in ("armour", "malformed")
    assert code_of(MESSAGE, made + b"\n") == "armour"
    assert code_of(MESSAGE, made[:-1]) == "armour"


def test_unused_bits_of_the_last_character_count():
    """`QQ==` and `QR==` decode to the same byte; only the first is written by anyone."""
    for length in range(1, 4):
        made = armour(b"x" * 70 + b"A" * length)
        assert code_of(MESSAGE, made) == "malformed"
    blob = signer("ssh-ed25519").sign(MESSAGE, purpose=PURPOSE).split(b"\n")
    end = blob[-3]
    if end.endswith(b"="):
        place = len(end.rstrip(b"=")) - 1
        altered = end[:place] + bytes([end[place] + 1]) + end[place + 1 :]
        assert code_of(MESSAGE, b"\n".join([*blob[:-3], altered, *blob[-2:]])) == "malformed"


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_code(content):
    """Whatever stands between the two lines, or instead of them."""
    assert code_of(MESSAGE, content) == "armour"
    assert code_of(MESSAGE, armour(content)) in ("armour", "malformed", "algorithm", "weak_key")
    assert code_of(MESSAGE, armour(b"SSHSIG\0\0\0\1" + content)) in ("armour", "malformed", "algorithm", "weak_key")


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_any_altered_byte_is_refused(kind, data):
    """Of the file or of the message, by any amount."""
    made = signed(kind)
    by = data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(made) - 1))
        altered = made[:at] + bytes([made[at] ^ by]) + made[at + 1 :]
        # A signature of another key is one, too, if anybody could make it: its key is then another.
        assert code_of(MESSAGE, altered)
    else:
        at = data.draw(st.integers(0, len(MESSAGE) - 1))
        assert code_of(MESSAGE[:at] + bytes([MESSAGE[at] ^ by]) + MESSAGE[at + 1 :], made) == "mismatch"


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_any_altered_byte_of_the_blob_is_refused(kind, data):
    """The same below the armour: every field of the blob counts."""
    lines = signed(kind).split(b"\n")
    blob = base64.b64decode(b"".join(lines[1:-2]))
    at, by = data.draw(st.integers(0, len(blob) - 1)), data.draw(st.integers(1, 255))

    assert code_of(MESSAGE, armour(blob[:at] + bytes([blob[at] ^ by]) + blob[at + 1 :]))


@settings(deadline=None, max_examples=100)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_any_cut_is_refused(kind, data):
    """A blob that ends too early, wherever."""
    lines = signed(kind).split(b"\n")
    blob = base64.b64decode(b"".join(lines[1:-2]))

    assert code_of(MESSAGE, armour(blob[: data.draw(st.integers(0, len(blob) - 1))]))


def test_a_key_of_one_kind_is_no_key_of_another():
    """The same point as a plain and as a hardware key are two keys, and neither signs for the other."""
    plain, hard = "ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com"
    one = signer(plain)
    other = SshSigner(hard, key=one.key)

    assert CURVES[plain][0] == CURVES[hard][0]
    assert code_of(MESSAGE, one.sign(MESSAGE, blob=other.blob)) == "algorithm"
    assert code_of(MESSAGE, other.sign(MESSAGE, blob=one.blob)) == "algorithm"
