"""Start-up costs and what must not be loaded, full disks, faults of ours."""

import subprocess
import sys

import pytest
from tests.paths import ROOT

HEAVY = ("ccxt", "scipy", "statsmodels", "arch", "numba", "bokeh", "polars", "numpy", "sqlalchemy", "pandas")


def loaded_by(*arguments: str, folder) -> set[str]:
    code = (
        "import sys; from peak_trade.cli.main import main\n"
        f"code = main({list(arguments)!r})\n"
        "print(code, *[name for name in sys.modules if '.' not in name], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    words = ended.stderr.split()
    assert words[0] == "0", ended.stderr
    return set(words[1:])


def test_help_loads_nothing_heavy(project):
    """--help answers without loading any of the large libraries."""
    assert loaded_by("--help", folder=project.folder).isdisjoint(HEAVY)


def test_config_commands_load_no_numerics(project):
    """Explaining a key needs neither arrays nor a database."""
    assert loaded_by("config", "explain", "live.enabled", folder=project.folder).isdisjoint(HEAVY)


def test_a_small_backtest_loads_no_compiler_and_no_charts(project):
    """Without a tear sheet a small run needs neither numba nor bokeh nor the statistics packages."""
    loaded = loaded_by("backtest", "--strategy", "ma_crossover", "--no-tear-sheet", folder=project.folder)

    assert loaded.isdisjoint({"numba", "bokeh", "scipy", "statsmodels", "arch", "ccxt"})


def test_a_second_run_does_not_load_the_migrations(project):
    """Once the registry exists, alembic stays out."""
    project.run("backtest", "--strategy", "ma_crossover", "--no-tear-sheet")

    assert "alembic" not in loaded_by("experiments", folder=project.folder)


def test_a_fault_of_ours_is_logged_and_short(project, monkeypatch):
    """An unexpected exception is one line on stderr; the traceback is in the log."""

    def broken(path=None):
        raise LookupError("something we did not think of")

    monkeypatch.setattr("peak_trade.cli.options.open_parts", broken)

    ended = project.run("experiments")

    assert (ended.code, len(ended.err.strip().splitlines())) == (1, 1)
    assert "LookupError" in ended.err
    assert "something we did not think of" in (project.folder / "logs" / "peak_trade.log").read_text()


@pytest.mark.parametrize("name", ["reports", "logs", "var"])
def test_a_file_in_the_way_is_one_sentence(project, name):
    """A file where a folder should be stops the run with a sentence, not a traceback."""
    (project.folder / name).write_text("in the way")

    ended = project.run("backtest", "--strategy", "ma_crossover", "--no-tear-sheet")

    assert ended.code == 1
    assert "a file stands where a folder is needed" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_sentence(small_disk):
    """When the disk fills up the command says so, and what was stored before still opens."""
    (small_disk / "config.toml").write_text((ROOT / "config.toml").read_text())
    command = [sys.executable, "-m", "peak_trade", "backtest", "--strategy", "ma_crossover", "--no-tear-sheet"]
    codes, errors = [], []
    for _ in range(12):
        ended = subprocess.run(command, cwd=small_disk, capture_output=True, text=True, check=False)
        codes.append(ended.returncode)
        errors.append(ended.stderr)
        if ended.returncode:
            break
    (small_disk / "filler").unlink(missing_ok=True)
    for path in (small_disk / "reports").rglob("equity.parquet"):
        path.unlink()
    listed = subprocess.run(
        [sys.executable, "-m", "peak_trade", "experiments"], cwd=small_disk, capture_output=True, text=True, check=False
    )

    assert codes[0] == 0, errors[0]
    assert codes[-1] == 1
    assert "disk is full" in errors[-1]
    assert "Traceback" not in errors[-1]
    assert listed.returncode == 0, listed.stderr
    assert "ma_crossover" in listed.stdout
