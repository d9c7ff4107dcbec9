"""The key that signs the journal's heads, and the check of a signature: Ed25519 (RFC 8032).

Invariant: the private key is never readable by anyone but its owner, not even while it is written.
Invariant: two processes that make the key at once end up with the same one.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from peak_trade.durable import storing, write_bytes, write_whole
from peak_trade.model.errors import ConfigError, NotFound, StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: How long to wait for another process that is making the key.
LOCK_WAIT_S = 30
#: A key in PEM form takes some hundred bytes; more is something else.
_PEM_BYTES_MAX = 16_384


def public_path(path: Path) -> Path:
    """Return where the public half of a private key lies: `journal.pub.pem` beside `journal.pem`."""
    return path.with_suffix(".pub.pem")


@dataclass(frozen=True, slots=True)
class Signer:
    """The private key of whoever writes the journal; `key_id` is what a signature names it by."""

    key_id: str
    _key: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def load_or_make(cls, path: Path) -> Self:
        """Read the private key at *path*; where there is none, make it and its public half beside it.

        Raises:
            ConfigError: others may read the file, or it holds no Ed25519 key, or the public half is another key's.
            StorageError: the disk refused.
        """
        beside = public_path(path)
        if not (path.exists() and beside.exists()):
            with _alone(path):
                if not path.exists():
                    _make(path)
                if not beside.exists():
                    write_bytes(beside, _public_pem(_load_private(path)))
        key = _load_private(path)
        key_id = _key_id(key.public_key())
        if Verifier.load(beside).key_id != key_id:
            raise ConfigError(
                f"expected the public half of {path} in {beside}, found another key's; move it away to have it made again"
            )
        return cls(key_id, key)

    def sign(self, message: bytes) -> str:
        """Return the signature of *message* as 128 lower-case hexadecimal digits."""
        return self._key.sign(message).hex()


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that signatures are checked with."""

    key_id: str
    _key: "Ed25519PublicKey" = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public key in PEM form.

        Raises:
            NotFound: there is no such file.
            ConfigError: it holds no Ed25519 public key.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            with path.open("rb") as file:
                key = load_pem_public_key(file.read(_PEM_BYTES_MAX))
        except FileNotFoundError as error:
            raise NotFound(
                f"expected the public key {path}, found no such file; the first session writes it, later it has to be restored"
            ) from error
        except OSError as error:
            raise StorageError(f"{path} can't be read: {error.strerror or error}") from error
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(f"expected an Ed25519 public key in {path}, found something else; put the right file there")
        return cls(_key_id(key), key)

    def fits(self, message: bytes, signature: str) -> bool:
        """Return whether *signature*, in hexadecimal digits, is this key's for *message*."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_WAIT_S)
    with storing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise StorageError(f"another process has been making {path} for {LOCK_WAIT_S} s; end it and try again") from error
    try:
        yield
    finally:
        lock.release()


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    secret = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(draft: Path) -> None:
        # The empty draft may already be open somewhere: the secret goes into a file that only its owner ever could open.
        draft.unlink()
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secret)

    write_whole(path, write)


def _load_private(path: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_PEM_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"the journal's key {path} can't be read: {error.strerror or error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"expected {path} to be readable by its owner alone, found mode {stat.S_IMODE(mode):o}; chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"expected an Ed25519 private key in {path}, found something else; move it away to have one made")
    return key


def _public_pem(key: "Ed25519PrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _key_id(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
