"""Changes over files that stay as they are."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.overlay import PAGE_BYTES, OverlayFiles
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from protozorfs.store.files import File

ROUNDS = long_or_short(2000, 60)
MAX_BYTES = 5 * PAGE_BYTES


def made(content: bytes) -> MemoryFiles:
    files = MemoryFiles()
    files.mkdir("d")
    files.replace("d/a", content)
    return files


def change(file: File, choice: random.Random) -> None:
    offset, size = choice.randrange(MAX_BYTES), choice.randrange(2 * PAGE_BYTES)
    match choice.randrange(4):
        case 0:
            file.pwrite(choice.randbytes(size), offset)
        case 1:
            file.truncate(offset)
        case 2:
            file.punch_hole(offset, 1 + size)
        case 3:
            file.pwritev([file.pread(size, offset), b"x"], offset)


def test_a_file_changes_as_a_real_one_and_the_one_below_does_not() -> None:
    for seed in range(ROUNDS):
        choice = random.Random(seed)
        content = choice.randbytes(choice.randrange(MAX_BYTES))
        below, plain = made(content), made(content)
        overlay = OverlayFiles(below)
        for step in range(12):
            changes = choice.random()
            for files in (plain, overlay):
                file = files.open("d/a")
                change(file, random.Random(changes))
                file.close()
            file = overlay.open("d/a")
            assert file.size() == plain.open("d/a").size()
            assert overlay.read("d/a") == plain.read("d/a"), (seed, step)
            start, size = choice.randrange(MAX_BYTES), choice.randrange(MAX_BYTES)
            assert file.pread(size, start) == plain.open("d/a").pread(size, start)
        assert below.read("d/a") == content


def test_names_change_above_only() -> None:
    below = made(b"below")
    files = OverlayFiles(below)
    files.replace("d/b", b"new")
    files.rename("d/a", "d/c")
    assert files.listdir("d") == ["b", "c"]
    assert (files.read("d/b"), files.read("d/c")) == (b"new", b"below")
    assert not files.exists("d/a")
    with pytest.raises(FileNotFoundError):
        files.open("d/a")
    with pytest.raises(FileNotFoundError):
        files.remove("d/a")
    files.remove("d/c")
    files.open("d/a", create=True).close()
    assert files.read("d/a") == b""
    files.mkdir("e")
    assert files.listdir("e") == []
    with pytest.raises(FileNotFoundError):
        files.listdir("f")
    assert below.listdir("d") == ["a"]
    assert below.read("d/a") == b"below"


def test_what_is_there_already_takes_no_memory() -> None:
    content = random.Random(0).randbytes(MAX_BYTES)
    files = OverlayFiles(made(content))
    file = files.open("d/a")
    file.pwrite(content[100:9000], 100)
    file.pwrite(b"!", 3 * PAGE_BYTES)
    assert file._content.pages.keys() == {3}


def test_a_file_in_memory_has_no_stamp() -> None:
    files = OverlayFiles(made(b"x"))
    assert files.stamp("d/a").size == 1
    files.replace("d/a", b"other")
    with pytest.raises(FileNotFoundError):
        files.stamp("d/a")
