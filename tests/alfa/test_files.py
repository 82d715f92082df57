"""Files are replaced whole or not at all, and hashes name their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alfa.files import content_hash, file_hash, write_atomic


def test_new_file_is_written(tmp_path: Path) -> None:
    """With the directories that lead to it, readable by the group and by nobody else."""
    path = tmp_path / "banks" / "a.bin"
    write_atomic(path, b"content")
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o640


def test_old_file_is_replaced_not_changed(tmp_path: Path) -> None:
    """Who has the old file open goes on reading the old content."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """No temporary file stays behind."""
    write_atomic(tmp_path / "a.bin", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_failure_leaves_the_target_and_no_rest(tmp_path: Path) -> None:
    """A target that cannot be replaced (a directory here) raises and stays as it was."""
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "a.bin", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_hash_is_the_head_of_sha256() -> None:
    """16 hex digits of the published test vector for "abc"."""
    assert content_hash(b"abc") == "ba7816bf8f01cfea"


@given(content=st.binary(max_size=3000))
def test_file_and_content_hash_agree(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """The same bytes have the same name, on disk or in memory."""
    path = tmp_path_factory.mktemp("hash") / "a.bin"
    path.write_bytes(content)
    assert file_hash(path) == content_hash(content)


def test_hash_of_a_file_larger_than_a_chunk(tmp_path: Path) -> None:
    """Reading in chunks sees every byte once."""
    content = bytes(range(256)) * 9000
    (tmp_path / "a.bin").write_bytes(content)
    assert file_hash(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()[:16]


def test_hash_of_several_files_depends_on_their_order(tmp_path: Path) -> None:
    """As the bytes one after the other, in the order given."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"ab")
    second.write_bytes(b"c")
    assert file_hash(first, second) == content_hash(b"abc")
    assert file_hash(second, first) == content_hash(b"cab")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    """The service that owns it must be able to read it; directories on the way are its own, too."""
    os.chown(tmp_path, 1234, 5678)
    write_atomic(tmp_path / "new" / "file", b"content")
    for made in (tmp_path / "new", tmp_path / "new" / "file"):
        assert (made.stat().st_uid, made.stat().st_gid) == (1234, 5678)
