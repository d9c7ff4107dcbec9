"""The page of a walk-forward in a real browser, from a file and without a network."""

from tests.e2e.pages import BROWSER_TESTS, opened, shrink

pytestmark = BROWSER_TESTS


def test_draws_without_trouble(browser, troubles, project):
    """All charts are drawn, nothing is loaded, nothing is on the console, and it fits a phone."""
    done = project.run(
        *("walkforward", "--strategy", "ma_crossover", "--train", "1825d", "--test", "365d"),
        *("--grid", "fast_window=5,10,20", "--grid", "slow_window=50,100"),
    )
    (path,) = project.folder.rglob("walk_forward.html")
    page = opened(browser, project.folder / "page.html", path.read_text())

    assert done.code == 0
    assert page.locator(".chart canvas").count() >= 5
    shrink(page)
    assert troubles == []
