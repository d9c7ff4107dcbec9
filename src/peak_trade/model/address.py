"""Addresses of exchanges: where requests may go, and in clear text only to this machine."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(url: str, scheme: str = "http") -> bool:
    """Tell whether an address is a plain one to a number of this machine, and nothing more; a name may lead anywhere."""
    try:
        parts = urlsplit(url)
        plain = _is_bare(url) and parts.scheme == scheme and not parts.path
        return plain and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def is_origin(url: str) -> bool:
    """Tell whether an address is a host to be asked over REST: encrypted, or one of this machine; no path and no password."""
    try:
        return is_loopback(url) or (_is_bare(url) and urlsplit(url).scheme == "https" and not urlsplit(url).path)
    except ValueError:
        return False


def is_stream(url: str) -> bool:
    """Tell whether an address is one for WebSockets: encrypted, or one of this machine; a path, but no password."""
    try:
        parts = urlsplit(url)
        here = is_loopback(f"{parts.scheme}://{parts.netloc}", "ws")
        return _is_bare(url) and (here or parts.scheme == "wss")
    except ValueError:
        return False


def _is_bare(url: str) -> bool:
    """Tell whether an address has a host, a port that can be one, and no password, query or odd character.

    Raises:
        ValueError: it is no address.
    """
    if not url.isascii() or not url.isprintable() or any(mark in url for mark in "\\ @?#%"):
        return False
    parts = urlsplit(url)
    return bool(parts.hostname) and parts.port != 0 and not parts.netloc.endswith(":")
