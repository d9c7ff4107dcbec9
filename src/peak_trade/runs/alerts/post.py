"""One message to one channel, in a process of its own that can be ended: what a channel's library does, it does here.

It reads one JSON document from stdin, the channel's URL among it, and prints one line: nothing where the message was taken,
else why not. Invariant: no word of the URL, of an answer or of an error is in that line.
"""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

#: What is told of a failure that is none of these.
NOT_TAKEN = "it did not take the message"
NOT_UNDERSTOOD = "its variable holds no apprise URL, or more than one"


def post(given: dict[str, Any]) -> str:
    """Send a message; return why it was not taken, in words of ours, empty where it was.

    Args:
        given: `url`, `title`, `body`, `mark` (info, warning, failure or success) and `timeout_s`.
    """
    import apprise

    apprise.NotifyBase.socket_read_timeout = apprise.NotifyBase.socket_connect_timeout = given["timeout_s"]
    # Nothing is kept on the disk, no answer leads elsewhere, and nobody is shown a picture from somewhere.
    asset = apprise.AppriseAsset(
        app_id="Peak_Trade",
        app_desc="Peak_Trade",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        http_redirects=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    channel = apprise.Apprise(asset=asset)
    if not channel.add(given["url"]) or len(channel) != 1:
        return NOT_UNDERSTOOD
    result = channel.notify(
        given["body"],
        title=given["title"],
        notify_type=apprise.NotifyType(given["mark"]),
        body_format=apprise.NotifyFormat.TEXT,
    )
    return "" if result else _why(entry.message for entry in result.logs())


def _why(messages: Iterable[str]) -> str:
    """Return what is known of a failure: of what the library says only the number of an HTTP error is taken."""
    for message in messages:
        if answer := re.search(r"\berror=([1-5]\d\d)\b", message):
            return f"it answered with HTTP error {answer[1]}"
        if re.search(r"connection error|socket", message, re.IGNORECASE):
            return "no connection, or no answer in time"
    return NOT_TAKEN


def main() -> None:
    """Read a message from stdin, send it, print what came of it."""
    try:
        words = post(json.load(sys.stdin))
    except Exception as error:  # noqa: BLE001 - whatever a channel's library raises may hold the URL: only its kind is told
        words = f"it failed with {type(error).__name__}"
    print(json.dumps(words))  # noqa: T201 - the answer to who started this process


if __name__ == "__main__":
    main()
