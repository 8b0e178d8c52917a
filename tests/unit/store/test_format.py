"""Which format a store says it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from protozorfs.errors import UsageError
from protozorfs.store.format import is_old_format
from protozorfs.store.memory_files import MemoryFiles

STORE = Path("/a store")


def test_a_new_store_gets_format_2() -> None:
    files = MemoryFiles()
    assert not is_old_format(files, STORE)
    assert files.read("format") == b"protozorfs store 2\n"
    assert not is_old_format(files, STORE)


@pytest.mark.parametrize("format_file", [b"protozorfs store 1\n", None])
def test_a_store_with_old_names_is_of_format_1_and_stays_so_for_now(
    format_file: bytes | None,
) -> None:
    files = MemoryFiles()
    files.replace("names.db", b"old")
    if format_file is not None:
        files.replace("format", format_file)
    before = files.digest()
    assert is_old_format(files, STORE)
    assert files.digest() == before


@pytest.mark.parametrize(
    ("content", "names", "problem", "right"),
    [
        (b"protozorfs store 3\n", "names", "was made by another version", 2),
        (b"protozorfs store 3\n", "names.db", "was made by another version", 1),
        (b"protozorfs st", "names", "has a damaged file 'format', which says b'protozorfs st'", 2),
    ],
)
def test_another_format_is_refused_with_the_way_out(
    content: bytes, names: str, problem: str, right: int
) -> None:
    files = MemoryFiles()
    files.replace("format", content)
    files.replace(names, b"")
    before = files.digest()
    with pytest.raises(UsageError) as caught:
        is_old_format(files, STORE)
    assert str(caught.value).startswith(f"{STORE} {problem}")
    assert f"echo protozorfs store {right} > '/a store/format'" in str(caught.value)
    assert files.digest() == before
