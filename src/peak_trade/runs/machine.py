"""Who runs this process, as the machine knows it."""

import os


def machine_user() -> str:
    """Return the operating system's name of who runs this process, not what the environment says."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
