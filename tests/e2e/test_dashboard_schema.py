"""The API against its own description: whatever is asked, the answer is as described, and never a fault."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.dashboard import serving
from tests.e2e.houses import configure, crowd

pytestmark = pytest.mark.slow
TESTER = Path(sys.executable).with_name("schemathesis")
#: A cursor, a date or an id may be refused although it fits: what it says is more than its letters.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance"
CHECKS += ",response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance"


def asked(folder: Path, description: str, *more: str) -> str:
    """Let schemathesis ask whatever it likes, the same each time; return what it says of it."""
    settings = ("--seed", "7", "--checks", CHECKS, "--generation-database", "none", "--no-color")
    command = [str(TESTER), "run", description, *settings, *more]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_answers_as_described(project):
    """Values that fit the description and values that do not are answered as it says: status, type, headers and body."""
    with serving() as served:
        crowd(served.parts)

        told = asked(project.folder, f"{served.url}/openapi.json", "--max-examples", "30")

    assert "16 selected / 16 total" in told


def test_refusals_as_described(project):
    """Who comes without a token is refused as the description says, whatever is asked for."""
    configure(project.folder, "dashboard", behind_tls_proxy=True)
    with serving() as served:
        headers = {"authorization": f"Bearer {served.operator()}"}
        described = project.folder / "openapi.json"
        described.write_text(served.get("/openapi.json", headers=headers).text)

        told = asked(project.folder, str(described), "--url", served.url, "--max-examples", "5", "--phases", "fuzzing")

    assert "16 selected / 16 total" in told
