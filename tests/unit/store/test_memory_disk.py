"""What the simulated disk may lose, tear, reorder and refuse, and that it does all of that."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreFull
from protozorfs.store.memory_disk import (
    ANY,
    JOURNAL,
    MOMENTS,
    PAGE_BYTES,
    PREFIX,
    SECTOR_BYTES,
    WRITES,
    CutModel,
)
from protozorfs.store.memory_files import MemoryFiles, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = CutModel(SECTOR_BYTES, MOMENTS, JOURNAL, survival=0.5, has_rubbish=False)


def contents_after_cuts(
    model: CutModel, change: Callable[[MemoryFiles], None], *, before: bytes = b""
) -> set[bytes]:
    """What a synced file may hold after it was changed and the power was cut."""
    seen = set()
    for seed in range(300):
        files = MemoryFiles()
        files.replace("a", before)
        change(files)
        files.power_cut(random.Random(seed), model)
        seen.add(files.read("a"))
    return seen


def names_after_cuts(model: CutModel, change: Callable[[MemoryFiles], None]) -> set[str]:
    """Which names there may be in two directories, `x` and `y`, after the power was cut."""
    seen = set()
    for seed in range(300):
        files = MemoryFiles()
        for name in "xy":
            files.mkdir(name)
        files.sync_dir("")
        change(files)
        files.power_cut(random.Random(seed), model)
        seen.add(" ".join(name + "".join(files.listdir(name)) for name in "xy"))
    return seen


def test_a_sector_is_as_it_was_at_one_moment_and_another_at_another() -> None:
    def change(files: MemoryFiles) -> None:
        file = files.open("a")
        file.pwrite(b"1", 0)
        file.pwrite(b"2", 1)
        file.pwrite(b"3", SECTOR_BYTES)

    before = bytes(2 * SECTOR_BYTES)
    seen = {
        (content[:2], content[SECTOR_BYTES : SECTOR_BYTES + 1])
        for content in contents_after_cuts(MODEL, change, before=before)
    }
    first = (b"\0\0", b"1\0", b"12")  # never the second write without the first
    assert seen == {(start, end) for start in first for end in (b"\0", b"3")}


def test_pages_are_whole_where_the_unit_is_a_page() -> None:
    model = MODEL._replace(unit_bytes=PAGE_BYTES)
    seen = contents_after_cuts(
        model, lambda files: files.open("a").pwrite(b"x" * PAGE_BYTES, 0), before=bytes(PAGE_BYTES)
    )
    assert seen == {bytes(PAGE_BYTES), b"x" * PAGE_BYTES}


def test_writes_of_one_sector_are_lost_one_by_one_in_the_harshest_model() -> None:
    def change(files: MemoryFiles) -> None:
        file = files.open("a")
        file.pwrite(b"1", 0)
        file.pwrite(b"2", 1)

    seen = contents_after_cuts(MODEL._replace(of_files=WRITES), change, before=b"..")
    assert seen == {b"..", b"1.", b".2", b"12"}


@pytest.mark.parametrize("has_rubbish", [False, True])
def test_a_size_may_survive_without_the_bytes_and_show_what_was_there(has_rubbish: bool) -> None:
    model = MODEL._replace(has_rubbish=has_rubbish)
    seen = contents_after_cuts(model, lambda files: files.open("a").pwrite(b"x" * 600, 0))
    assert any(len(content) == 600 and content[512:] == b"x" * 88 for content in seen)
    lost = {content for content in seen if len(content) == 600 and b"x" * 10 not in content}
    assert (bytes(600) in lost) != has_rubbish
    assert lost


def test_a_cut_file_is_short_or_long_with_what_was_behind_its_end() -> None:
    def change(files: MemoryFiles) -> None:
        files.open("a").truncate(1)

    assert contents_after_cuts(MODEL, change, before=b"abc") == {b"abc", b"a", b"a\0\0"}


def test_directories_of_a_journal_keep_all_up_to_one_moment() -> None:
    def change(files: MemoryFiles) -> None:
        files.open("x/1", create=True)
        files.open("y/2", create=True)
        files.rename("x/1", "x/3")

    assert names_after_cuts(MODEL, change) == {"x y", "x1 y", "x1 y2", "x3 y2"}
    assert names_after_cuts(MODEL._replace(of_directories=PREFIX), change) == {
        *("x y", "x1 y", "x3 y"),
        *("x y2", "x1 y2", "x3 y2"),
    }


def test_a_sync_of_anything_commits_the_journal_and_no_directory_of_another_model() -> None:
    def change(files: MemoryFiles) -> None:
        file = files.open("x/1", create=True)
        files.open("y/2", create=True)
        file.fdatasync()

    assert names_after_cuts(MODEL, change) == {"x1 y2"}
    assert "x y" in names_after_cuts(MODEL._replace(of_directories=PREFIX), change)


def test_without_order_any_change_of_a_directory_may_be_lost_and_a_rename_only_whole() -> None:
    def change(files: MemoryFiles) -> None:
        files.open("x/1", create=True)
        files.sync_dir("x")
        files.open("x/2", create=True)
        files.rename("x/1", "x/3")
        files.remove("x/2")
        files.open("x/4", create=True)

    seen = names_after_cuts(MODEL._replace(of_directories=ANY), change)
    assert {"x1 y", "x14 y", "x12 y", "x23 y", "x3 y", "x34 y", "x124 y"} <= seen
    assert all(("1" in names) != ("3" in names) for names in seen)


def test_a_name_may_survive_without_content_and_synced_content_without_its_name() -> None:
    seen = set()
    for seed in range(100):
        files = MemoryFiles()
        file = files.open("a", create=True)
        file.pwrite(b"x", 0)
        files.power_cut(random.Random(seed))
        seen.add(files.read("a") if files.exists("a") else None)
    assert {None, b"", b"x"} <= seen


def test_a_renamed_file_that_was_not_synced_may_be_empty_under_its_new_name() -> None:
    seen = set()
    for seed in range(100):
        files = MemoryFiles()
        files.replace("a", b"old")
        files.open("b", create=True).pwrite(b"new", 0)
        files.rename("b", "a")
        files.sync_dir("")
        files.power_cut(random.Random(seed))
        seen.add(files.read("a"))
    assert {b"", b"new"} <= seen
    assert b"old" not in seen


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM]
)
def test_any_call_fails_with_any_error(number: int) -> None:
    expected = StoreFull if number in (errno.ENOSPC, errno.EDQUOT) else OSError
    files = MemoryFiles()
    files.mkdir("d")
    file = files.open("d/a", create=True)
    changing: list[Callable[[], object]] = [
        *(lambda: file.pwrite(b"x", 0), lambda: file.truncate(3), file.fdatasync),
        *(lambda: file.punch_hole(0, 1), lambda: files.open("d/b", create=True)),
        *(
            lambda: files.mkdir("e"),
            lambda: files.rename("d/a", "d/c"),
            lambda: files.remove("d/a"),
        ),
        lambda: files.sync_dir("d"),
    ]
    for call in changing:
        files.fail_at(files.operations, number)
        with pytest.raises(expected):
            call()
    files.fail_at(None)
    assert files.listdir("d") == ["a"]
    looking: list[Callable[[], object]] = [
        *(lambda: file.pread(1, 0), file.size, file.allocated_bytes, file.modified_ns),
        *(lambda: files.open("d/a"), lambda: files.listdir(""), lambda: files.read("d/a")),
        lambda: files.stamp("d/a"),
    ]
    for call in looking:
        files.fail_look_at(files.looks, number)
        with pytest.raises(expected):
            call()


@pytest.mark.parametrize(("number", "left"), [(errno.EIO, {"", "a"}), (errno.ENOSPC, {""})])
def test_a_name_is_kept_for_a_later_sync_where_only_space_was_missing(
    number: int, left: set[str]
) -> None:
    seen = set()
    for seed in range(20):
        files = MemoryFiles(seed)
        files.replace("a", b"")
        files.remove("a")
        files.fail_at(files.operations, number)
        with pytest.raises((StoreFull, OSError)):
            files.sync_dir("")
        files.fail_at(None)
        files.sync_dir("")
        files.power_cut(random.Random(seed))
        seen.add("".join(files.listdir("")))
    assert seen == left


def test_a_lasting_failure_ends_when_it_is_taken_back() -> None:
    files = MemoryFiles()
    files.fail_at(1, errno.EROFS, is_lasting=True)
    files.mkdir("a")
    for name in "bc":
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            files.mkdir(name)
    files.fail_at(None)
    files.mkdir("d")
    assert files.listdir("") == ["a", "d"]


def test_what_a_killed_run_left_unsynced_a_later_power_cut_may_take() -> None:
    seen = set()
    for seed in range(50):
        files = MemoryFiles()
        files.replace("a", b"")
        files.open("a").pwrite(b"x", 0)
        files.kill()
        assert files.read("a") == b"x"
        files.kill()
        files.power_cut(random.Random(seed))
        seen.add(files.read("a"))
    assert {b"", b"x"} <= seen


def test_a_clone_has_a_future_of_its_own() -> None:
    files = MemoryFiles()
    files.mkdir("d")
    files.open("d/a", create=True).pwrite(b"x", 0)
    other = files.clone()
    assert other.digest() == files.digest()
    other.open("d/a").pwrite(b"y", 0)
    other.remove("d/a")
    assert files.read("d/a") == b"x"
    assert other.digest() != files.digest()
    files.power_cut(random.Random(0), MODEL._replace(survival=0.0, of_directories=ANY))
    assert files.listdir("") == []
    assert other.listdir("") == ["d"]


def test_a_flipped_bit_stays_flipped() -> None:
    files = MemoryFiles()
    files.replace("a", b"\0\0")
    files.flip_bit("a", 9)
    assert files.read("a") == b"\0\2"
    files.power_cut(random.Random(0))
    assert files.read("a") == b"\0\2"


def test_a_watcher_sees_each_operation_before_it_and_effects_can_be_held_back() -> None:
    files = MemoryFiles()
    seen: list[tuple[int, list[str]]] = []
    files.watch(lambda number: seen.append((number, files.listdir(""))))
    files.mkdir("a")
    files.mkdir("b")
    assert seen == [(0, []), (1, ["a"])]
    kinds: list[str] = []
    files.carry_out_by(lambda kind, path, effect: kinds.append(f"{kind} {path}"))
    files.mkdir("c")
    files.sync_dir("")
    assert kinds == ["mkdir c", "sync_dir "]
    assert files.listdir("") == ["a", "b"]


def test_a_file_is_torn_that_was_renamed_before_it_was_synced() -> None:
    for is_synced in (False, True):
        files = MemoryFiles()
        file = files.open("new", create=True)
        file.pwrite(b"whole", 0)
        if is_synced:
            file.fdatasync()
        files.rename("new", "file")
        files.sync_dir("")
        assert not files.is_torn("file")
        files.power_cut(random.Random(0), MODEL._replace(of_files=WRITES, survival=0.0))
        assert files.is_torn("file") != is_synced
        files.open("file").pwrite(b"other", 0)  # from then on it is written in its place
        assert not files.is_torn("file")


def test_what_follows_from_a_seed_follows_again() -> None:
    def life(seed: int) -> bytes:
        files = MemoryFiles(seed)
        for name in "abcdef":
            files.open(name, create=True).pwrite(name.encode() * 700, 0)
        files.fail_at(files.operations, errno.EIO)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.open("a").fdatasync()
        files.power_cut(random.Random(seed))
        return files.digest()

    assert [life(seed) for seed in range(20)] == [life(seed) for seed in range(20)]
    assert len({life(seed) for seed in range(20)}) > 5


def test_a_stopped_machine_answers_nothing() -> None:
    files = MemoryFiles()
    files.fail_at(0)
    with pytest.raises(Stopped):
        files.mkdir("a")
    with pytest.raises(Stopped):
        files.listdir("")
