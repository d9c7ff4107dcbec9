"""`peak-trade gate`: what a step asks, and the check of a permit from files, with keys that ssh-keygen made."""

import json
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from tests.gates import DAY, RUNGS, GateCase, evidence_for, key, roles_toml, signed
from tests.paths import ROOT

from peak_trade.cli.main import main
from peak_trade.governance.approvals import Signature
from peak_trade.governance.dossiers import pack, unpack
from peak_trade.governance.files import load_policy, load_roles
from peak_trade.governance.ladder import Rung

KEYGEN = shutil.which("ssh-keygen")


@pytest.fixture
def house(project):
    """A project's folder with the delivered policy and people of the tests."""
    folder = project.folder
    shutil.copytree(ROOT / "governance", folder / "governance")
    (folder / "governance" / "roles.toml").write_text(roles_toml())
    return folder


def a_case(rung: Rung, signers: list[str], folder) -> GateCase:
    """Return a case of these hours, since the command looks at the clock."""
    now = datetime.now(UTC).replace(microsecond=0)
    case = GateCase(
        rung=rung,
        evidence=evidence_for(rung, now - 2 * DAY),
        created_at=now - 2 * DAY,
        expires_at=now + 10 * DAY,
        at=now - DAY / 24,
        roles=load_roles(folder),
        policy=load_policy(folder),
    )
    return case.but(signatures=signed(case.content, *signers, at=now - DAY))


def stored(case: GateCase, folder) -> None:
    """Write a granted permit and what it is checked from."""
    (folder / "permit.json").write_bytes(case.permit().content)
    (folder / "permit.dossier.json").write_bytes(pack(case.dossier))


@pytest.mark.parametrize("rung", RUNGS)
def test_a_step_is_explained(house, capsys, rung):
    """Every criterion with what may prove it; the same as a document."""
    assert main(["gate", "explain", rung.value]) == 0
    told = capsys.readouterr().out
    assert main(["gate", "explain", rung.value, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert found["deciders"] == [role.value for role in rung.deciders]
    assert all(item["id"] in told and item["words"] in told for item in found["criteria"])
    assert all(need in told for item in found["criteria"] for need in item["needs"])


def test_an_unknown_step_is_one_sentence(house, capsys):
    """With the steps there are."""
    assert main(["gate", "explain", "shadow"]) == 2
    assert "shadow->testnet" in capsys.readouterr().err


def test_a_good_permit_is_good(house, capsys):
    """And it is said what its files can't show."""
    stored(a_case(Rung.SHADOW_TESTNET, ["olga", "rita"], house), house)

    assert main(["gate", "verify", "permit.json"]) == 0
    told = capsys.readouterr().out
    assert "is good: ma_crossover in testnet on paper for BTC/EUR, ETH/EUR" in told
    assert "whether the permit was revoked" in told
    assert main(["gate", "verify", "permit.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["good"] is True


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda house: (house / "permit.json").write_bytes(b"{}"), "malformed"),
        (lambda house: (house / "permit.dossier.json").write_bytes(b"{}"), "malformed"),
        (lambda house: (house / "permit.json").write_bytes((house / "permit.json").read_bytes() + b"\n"), "malformed"),
        (lambda house: _edit(house / "permit.json", '"testnet"', '"live"'), "other_stage"),
        (lambda house: _edit(house / "permit.json", '"paper"', '"real"'), "other_account"),
        (lambda house: _edit(house / "permit.dossier.json", '"trades":', '"tradez":'), "evidence_altered"),
        (lambda house: _edit(house / "governance" / "policy.toml", "format = 1", "format = 1 #"), "changed"),
        (lambda house: (house / "governance" / "roles.toml").write_text(""), "unknown_requester"),
    ],
)
def test_a_spoilt_permit_is_refused(house, capsys, spoil, code):
    """Exit code 3, and the reason."""
    stored(a_case(Rung.SHADOW_TESTNET, ["olga", "rita"], house), house)
    spoil(house)

    assert main(["gate", "verify", "permit.json"]) == 3
    said = capsys.readouterr()
    assert f"{code}: " in said.out
    assert code in said.err
    assert said.err.count("\n") == 1
    assert main(["gate", "verify", "permit.json", "--json"]) == 3
    assert code in {item["code"] for item in json.loads(capsys.readouterr().out)["objections"]}


def _edit(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_link_in_place_of_a_file_is_refused(house, capsys):
    """A permit that could be exchanged while it is read is none."""
    stored(a_case(Rung.SHADOW_TESTNET, ["olga", "rita"], house), house)
    (house / "permit.json").rename(house / "other.json")
    (house / "permit.json").symlink_to("other.json")

    assert main(["gate", "verify", "permit.json"]) == 3
    assert "found a link" in capsys.readouterr().err
    assert main(["gate", "verify", "nothing.json"]) == 2


def test_a_dossier_comes_back_as_it_went(house):
    """Requests, signatures and evidence, byte for byte; it may lie elsewhere than beside its permit."""
    case = a_case(Rung.SHADOW_LIVE_LIVE, ["olga", "rudi", "zoe"], house)
    stored(case, house)
    (house / "kept").mkdir()
    (house / "permit.dossier.json").rename(house / "kept" / "dossier.json")

    again = unpack(pack(case.dossier))
    assert (again.request, again.signatures) == (case.dossier.request, case.dossier.signatures)
    assert {item.document for item in again.evidence} == {item.document for item in case.dossier.evidence}
    assert main(["gate", "verify", "permit.json", "--dossier", "kept/dossier.json"]) == 0


@pytest.mark.skipif(KEYGEN is None, reason="ssh-keygen is not on this machine")
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_permit_rests_on_what_ssh_keygen_signed(house, capsys, kind):
    """A person makes a key, signs the request's file, and the permit is good; signed for git it is not granted."""
    subprocess.run([KEYGEN, "-q", "-N", "", "-t", kind, "-f", house / "id"], check=True)
    roles = roles_toml().replace(key("olga").line, (house / "id.pub").read_text().strip())
    (house / "governance" / "roles.toml").write_text(roles)
    case = a_case(Rung.RESEARCH_SHADOW, [], house)
    (house / "request.json").write_bytes(case.content)

    def by_hand(purpose: str) -> GateCase:
        (house / "request.json.sig").unlink(missing_ok=True)
        words = [KEYGEN, "-q", "-Y", "sign", "-n", purpose, "-f", house / "id", house / "request.json"]
        subprocess.run(words, check=True, capture_output=True)
        return case.but(signatures=[Signature((house / "request.json.sig").read_bytes(), case.created_at + DAY)])

    assert {item.code for item in by_hand("git").decide().reasons()} == {"namespace", "approvals_missing"}
    stored(by_hand("peak-trade-approval"), house)
    assert main(["gate", "verify", "permit.json"]) == 0
    assert "ma_crossover in shadow" in capsys.readouterr().out
