"""What a notebook shows: pages in a frame of their own, and small tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from peak_trade.durable import write_text


@dataclass(frozen=True, slots=True, repr=False)
class Drawing:
    """A page with charts that loads nothing; a notebook shows it, a script saves it, and no browser opens."""

    title: str
    html: str
    height: int = 900

    def save(self, path: str | Path) -> Path:
        """Write the page to a file for a browser.

        Raises:
            StorageError: the disk refused.
        """
        found = Path(path).expanduser().absolute()
        write_text(found, self.html)
        return found

    def __repr__(self) -> str:
        return f"{self.title}: a page of {len(self.html) / 1e6:.1f} MB; a notebook shows it, .save(path) writes it"

    def _repr_html_(self) -> str:
        # A frame keeps the page's style and script, and its ban on the network, apart from the notebook's.
        return (
            f'<iframe title="{escape(self.title)}" srcdoc="{escape(self.html)}" '
            f'style="width:100%;height:{self.height}px;border:0"></iframe>'
        )


def pairs_html(pairs: Mapping[str, str]) -> str:
    """Return names and values as a table."""
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in pairs.items())
    return f"<table>{rows}</table>"


def text_html(text: str) -> str:
    """Return text as it stands."""
    return f"<pre>{escape(text)}</pre>"
