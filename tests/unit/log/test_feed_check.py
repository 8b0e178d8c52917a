"""The check of one feed's files: what it says of each damage, and that it changes nothing."""

from __future__ import annotations

import errno
import os
import random
from functools import cache
from typing import TYPE_CHECKING, cast

import pytest

from protozorfs.errors import StoreCorrupt
from protozorfs.log.feed_check import check_feed
from protozorfs.log.format import NODE_BYTES
from protozorfs.store import MemoryFiles
from protozorfs.store.findings import Finding, Progress
from protozorfs.store.heads import PAGE_BYTES, SLOT_BYTES
from tests.unit.log.feed_tools import (
    FEED_ID,
    create_followed,
    create_owned,
    directory,
    fetch,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.store import File

BLOCKS = [random.Random(size).randbytes(size) for size in range(1, 300)]
DATA = b"".join(BLOCKS)
PATH = f"feeds/{FEED_ID.hex()[:2]}/{FEED_ID.hex()}"


def owned(*, is_clean: bool = True) -> MemoryFiles:
    return made_owned(is_clean=is_clean).clone()


@cache
def made_owned(*, is_clean: bool) -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:100])
    log.append(BLOCKS[100:])
    log.sync()
    if is_clean:
        log.close()
    files.kill()
    return files


def followed(*, is_clean: bool = True, step: int = 1) -> MemoryFiles:
    """`step`: only the first of so many blocks is held."""
    return made_followed(is_clean=is_clean, step=step).clone()


@cache
def made_followed(*, is_clean: bool, step: int) -> MemoryFiles:
    source = reopen(owned())
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    for index in range(0, len(BLOCKS), step):
        fetch(source, reader, index)
    reader.sync()
    if is_clean:
        reader.close()
    files.kill()
    return files


def content_of(files: MemoryFiles) -> dict[str, bytes]:
    return {name: files.read(f"{PATH}/{name}") for name in files.listdir(PATH)}


def findings(files: MemoryFiles) -> dict[str, str]:
    """What is found, by codes. Nothing was changed for it."""
    before = content_of(files)
    found = list(check_feed(files, FEED_ID))
    assert content_of(files) == before
    kinds = [one for one in found if isinstance(one, Finding)]
    assert all(one.feed_id == FEED_ID and one.path.startswith(PATH) for one in kinds)
    assert len({(one.kind.code, one.path) for one in kinds}) <= len(kinds)
    return {one.kind.code: one.what for one in kinds}


def damage(files: MemoryFiles, name: str, offset: int, size: int = 1) -> None:
    file = files.open(f"{PATH}/{name}")
    file.pwrite(bytes(byte ^ 0x10 for byte in file.pread(size, offset)), offset)


def start_of(block: int) -> int:
    return sum(map(len, BLOCKS[:block]))


@pytest.mark.parametrize("make", [owned, followed])
def test_nothing_is_wrong_with_what_was_left_by_itself(make: Callable[..., MemoryFiles]) -> None:
    assert findings(make()) == {}
    assert set(findings(make(is_clean=False))) == {"unclean"}


def test_blocks_that_are_not_held_are_no_damage() -> None:
    for is_clean in (True, False):
        assert findings(followed(step=7, is_clean=is_clean)).keys() <= {"unclean"}


def test_every_byte_that_is_held_is_read() -> None:
    for files, size in ((owned(), len(DATA)), (followed(step=7), sum(map(len, BLOCKS[::7])))):
        found = check_feed(files, FEED_ID)
        assert sum(one.byte_count for one in found if isinstance(one, Progress)) == size


@pytest.mark.parametrize(
    ("make", "code"), [(owned, "own-blocks-damaged"), (followed, "blocks-damaged")]
)
def test_wrong_blocks_are_named(make: Callable[..., MemoryFiles], code: str) -> None:
    for is_clean in (True, False):
        files = make(is_clean=is_clean)
        for block in (7, 8, 250):
            damage(files, "data", start_of(block))
        said = findings(files)
        assert said.keys() - {"unclean"} == {code}
        assert said[code] == "3 blocks are not what was written: 7 to 8, 250"


def test_a_block_of_ours_that_is_missing_is_damage() -> None:
    for is_clean in (True, False):
        files = owned(is_clean=is_clean)
        files.open(f"{PATH}/data").truncate(start_of(298))
        assert "298" in findings(files)["own-blocks-damaged"]


@pytest.mark.parametrize("make", [owned, followed])
def test_nodes_that_follow_from_others_are_named(make: Callable[..., MemoryFiles]) -> None:
    for is_clean in (True, False):
        files = make(is_clean=is_clean)
        for node in (20, 25, 300):
            damage(files, "tree", node * NODE_BYTES + 9)
        said = findings(files)
        assert said.keys() - {"unclean"} == {"nodes-damaged"}
        assert said["nodes-damaged"] == "nodes 20, 25, 300 are not what they must be"


@pytest.mark.parametrize(("make", "code"), [(owned, "own-nodes-lost"), (followed, "nodes-lost")])
def test_blocks_to_which_no_way_leads_are_named(
    make: Callable[..., MemoryFiles], code: str
) -> None:
    files = make()
    damage(files, "tree", 21 * NODE_BYTES, 4 * NODE_BYTES)  # nodes 21 to 24
    said = findings(files)
    assert said.keys() <= {code, "nodes-damaged"}
    assert said[code].startswith("the way to blocks ")


def test_damaged_roots_are_told_from_lost_ones() -> None:
    for node in (255, 543, 596):
        for make in (owned, followed):
            assert set(findings(damaged_node(make(), node))) == {"nodes-damaged"}
    for make, code in ((owned, "own-tree-lost"), (followed, "tree-lost")):
        files = make()
        damage(files, "tree", 127 * NODE_BYTES, 200 * NODE_BYTES)  # the first root and its children
        assert code in findings(files)


def test_nodes_above_empty_blocks_are_checked_too() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b""] * 200)
    log.close()
    assert findings(files) == {}
    damage(files, "tree", 20 * NODE_BYTES + 9)
    assert set(findings(files)) == {"nodes-damaged"}


def damaged_node(files: MemoryFiles, node: int) -> MemoryFiles:
    damage(files, "tree", node * NODE_BYTES + 9)
    return files


def test_a_damaged_copy_of_a_head_is_told_from_a_lost_head() -> None:
    for make in (owned, followed):
        files = make()
        pages = [page for page in range(1, 5) if any(page_of(files, page))]
        damage(files, "head", pages[0] * PAGE_BYTES + 30)
        assert set(findings(files)) == {"head-copy-damaged"}
        damage(files, "head", pages[0] * PAGE_BYTES + SLOT_BYTES + 30)
        assert len(findings(files)) == 1
        assert "head-damaged" in findings(files)


def page_of(files: MemoryFiles, page: int) -> bytes:
    return files.open(f"{PATH}/head").pread(PAGE_BYTES, page * PAGE_BYTES)


def test_a_head_of_ours_that_may_have_been_the_newest_is_told() -> None:
    files = owned(is_clean=False)
    damage(files, "head", 2 * PAGE_BYTES, 2 * SLOT_BYTES)  # signed, odd
    assert "own-head-damaged" in findings(files)


def test_no_head_at_all_is_told() -> None:
    for is_clean in (True, False):
        for make, code in ((owned, "own-heads-lost"), (followed, "heads-lost")):
            files = make(is_clean=is_clean)
            files.open(f"{PATH}/head").truncate(0)
            assert code in findings(files)


def test_damage_of_what_a_clean_stop_leaves_is_told() -> None:
    for make in (owned, followed):
        for name, code in (("clean", "clean-damaged"), ("bitfield", "bitfield-damaged")):
            files = make()
            damage(files, name, 40)
            assert set(findings(files)) == {code}
        files = make()
        files.remove(f"{PATH}/bitfield")
        assert set(findings(files)) == {"bitfield-damaged"}


def test_a_mark_of_another_moment_is_told() -> None:
    files, older = owned(), owned()
    log = reopen(files)
    log.append([b"more"])
    log.close()
    for name, code in (("clean", "clean-damaged"), ("bitfield", "bitfield-damaged")):
        changed = owned()
        log = reopen(changed)
        log.append([b"more"])
        log.close()
        changed.replace(f"{PATH}/{name}", older.read(f"{PATH}/{name}"))
        assert code in findings(changed)


def test_a_mark_of_another_length_is_told_by_both_lengths() -> None:
    files = owned()
    length = reopen(files).length
    older = files.read(f"{PATH}/clean")
    log = reopen(files)
    log.append([b"more"])
    log.close()
    files.replace(f"{PATH}/clean", older)
    said = [each.what for each in check_feed(files, FEED_ID) if isinstance(each, Finding)]
    assert f"it says {length} blocks, and the head says {length + 1}" in said


def test_a_damaged_secret_is_told_and_the_rest_is_checked_all_the_same() -> None:
    for content in (b"", bytes(32), bytes(33)):
        files = owned()
        for name in ("secret", "secret.copy"):
            whole = files.read(f"{PATH}/{name}")
            files.replace(f"{PATH}/{name}", content)
            assert findings(files)["secret-copy-damaged"].startswith("it is damaged")
            files.replace(f"{PATH}/{name}", whole)
        for name in ("secret", "secret.copy"):
            files.replace(f"{PATH}/{name}", content)
        assert set(findings(files)) == {"secret-damaged"}
        damage(files, "data", start_of(7))
        assert set(findings(files)) == {"secret-damaged", "own-blocks-damaged"}
        with pytest.raises(StoreCorrupt):
            reopen(files)


def test_a_tail_that_was_never_synced_and_is_not_whole_is_told() -> None:
    files = owned(is_clean=False)
    log = reopen(files)
    log.append([b"one", b"two"])
    log.append([b"three"])
    files.kill()
    damage(files, "data", len(DATA) + 4)
    assert findings(files)["own-tail-damaged"] == "of 302 blocks the first 300 can be kept"
    assert directory(files).exists()


class BadSector:
    """A file of which some bytes cannot be read."""

    def __init__(self, file: File, bad: range) -> None:
        self._file = file
        self._bad = bad

    def pread(self, size: int, offset: int) -> bytes:
        if offset < self._bad.stop and offset + size > self._bad.start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._file.pread(size, offset)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.mark.parametrize("name", ["data", "tree", "head", "clean", "bitfield", "secret"])
def test_a_sector_that_cannot_be_read_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = owned()
    open_as_usual = files.open

    def open_bad(path: str, *, create: bool = False) -> File:
        file = open_as_usual(path, create=create)
        if path != f"{PATH}/{name}":
            return file
        return cast("File", BadSector(file, range(start_of(100), start_of(101))))

    def read(path: str) -> bytes:
        if path == f"{PATH}/{name}":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return files.open(path).pread(1 << 20, 0)

    monkeypatch.setattr(files, "open", open_bad)
    monkeypatch.setattr(files, "read", read)
    told = {"data": "1 block is not what was written: 100", "secret": "it is damaged"}
    if name in told:
        found = [one for one in check_feed(files, FEED_ID) if isinstance(one, Finding)]
        assert [one.what for one in found] == [told[name]]
        return
    with pytest.raises(OSError, match="Input/output"):
        list(check_feed(files, FEED_ID))
