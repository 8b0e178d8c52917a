"""A file keeps its inode number, whatever the kernel forgets and whatever it is called."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from tests.errnos import expect
from tests.file_handles import forget_all, handle_of, open_handle
from tests.memory_control import pattern_bytes
from tests.users import is_real_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SIZE = 40_000


def number(path: Path) -> int:
    return path.stat().st_ino


def files_of(shared: Staged, path: Path) -> list[Path]:
    """All that a mount shows of a feed, and of itself."""
    status = shared.path / ".protozorfs"
    return [
        *(path, shared.path / ".live" / path.name, shared.path / ".live" / f"{path.name}@1"),
        *(status / "feeds" / path.name, status / "feeds" / path.name / "why"),
        *(shared.path / ".live", status, status / "feeds", status / "log"),
    ]


def test_numbers_outlive_the_kernels_caches(shared: Staged) -> None:
    first, second = shared.followed(100, 100), shared.owned()
    files = [*files_of(shared, first), *files_of(shared, second)[:5]]
    before = [number(file) for file in files]
    assert len(set(before)) == len(files)
    assert all(2**16 <= one < 2**53 for one in before)
    forget_all()
    assert [number(file) for file in reversed(files)] == before[::-1]


def test_a_rename_keeps_all_numbers_of_a_feed(shared: Staged) -> None:
    path = shared.followed(100, 100)
    before = [number(file) for file in files_of(shared, path)]
    moved = path.rename(path.with_name(f"{path.name}-moved"))
    assert [number(file) for file in files_of(shared, moved)] == before
    assert (shared.path / ".protozorfs/feeds" / moved.name / "id").read_bytes() == (
        os.getxattr(moved, "protozorfs.id") + b"\n"
    )


def test_a_feed_that_comes_back_has_its_number_again(shared: Staged) -> None:
    path = shared.followed(100, 100)
    feed_id, before = os.getxattr(path, "protozorfs.id").decode(), number(path)
    path.unlink()
    assert number(shared.followed(1, 1)) != before
    path.with_name(f"{path.name}-again").symlink_to(feed_id)
    assert number(path.with_name(f"{path.name}-again")) == before
    assert number(shared.path / feed_id) == before


def test_listings_tell_the_same_numbers(shared: Staged) -> None:
    path = shared.followed(100, 100)
    for directory in (shared.path, shared.path / ".live", shared.path / ".protozorfs/feeds"):
        with os.scandir(directory) as entries:
            told = {entry.name: entry.inode() for entry in entries}
        assert told[path.name] == number(directory / path.name)


def test_a_handle_opens_the_feed_after_the_kernel_has_forgotten_it(shared: Staged) -> None:
    path = shared.followed(SIZE, SIZE)
    handle, content = handle_of(path), path.read_bytes()
    if not is_real_root():
        expect(errno.EPERM, lambda: open_handle(shared.path, handle))
        return
    forget_all()
    with os.fdopen(open_handle(shared.path, handle), "rb") as file:
        assert file.read() == content
        assert os.fstat(file.fileno()).st_ino == number(path)
    moved = path.rename(path.with_name(f"{path.name}-moved"))
    forget_all()
    os.close(open_handle(shared.path, handle))
    moved.unlink()
    forget_all()
    expect(errno.ESTALE, lambda: open_handle(shared.path, handle))


def test_handles_of_what_is_no_feed_are_stale_once_it_is_forgotten(shared: Staged) -> None:
    live = shared.path / ".live" / shared.followed(10, 10).name
    stranger = shared.path / crypto.key_pair(crypto.random_bytes(32)).public_key.hex()
    handles = [handle_of(live), handle_of(stranger)]
    if not is_real_root():
        expect(errno.EPERM, lambda: open_handle(shared.path, handles[0]))
        return
    os.close(open_handle(shared.path, handles[0]))
    forget_all()
    for handle in handles:
        expect(errno.ESTALE, lambda handle=handle: open_handle(shared.path, handle))  # type: ignore[misc]
    live.stat()  # the mount is well


def test_pages_of_another_history_are_not_shown(shared: Staged) -> None:
    """The inode stays in the kernel, by the name that is the feed's ID; so do its cached pages."""
    path = shared.followed(SIZE, SIZE)
    feed_id = os.getxattr(path, "protozorfs.id").decode()
    views = [shared.path / feed_id, shared.path / ".live" / path.name, path]
    shared.control("set", path.name, mtime_ns=10**18)
    assert [read_cached(view) for view in views] == [pattern_bytes(SIZE)] * 3
    path.unlink()
    path.symlink_to(feed_id)
    shared.control("stage", path.name, blocks=["x" * SIZE])
    shared.control("set", path.name, mtime_ns=10**18)  # as it was: nothing else tells the two
    assert [read_cached(view) for view in views] == [b"x" * SIZE] * 3


def read_cached(path: Path) -> bytes:
    """The first bytes of a file as the pages in the kernel's cache have them. (A new mapping would
    drop those first.)"""
    with path.open("rb") as file, tempfile.TemporaryFile() as copy:
        while copy.tell() < SIZE:
            os.sendfile(copy.fileno(), file.fileno(), None, SIZE - copy.tell())
        copy.seek(0)
        return copy.read()
