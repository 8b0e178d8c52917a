"""An overlay shows what the same changes would have made of the files below, and writes nothing."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreFull
from protozorfs.store.files import RealFiles
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.overlay import NAME_BYTES, PAGE_BYTES, OverlayFiles
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protozorfs.store.files import Files

SEQUENCES = long_or_short(2000, 60)
STEPS = 60
NAMES = ("a", "b", "d", "d/a", "d/b", "e", "e/a")
MAX_OFFSET = 5 * PAGE_BYTES


def contents(files: Files, path: str = "") -> Iterator[tuple[str, bytes | None]]:
    """All paths, with what files hold; None: a directory."""
    for name in files.listdir(path):
        inner = f"{path}/{name}" if path else name
        assert files.exists(inner)
        try:
            data = files.read(inner)
        except IsADirectoryError:
            yield inner, None
            yield from contents(files, inner)
        else:
            assert files.stamp(inner).size == len(data)
            yield inner, data


def change(files: Files, choice: random.Random) -> object:
    """One random call; returns what it returned, or that it failed."""
    path, other = choice.choice(NAMES), choice.choice(NAMES)
    offset, size = choice.randrange(MAX_OFFSET), choice.choice((0, 1, 100, 2 * PAGE_BYTES))
    data = choice.randbytes(size) if choice.random() < 0.8 else bytes(size)
    kind = choice.choice(("write", "write", "write", "cut", "punch", "read", "replace", "names"))
    try:
        if kind == "replace":
            if not is_directory(files, path):
                files.replace(path, data)
            return None
        if kind == "names":
            return [
                lambda: files.mkdir(path),
                lambda: files.rmdir(path),
                lambda: files.remove(path),
                lambda: None if is_directory(files, path, other) else files.rename(path, other),
            ][choice.randrange(4)]()
        file = files.open(path, create=choice.random() < 0.5)
        try:
            if kind == "write":
                file.pwritev([data, data], offset)
            elif kind == "cut":
                file.truncate(offset)
            elif kind == "punch":
                file.punch_hole(offset, 2 * size)
            return file.pread(3 * PAGE_BYTES, offset // 2), file.size()
        finally:
            file.close()
    except OSError:
        return "failed"


def is_directory(files: Files, *paths: str) -> bool:
    """Whether one of them is: no directory is ever renamed or replaced."""
    for path in paths:
        with suppress(OSError):
            files.listdir(path)
            return True
    return False


def populated(choice: random.Random) -> MemoryFiles:
    files = MemoryFiles()
    files.mkdir("d")
    files.mkdir("e")
    for path in ("a", "d/a", "e/a"):
        files.replace(path, choice.randbytes(choice.randrange(MAX_OFFSET)))
    return files


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_it_is_as_files_that_were_changed(seed: int) -> None:
    below = populated(random.Random(seed))
    changed, before, operations = below.clone(), below.digest(), below.operations
    overlay = OverlayFiles(below)
    for step in range(STEPS):
        expected = change(changed, random.Random(f"{seed} {step}"))
        assert change(overlay, random.Random(f"{seed} {step}")) == expected, step
    assert list(contents(overlay)) == list(contents(changed))
    assert below.digest() == before
    assert below.operations == operations


def test_open_files_see_each_other_and_survive_their_names() -> None:
    below = MemoryFiles()
    below.replace("a", b"below")
    files = OverlayFiles(below)
    one, other = files.open("a"), files.open("a")
    one.pwrite(b"B", 0)
    assert other.pread(9, 0) == files.read("a") == b"Below"
    files.replace("a", b"new")
    assert other.pread(9, 0) == b"Below"
    files.remove("a")
    other.pwrite(b"b", 0)
    assert one.pread(9, 0) == b"below"
    assert not files.exists("a")


def test_what_is_written_as_it_stands_takes_no_memory() -> None:
    below = MemoryFiles()
    below.replace("a", bytes(range(256)) * 1024)
    files = OverlayFiles(below, max_bytes=2 * PAGE_BYTES)
    with_room = files.free_space()
    file = files.open("a")
    file.pwrite(bytes(range(256)) * 1024, 0)
    assert files.free_space() == with_room or with_room.free_bytes - 512 == (
        files.free_space().free_bytes
    )


def test_changes_have_a_limit_and_what_is_gone_gives_room_back() -> None:
    files = OverlayFiles(MemoryFiles(), max_bytes=10 * PAGE_BYTES)
    file = files.open("a", create=True)
    file.pwrite(b"x" * 8 * PAGE_BYTES, 0)
    with pytest.raises(StoreFull):
        file.pwrite(b"y" * 8 * PAGE_BYTES, 4 * PAGE_BYTES)
    assert files.read("a") == b"x" * 8 * PAGE_BYTES, "a write that is refused changes nothing"
    files.remove("a")
    files.replace("b", b"y" * 8 * PAGE_BYTES)
    made = list(map(files.mkdir, names_until_full(files)))
    assert len(made) < 1000
    with pytest.raises(StoreFull):
        files.mkdir("one more")


def names_until_full(files: OverlayFiles) -> Iterator[str]:
    """Names of directories, while there is room for one more."""
    number = 0
    while files.free_space().free_bytes >= NAME_BYTES:
        yield f"d{number}"
        number += 1


def test_a_read_only_port_opens_what_may_only_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"below")
    (tmp_path / "d").mkdir()
    (tmp_path / "a").chmod(0o400)
    files = OverlayFiles(RealFiles(tmp_path, is_read_only=True))
    with suppress(FileNotFoundError):
        files.open("nothing")
    with pytest.raises(IsADirectoryError):
        files.open("d")
    files.mkdir("d")
    files.replace("a", b"above")
    files.replace("d/b", b"above")
    assert files.listdir("d") == ["b"]
    assert (tmp_path / "a").read_bytes() == b"below"
    assert os.listdir(tmp_path / "d") == []


def test_a_file_that_was_cut_within_a_page_grows_with_zeros() -> None:
    files = OverlayFiles(MemoryFiles())
    file = files.open("a", create=True)
    size = 3 * PAGE_BYTES + 1
    file.pwrite(b"x" * 4 * PAGE_BYTES, 0)
    file.truncate(size)
    file.pwrite(b"y", 4 * PAGE_BYTES)
    whole = b"x" * size + bytes(PAGE_BYTES - 1) + b"y"
    assert file.pread(len(whole) + 1, 0) == whole


def test_a_hole_behind_the_end_of_a_file_takes_no_memory() -> None:
    below = MemoryFiles()
    below.open("a", create=True).pwrite(b"content", 0)
    files = OverlayFiles(below, max_bytes=0)
    files.open("a").punch_hole(100, 5)
    assert files.read("a") == b"content"
