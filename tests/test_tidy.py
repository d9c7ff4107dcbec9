"""The house rules that a machine can check: names, sizes, one home for each noun, no second door."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "peak_trade").rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in SOURCES}
LINES_MAX = 70
NAME_MAX = 24
BANNED_WORDS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "old", "new", "legacy", "final"}


def functions() -> list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [
        (path, node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its signature and docstring: what a reader must hold in mind."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_fit_a_screen():
    """No function's body is longer than 70 lines."""
    long = [
        f"{path.name}:{node.lineno} {node.name} has {code_lines(node)}"
        for path, node in functions()
        if code_lines(node) > LINES_MAX
    ]

    assert long == []


def test_names_can_be_said():
    """Files, classes and functions have names of at most 24 characters without versions, phases or filler words."""
    names = [path.stem for path in SOURCES if path.stem not in ("__init__", "__main__")]
    names += [node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names += [node.name for _, node in functions()]
    wrong = [
        name
        for name in names
        if len(name.strip("_")) > NAME_MAX
        or re.search(r"_v\d|phase_?\d|step_?\d", name)
        or BANNED_WORDS & set(name.lower().split("_"))
    ]

    assert wrong == []


def test_each_noun_has_one_home():
    """No two classes share a name."""
    names = Counter(node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))

    assert [name for name, count in names.items() if count > 1] == []


def test_only_settings_reads_the_environment():
    """No other module touches os.environ or os.getenv."""
    readers = [
        path.name
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and path.name != "settings.py"
    ]

    assert readers == []


def test_no_bare_assert():
    """Invariants use `require`, because a bare assert vanishes under -O."""
    found = [path.name for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.Assert)]

    assert found == []


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_doors(path):
    """A script holds three statements: two imports and a call."""
    statements = ast.parse(path.read_text("utf-8")).body

    assert len(statements) == 3


def test_pages_have_one_title():
    """Every Markdown page has exactly one first-level title outside of code blocks."""
    wrong = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
        titles = re.findall(r"^# ", text, re.M)
        if len(titles) != 1:
            wrong.append(path.name)

    assert wrong == []


def test_no_machine_paths():
    """No tracked file names a home folder, a registry host or an index."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pattern = re.compile(r"/home/\w+/|/root/|--index-url|--find-links|files\.python" + "hosted|py" + r"pi\.org")
    wrong = [
        name
        for name in names
        if Path(name).suffix in (".py", ".toml", ".md", ".lock", ".txt", "")
        and (ROOT / name).is_file()
        and pattern.search((ROOT / name).read_text("utf-8", "replace"))
        and name != "tests/test_tidy.py"
    ]

    assert wrong == []
