"""The archive: whole and as it was written, or refused; nothing in it can lead out of a folder or be longer than it says."""

import hashlib
import json
import os
import re
import stat
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peak_trade.model.errors import DataError, NotFound, StorageError
from peak_trade.runs.backups.archive import MANIFEST, ArchiveReader, ArchiveWriter, is_safe, verify_archive

FILES = {"config.toml": b"[paths]\n", "var/journal/paper/a.jsonl": b"x" * 3_000, "var/empty": b""}


def made(path, files=FILES, facts=None):
    writer = ArchiveWriter(path)
    for name, content in files.items():
        writer.add(name, [content[:7], content[7:]])
    manifest = writer.finish(facts or {"at": "2026-03-01"})
    writer.close()
    return manifest


def forged(path, members, *, listed=None, version=1):
    """Write an archive whose hash fits, whatever is in it: members are (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members:
            target.writestr(name, content)
        names = [name if isinstance(name, str) else name.filename for name, _ in members]
        sizes = [
            (name, {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})
            for name, (_, body) in zip(names, members, strict=True)
        ]
        document = {"facts": {}, "files": dict(sizes)} if listed is None else listed
        target.writestr(MANIFEST, json.dumps(document))
        target.comment = f"peak-trade-backup {version} sha256:{'0' * 64}".encode()
    content = path.read_bytes()[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "a.zip"
    made(path)
    return path


def test_what_was_written_is_read_back(tmp_path):
    """Names, lengths, hashes and contents; any zip program opens it, and nobody else may read it."""
    path = tmp_path / "a.zip"
    manifest = made(path)

    assert verify_archive(path) == manifest
    assert manifest.facts == {"at": "2026-03-01"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as found:
        assert {name: found.read(name) for name in FILES} == FILES
        assert found.testzip() is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(archive, tmp_path, place, bit):
    """Wherever it lies, also in the mark and in the hash itself."""
    content = bytearray(archive.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path = tmp_path / "flipped.zip"
    path.write_bytes(content)

    with pytest.raises(DataError, match="expected an archive"):
        verify_archive(path)


def test_any_byte_of_the_end_is_noticed(archive, tmp_path):
    """Each of the last bytes, one by one: there the mark and the hash lie."""
    whole, path = archive.read_bytes(), tmp_path / "flipped.zip"
    for place in range(len(whole) - 130, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match="expected an archive"):
            verify_archive(path)


def test_any_cut_is_noticed(archive, tmp_path):
    """From the beginning, from the end, in the middle; and something behind it."""
    whole, path = archive.read_bytes(), tmp_path / "cut.zip"
    cuts = [whole[:size] for size in range(0, len(whole), 13)]
    for content in [*cuts, whole[:-1], whole[1:], whole[:100] + whole[200:], whole + b"\n", whole + b"0" * 64]:
        path.write_bytes(content)
        with pytest.raises(DataError, match="expected an archive"):
            verify_archive(path)


def test_another_version_is_refused_by_name(tmp_path):
    """It is sound, but not ours to read."""
    path = tmp_path / "a.zip"
    forged(path, [("a", b"b")], version=2)
    with pytest.raises(DataError, match=r"expected an archive of version 1 .*, found version 2; use the Peak_Trade"):
        verify_archive(path)


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../evil", b"x")], "leads out of a folder"),
        ([("var/../../evil", b"x")], "leads out of a folder"),
        ([("/etc/evil", b"x")], "leads out of a folder"),
        ([("var\\..\\evil", b"x")], "leads out of a folder"),
        ([("C:evil", b"x")], "leads out of a folder"),
        ([("var//evil", b"x")], "leads out of a folder"),
        ([("./evil", b"x")], "leads out of a folder"),
        ([("a\x1bb", b"x")], "leads out of a folder"),
        ([("x" * 600, b"x")], "leads out of a folder"),
        ([(link("var/journal"), b"/etc")], "which is a link or no file"),
        ([("var/a", b"x"), ("var/a/b", b"x")], "which lies in a file"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, members, words):
    """Though the hash over all bytes fits."""
    path = tmp_path / "a.zip"
    forged(path, members)
    with pytest.raises(DataError, match=words):
        verify_archive(path)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"facts": {}, "files": {}}, "other files than it lists"),
        ({"facts": {}, "files": {"a": {"size": 1, "sha256": "0" * 64}, "b": {"size": 1, "sha256": "0" * 64}}}, "other files"),
        ({"facts": {}, "files": {"a": {"size": 2, "sha256": "0" * 64}}}, "of another length"),
        ({"facts": {}, "files": {"a": {"size": 1, "sha256": "0" * 64}}}, "with another content"),
        ({"facts": {}, "files": {"a": {"size": -1, "sha256": "0" * 64}}}, "no sizes and hashes"),
        ({"facts": {}, "files": {"a": {"size": "1", "sha256": "0" * 64}}}, "no sizes and hashes"),
        ({"facts": [], "files": {}}, "no sizes and hashes"),
        ({"files": {}}, "a form that can't be read"),
        ([], "a form that can't be read"),
        (None, None),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path, listed, words):
    """What the list says and what is there have to be the same."""
    path = tmp_path / "a.zip"
    forged(path, [("a", b"x")], listed=listed)
    if words is None:
        assert verify_archive(path).files["a"][0] == 1
        return
    with pytest.raises(DataError, match=words):
        verify_archive(path)


def test_a_file_that_grows_while_it_is_unpacked_is_refused(tmp_path):
    """A directory that states one byte, over a stream of a million."""
    path = tmp_path / "a.zip"
    forged(path, [("a", bytes(1_000_000))])
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # local header and directory: the length of the content
        for found in re.finditer(re.escape(mark), bytes(content)):
            if content[found.start() + at : found.start() + at + 4] == (1_000_000).to_bytes(4, "little"):
                content[found.start() + at : found.start() + at + 4] = (1).to_bytes(4, "little")
    content = bytes(content[:-64])
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(DataError, match="of another length than it is listed with"):
        verify_archive(path)


def test_what_is_no_archive_is_refused(tmp_path):
    """Nothing, an empty file, another zip file, a folder."""
    with pytest.raises(NotFound, match="expected an archive at"):
        verify_archive(tmp_path / "none.zip")
    (tmp_path / "empty.zip").touch()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a", "b")
    for name in ("empty.zip", "other.zip"):
        with pytest.raises(DataError, match="it is none, or its end is gone"):
            verify_archive(tmp_path / name)
    with pytest.raises(StorageError, match="can't be read"):
        verify_archive(tmp_path)


def test_no_two_files_of_one_name(tmp_path):
    """Nobody could tell which of them counts."""
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        forged(path, [("a", b"x"), ("a", b"x")])
    with pytest.raises(DataError, match="other files than it lists"):
        verify_archive(path)


@given(name=st.text(max_size=40))
def test_a_safe_name_stays_in_its_folder(name):
    """Whatever is called safe lies below the folder it is put into."""
    if is_safe(name):
        joined = os.path.normpath(f"/folder/{name}")
        assert joined == f"/folder/{name}"


def test_a_reader_yields_what_was_written(archive):
    """In parts, and checked at the end."""
    with ArchiveReader.opened(archive) as found:
        assert {name: b"".join(found.content(name)) for name in found.manifest.files} == FILES
