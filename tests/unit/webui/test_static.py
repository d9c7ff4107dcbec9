"""Files that pages load: those there are and no other, kept by browsers for ever under the name of their content."""

import hashlib

import pytest

from peak_trade.model.errors import NotFound
from peak_trade.webui.static import _FILES, address, answer, static


@pytest.mark.parametrize("name", _FILES)
def test_every_file(name):
    """Each file is there, not empty, and its address names its content."""
    found = static(name)

    assert found.content
    assert found.edition == hashlib.sha256(found.content).hexdigest()[:12]
    assert address(name) == f"/static/{found.edition}/{name}"


@pytest.mark.parametrize("name", ["", "..", "../static.py", "/etc/passwd", "dashboard.js/", "Dashboard.js", "report.css\0"])
def test_no_other_file(name):
    """A name that is not on the list is no file, whatever it looks like."""
    with pytest.raises(NotFound):
        static(name)


def test_kept_for_ever_under_its_own_edition():
    """A browser may keep a file for ever under its edition; under any other it must ask again."""
    found = static("dashboard.js")
    kept, asked = answer(found.edition, "dashboard.js"), answer("other", "dashboard.js")

    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asked.headers["cache-control"] == "no-cache"
    assert kept.body == asked.body == found.content
    assert kept.headers["content-type"] == "text/javascript; charset=utf-8"
