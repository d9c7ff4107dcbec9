"""`peak-trade strategy new`: what it writes works as it is, and nothing is written over."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.paths import ROOT

from peak_trade.runs import strategy_version
from peak_trade.strategy.catalogue import catalogue

BEGIN = ("strategy", "new")


@pytest.fixture(autouse=True)
def _forgotten():
    """Installed strategies are looked for once in a process."""
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()
    strategy_version._hashes.cache_clear()
    sys.modules.pop("my_idea", None)


@pytest.fixture
def idea(project, monkeypatch) -> Path:
    """A fresh skeleton that is known to this process as PYTHONPATH would make it known."""
    assert project.run(*BEGIN, "my_idea").code == 0
    folder = project.folder / "my_idea"
    monkeypatch.syspath_prepend(folder)
    catalogue.cache_clear()
    return folder


def its_tests(folder: Path):
    """Return the module of its tests, loaded anew."""
    sys.modules.pop("my_idea", None)
    spec = importlib.util.spec_from_file_location("its_tests", folder / "tests" / "test_my_idea.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_tests_pass_as_they_are(project):
    """Written, and its tests run by pytest in a process of their own, from the folder that holds it."""
    ended = project.run(*BEGIN, "my_idea")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_idea"]
    tested = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)

    assert (ended.code, ended.err) == (0, "")
    assert f"MyIdea in {project.folder / 'my_idea'}\n" in ended.out
    assert tested.returncode == 0, tested.stdout
    assert "5 passed" in tested.stdout


def test_it_is_known_checked_and_run(project, idea):
    """By the entry point in its folder: listed, proven and backtested, with its package and source in the run."""
    listed = {item["key"]: item for item in project.run("strategies", "list", "--json").json}
    checked = project.run("strategy", "check", "my_idea", "--cuts", "24", "--json")
    record = project.run("backtest", "--strategy", "my_idea", "--param", "window=50", "--no-tear-sheet", "--json").json

    assert listed["my_idea"]["params"] == ["window"]
    assert (checked.code, checked.json["hold"], checked.json["warmup"]["needed"]) == (0, True, 100)
    assert record["metrics"]["num_trades"] > 0
    assert re.fullmatch(r"0\.1\.0 source:[0-9a-f]{16}", record["versions"]["my-idea"])
    assert project.run("reproduce", "latest:backtest").code == 0


@pytest.mark.parametrize(
    ("honest", "wrong", "test"),
    [
        ("sma(bars.close, self.window), 1.0", "np.mean(bars.close), 1.0", "test_it_uses_nothing_after_its_bar"),
        ("return self.window", "return self.window - 1", "test_its_warm_up_is_long_enough"),
        ("1.0, 0.0", "-1.0, 0.0", "test_it_does_what_it_says"),
    ],
)
def test_its_tests_find_what_is_wrong(idea, honest, wrong, test):
    """A mean over the whole sample, a warm-up that is too short and a wrong side each fail the test that is about it."""
    getattr(its_tests(idea), test)()
    rule = idea / "my_idea.py"
    text = rule.read_text()
    assert honest in text
    # Another size, so that the file is compiled anew within the same second.
    rule.write_text(text.replace(honest, wrong) + "# changed\n")

    with pytest.raises(AssertionError):
        getattr(its_tests(idea), test)()


def test_programs_are_told_what_was_written(project):
    """The folder, the key, the class and every file, of which all exist, below the folder that was asked for."""
    (project.folder / "ideas").mkdir()
    told = project.run(*BEGIN, "two_words2", "--to", "ideas", "--json").json

    folder = Path(told["folder"])
    assert (folder, told["key"], told["class"]) == (project.folder / "ideas" / "two_words2", "two_words2", "TwoWords2")
    assert sorted(told["files"]) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert 'two_words2 = "two_words2:TwoWords2"' in (folder / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My_Idea", "small letters"),
        ("my-idea", "small letters"),
        ("_idea", "small letters"),
        ("my__idea", "small letters"),
        ("../idea", "small letters"),
        ("9lives", "small letters"),
        ("", "small letters"),
        ("a" * 41, "of up to 40"),
        ("lambda", "no word of Python's"),
        ("strategy", "whose class Strategy is taken"),
        ("none", "whose class None is taken"),
        ("ma_crossover", "found ma_crossover, which is a strategy already"),
        ("rsi_strategy", "found rsi_strategy, which is a strategy already"),
        ("json", "found json, which is a Python module already"),
        ("peak_trade", "found peak_trade, which is a Python module already"),
    ],
)
def test_names_that_can_not_be_are_refused(project, name, words):
    """One sentence, exit code 2, and nothing written."""
    before = sorted(project.folder.rglob("*"))
    ended = project.run(*BEGIN, "--", name)

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert words in ended.err
    assert sorted(project.folder.rglob("*")) == before


def test_the_longest_name_is_taken(project):
    assert project.run(*BEGIN, "a" * 40).code == 0


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_written_over(project, kind):
    """Whatever is there, even a link to nowhere, stays as it is."""
    place = project.folder / "my_idea"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(project.folder / "nowhere")
    ended = project.run(*BEGIN, "my_idea")

    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "nothing is written over" in ended.err
    assert kind != "folder" or list(place.iterdir()) == []
    assert kind != "file" or place.read_text() == "mine"
    assert not (project.folder / "nowhere").exists()


def test_a_folder_that_does_not_exist_is_refused(project):
    ended = project.run(*BEGIN, "my_idea", "--to", "nowhere")

    assert ended.code == 2
    assert f"expected a folder that exists as --to, found {project.folder / 'nowhere'}" in ended.err
    assert not (project.folder / "nowhere").exists()


def test_the_guide_shows_what_is_written(project):
    """The class in the guide is the skeleton's, word for word."""
    page = (ROOT / "docs" / "guide" / "write_a_strategy.md").read_text("utf-8")
    shown = page.split("```python\n")[1].split("```")[0]
    assert project.run(*BEGIN, "above_average").code == 0

    assert (project.folder / "above_average" / "above_average.py").read_text() == shown


def test_its_prints_do_not_spoil_the_document(project, idea):
    """A rule that prints while it is loaded and while it decides: --json stays one document."""
    rule = idea / "my_idea.py"
    text = rule.read_text("utf-8").replace("        return np.where", '        print("here I am")\n        return np.where')
    rule.write_text(f'{text}\nprint("loaded")\n', "utf-8")
    ended = project.run("backtest", "--strategy", "my_idea", "--no-tear-sheet", "--json")

    assert ended.json["strategy"] == "my_idea"
    assert "loaded" in ended.err
    assert "here I am" in ended.err


@pytest.mark.parametrize("name", ["my_idea", "zeta"])
def test_it_is_clean_by_its_own_rules_and_ours(project, name):
    """The linter finds nothing in it, whichever of the two sorts first: its name or ours."""
    assert project.run(*BEGIN, name).code == 0
    ruff = Path(sys.executable).with_name("ruff")
    folder = project.folder / name
    ours = ["--config", str(ROOT / "pyproject.toml"), "--config", "lint.isort.known-first-party=['peak_trade']"]
    checks = (
        [ruff, "check", "--no-cache", folder],
        [ruff, "format", "--check", "--no-cache", folder],
        [ruff, "check", "--no-cache", *ours, folder / f"{name}.py"],
    )
    for check in checks:
        ended = subprocess.run(check, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
