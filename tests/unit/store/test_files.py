"""One suite for all file ports, and what only the simulated disk can show."""

from __future__ import annotations

import errno
import os
import random
import resource
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.errors import StoreFull
from protozorfs.store.files import Files, RealFile, RealFiles
from protozorfs.store.memory_disk import SECTOR_BYTES, draw_model
from protozorfs.store.memory_files import MemoryFiles, Stopped
from protozorfs.store.overlay import OverlayFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(params=["real", "memory", "overlay"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "overlay":
        return OverlayFiles(RealFiles(tmp_path, is_read_only=True))
    return RealFiles(tmp_path) if request.param == "real" else MemoryFiles()


def test_writes_are_read_back_and_gaps_are_zeros(files: Files) -> None:
    file = files.open("a", create=True)
    file.pwrite(b"xyz", 5)
    file.pwrite(memoryview(b"!"), 0)
    assert file.pread(100, 0) == b"!\0\0\0\0xyz"
    assert file.pread(2, 6) == b"yz"
    assert file.pread(5, 8) == b""
    assert file.size() == 8
    assert files.read("a") == b"!\0\0\0\0xyz"
    file.close()
    file.close()


def test_a_file_knows_whether_it_still_has_its_name(files: Files) -> None:
    file = files.open("a", create=True)
    file.pwrite(b"four", 0)
    assert file.is_there(4)
    assert not file.is_there(5)
    files.replace("a", b"another")
    assert not file.is_there(0)
    other = files.open("a")
    assert other.is_there(7)
    files.remove("a")
    assert not other.is_there(0)


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_vectors_of_any_size_are_written_in_order(files: Files, size: int) -> None:
    parts = [bytes([number % 251]) * (size + number % 3) for number in range(1500)]
    file = files.open("a", create=True)
    file.pwritev(parts, 7)
    file.pwritev([b"one"], 0)
    assert files.read("a") == b"one\0\0\0\0" + b"".join(parts)
    file.close()


def test_a_vector_that_is_cut_short_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(descriptor: int, parts: Sequence[bytes], offset: int) -> int:
        return os.pwrite(descriptor, parts[0][:100], offset)

    file = RealFiles(tmp_path).open("a", create=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", short)
        file.pwritev([b"a" * 5000, b"b" * 5000], 3)
    assert file.pread(20_000, 3) == b"a" * 5000 + b"b" * 5000
    file.close()


def test_reads_and_writes_that_are_cut_short_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread, pwrite, data = os.pread, os.pwrite, bytes(range(250))

    def short_read(descriptor: int, size: int, offset: int) -> bytes:
        return pread(descriptor, min(size, 70), offset)

    def short_write(descriptor: int, part: bytes | memoryview, offset: int) -> int:
        return pwrite(descriptor, part[:70], offset)

    file = RealFiles(tmp_path).open("a", create=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", short_read)
        patch.setattr(os, "pwrite", short_write)
        file.pwrite(data, 3)
        assert file.pread(250, 3) == data
        assert file.pread(999, 0) == bytes(3) + data
    assert file.pread(999, 0) == bytes(3) + data
    file.close()


def test_truncate_cuts_and_grows(files: Files) -> None:
    file = files.open("a", create=True)
    file.pwrite(b"abcdef", 0)
    file.truncate(2)
    file.truncate(4)
    assert file.pread(10, 0) == b"ab\0\0"
    file.close()


def test_a_punched_hole_is_zeros_and_takes_no_space(files: Files) -> None:
    file = files.open("a", create=True)
    file.pwrite(b"x" * (1 << 20), 0)
    file.fdatasync()
    full = file.allocated_bytes()
    file.punch_hole(4096, (1 << 20) - 4096)
    file.punch_hole(1 << 21, 10)  # behind the end: nothing to do
    assert file.size() == 1 << 20
    assert file.pread(4098, 4094) == b"xx" + bytes(4096)
    assert file.allocated_bytes() < full
    file.close()


def test_directories_list_sorted_and_know_what_exists(files: Files) -> None:
    files.mkdir("d")
    files.mkdir("d")
    files.open("d/b", create=True).close()
    files.open("d/a", create=True).close()
    assert files.listdir("d") == ["a", "b"]
    assert files.listdir("") == ["d"]
    assert files.exists("d/a")
    assert files.exists("")
    assert not files.exists("d/c")
    assert not files.exists("e/c")
    files.sync_dir("d")
    files.rename("d/a", "d/b")
    assert files.listdir("d") == ["b"]
    files.remove("d/b")
    files.rmdir("d")
    assert files.listdir("") == []


def test_missing_things_are_refused(files: Files) -> None:
    for call in (
        lambda: files.open("a"),
        lambda: files.read("a"),
        lambda: files.remove("a"),
        lambda: files.rmdir("a"),
        lambda: files.listdir("a"),
        lambda: files.sync_dir("a"),
        lambda: files.rename("a", "b"),
        lambda: files.open("d/a", create=True),
    ):
        with pytest.raises(FileNotFoundError):
            call()


def test_a_directory_is_no_file_and_must_be_empty_to_go(files: Files) -> None:
    files.mkdir("d")
    files.open("d/a", create=True).close()
    files.open("f", create=True).close()
    with pytest.raises(IsADirectoryError):
        files.open("d")
    with pytest.raises(OSError, match="not empty"):
        files.rmdir("d")
    with pytest.raises(FileExistsError):
        files.mkdir("f")


def test_replace_holds_the_new_content_alone(files: Files) -> None:
    files.replace("a", b"long content")
    files.replace("a", b"short")
    assert files.read("a") == b"short"
    assert files.listdir("") == ["a"]


def test_free_space_is_part_of_the_whole(files: Files) -> None:
    free, total = files.free_space()
    assert 0 <= free <= total


def test_real_files_and_directories_are_private(tmp_path: Path) -> None:
    files = RealFiles(tmp_path)
    files.mkdir("d")
    files.open("d/a", create=True).close()
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "d/a").stat().st_mode & 0o777 == 0o600


def test_a_real_full_disk_is_store_full() -> None:
    file = RealFile(os.open("/dev/full", os.O_RDWR))
    with pytest.raises(StoreFull):
        file.pwrite(b"x", 0)
    with pytest.raises(StoreFull):
        file.pwritev([b"x" * 5000] * 2, 0)
    file.close()


def test_an_offset_beyond_what_a_file_can_hold_is_store_full(tmp_path: Path) -> None:
    """By a limit of the process: those of file systems differ, and tmpfs has none."""
    file = RealFiles(tmp_path).open("a", create=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, hard))
    try:
        with pytest.raises(StoreFull):
            file.pwrite(b"x", 2**62)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.close()


def test_synced_data_survives_a_power_cut_and_other_data_may_not() -> None:
    lost = kept = 0
    for seed in range(40):
        files = MemoryFiles()
        file = files.open("a", create=True)
        files.sync_dir("")
        file.pwrite(b"safe", 0)
        file.fdatasync()
        file.pwrite(b"risk", 4)
        files.power_cut(random.Random(seed))
        content = files.read("a")
        assert content[:4] == b"safe"
        lost += content[4:] in (b"", bytes(4))
        kept += content[4:] == b"risk"
    assert lost
    assert kept


def test_unsynced_writes_are_torn_at_sectors_and_reordered() -> None:
    seen = set()
    for seed in range(60):
        files = MemoryFiles()
        file = files.open("a", create=True)
        files.sync_dir("")
        file.truncate(3 * SECTOR_BYTES)
        file.fdatasync()
        file.pwrite(b"a" * (2 * SECTOR_BYTES), 0)
        file.pwrite(b"b" * SECTOR_BYTES, 2 * SECTOR_BYTES)
        files.power_cut(random.Random(seed))
        content = files.read("a")
        sectors = [content[at : at + SECTOR_BYTES] for at in range(0, len(content), SECTOR_BYTES)]
        assert all(len(set(sector)) == 1 for sector in sectors)
        seen.add(bytes(sector[0] for sector in sectors))
    assert {b"aab", b"\0ab", b"\0\0b", b"a\0b"} <= seen


def test_an_unsynced_name_may_go_with_its_synced_data() -> None:
    outcomes = set()
    for seed in range(20):
        files = MemoryFiles()
        file = files.open("a", create=True)
        file.pwrite(b"x", 0)
        file.fdatasync()
        files.power_cut(random.Random(seed))
        outcomes.add(files.exists("a"))
    assert outcomes == {True, False}


def test_a_replaced_file_is_the_old_or_the_new_one_at_every_stop() -> None:
    for operation in range(20):
        for seed in range(5):
            files = MemoryFiles()
            files.replace("a", b"old")
            done = files.operations
            files.fail_at(done + operation)
            try:
                files.replace("a", b"new!")
                returned = True
            except Stopped:
                returned = False
            files.power_cut(random.Random(seed))
            assert files.read("a") in ((b"new!",) if returned else (b"old", b"new!"))


def test_what_a_failed_sync_did_not_save_no_later_one_saves() -> None:
    saved = 0
    for seed in range(40):
        files = MemoryFiles(seed)
        file = files.open("a", create=True)
        files.sync_dir("")
        file.pwrite(b"x", 0)
        files.fail_at(files.operations, "io")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            file.fdatasync()
        assert file.pread(1, 0) == b"x"  # the cache goes on showing it
        after_failure, file = files.clone(), files.open("a")
        file.fdatasync()
        for disk in (files, after_failure):
            disk.power_cut(random.Random(1))
        assert files.read("a") == after_failure.read("a")
        saved += files.read("a") == b"x"
    assert 0 < saved < 40


def test_of_a_directory_whose_sync_failed_a_prefix_of_the_changes_is_saved() -> None:
    seen = set()
    for seed in range(40):
        files = MemoryFiles(seed)
        for name in "abc":
            files.open(name, create=True)
        files.fail_at(files.operations, errno.EIO)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.sync_dir("")
        assert files.listdir("") == ["a", "b", "c"]
        files.sync_dir("")
        files.open("d", create=True)
        files.sync_dir("")
        files.power_cut(random.Random(1))
        seen.add("".join(files.listdir("")))
    assert seen == {"d", "ad", "abd", "abcd"}


def test_a_full_disk_may_have_taken_a_part_and_a_stop_stops_everything() -> None:
    files = MemoryFiles()
    file = files.open("a", create=True)
    files.fail_at(files.operations, "full")
    with pytest.raises(StoreFull):
        file.pwrite(b"abcd", 0)
    assert b"abcd".startswith(file.pread(9, 0))
    files.fail_at(files.operations)
    with pytest.raises(Stopped):
        file.pwrite(b"abcd", 0)
    with pytest.raises(Stopped):
        file.pread(1, 0)
    files.kill()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        file.pread(1, 0)
    assert b"abcd".startswith(files.read("a"))


@settings(max_examples=50)
@given(
    writes=st.lists(
        st.tuples(st.integers(0, 3000), st.binary(max_size=1500), st.booleans()), max_size=12
    ),
    seed=st.integers(0, 1000),
)
def test_after_a_power_cut_every_byte_was_once_there(
    writes: list[tuple[int, bytes, bool]], seed: int
) -> None:
    files = MemoryFiles()
    file = files.open("a", create=True)
    files.sync_dir("")
    possible: list[set[int]] = [{0} for _ in range(5000)]
    model = bytearray(5000)
    for offset, data, is_synced in writes:
        file.pwrite(data, offset)
        model[offset : offset + len(data)] = data
        for at in range(offset, offset + len(data)):
            possible[at].add(model[at])
        if is_synced:
            file.fdatasync()
            possible = [{value} for value in model]
    choice = random.Random(seed)
    files.power_cut(choice, draw_model(choice)._replace(has_rubbish=False))
    content = files.read("a").ljust(5000, b"\0")
    assert all(value in allowed for value, allowed in zip(content, possible, strict=True))


def test_what_was_never_written_takes_no_space(files: Files) -> None:
    file = files.open("a", create=True)
    file.pwrite(b"x" * 4096, 1 << 20)
    file.truncate(4 << 20)
    file.fdatasync()
    assert file.size() == 4 << 20
    assert 4096 <= file.allocated_bytes() <= 16_384
    file.truncate(0)
    assert file.allocated_bytes() <= 8192
    file.close()


def test_the_last_page_comes_free_with_what_is_in_it(files: Files) -> None:
    file = files.open("a", create=True)
    file.pwrite(b"x" * 100_000, 0)
    file.fdatasync()
    file.punch_hole(0, 102_400)  # beyond the end, to the end of its page
    assert file.size() == 100_000
    assert file.pread(100_000, 0) == bytes(100_000)
    assert file.allocated_bytes() <= 8192
    file.close()
