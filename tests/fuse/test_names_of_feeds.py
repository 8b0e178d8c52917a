"""Names, IDs and attributes in a mount: docs/manual.md, "What can be done in a mount"."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto, ids
from protozorfs.types import FeedId
from tests.errnos import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse


def new_id() -> FeedId:
    return FeedId(crypto.key_pair(crypto.random_bytes(32)).public_key)


def create(path: bytes) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))


@pytest.mark.parametrize("form", [ids.format_hex, ids.format_zbase32])
def test_a_link_to_an_id_follows_it(shared: Staged, form: Callable[[FeedId], str]) -> None:
    feed_id = new_id()
    path = shared.path / f"follow-{form.__name__}"
    subprocess.run(["ln", "-sv", form(feed_id), path], check=True, capture_output=True)
    assert path.is_file()
    assert not path.is_symlink()
    assert os.getxattr(path, "protozorfs.id").decode() == feed_id.hex()
    assert os.getxattr(path, "protozorfs.owned") == b"0"
    expect(errno.EEXIST, lambda: os.symlink(feed_id.hex(), shared.path / "again"))
    expect(errno.EEXIST, lambda: os.symlink(new_id().hex(), path))
    path.unlink()
    assert not path.exists()


def test_other_links_are_invalid(shared: Staged) -> None:
    for target in ("x", "f" * 64, "g" * 64, "ü" * 32, "/etc/passwd"):
        expect(errno.EINVAL, lambda target=target: os.symlink(target, shared.path / "n"))  # type: ignore[misc]
    assert not (shared.path / "n").exists()


def test_a_valid_id_is_a_name_that_is_not_listed(shared: Staged) -> None:
    feed_id = new_id()
    path = shared.path / feed_id.hex()
    before = sorted(os.listdir(shared.path))
    assert path.stat().st_size == 1, "nothing is known of it, nor that it is empty"
    assert os.getxattr(path, "protozorfs.id") == feed_id.hex().encode()
    expect(errno.ENODATA, lambda: os.getxattr(path, "protozorfs.state"))
    assert (shared.path / ids.format_zbase32(feed_id)).stat().st_ino == path.stat().st_ino
    expect(errno.ENOENT, lambda: os.stat(shared.path / ("f" * 64)))
    expect(errno.EPERM, path.unlink)
    shared.control("stage", feed_id.hex(), blocks=["visited\n"])
    assert path.read_bytes() == b"visited\n"
    assert sorted(os.listdir(shared.path)) == before
    path.rename(shared.path / "kept")
    assert (shared.path / "kept").read_bytes() == b"visited\n"
    assert "kept" in os.listdir(shared.path)
    expect(errno.EACCES, lambda: os.open(path, os.O_WRONLY | os.O_APPEND))


def test_handles_are_given_back(shared: Staged) -> None:
    path = shared.followed(10, 10)
    with path.open("rb"):
        assert shared.control("show", path.name)["handles"] == 1
    deadline = 100  # RELEASE comes after close returned
    while shared.control("show", path.name)["handles"] and deadline:
        deadline -= 1
    assert shared.control("show", path.name)["handles"] == 0


def test_rename_never_replaces(shared: Staged) -> None:
    one, two = shared.owned(b"one"), shared.owned(b"two")
    expect(errno.EPERM, lambda: one.rename(two))
    subprocess.run(["mv", "-n", one, two], check=False, timeout=10)
    assert (one.read_bytes(), two.read_bytes()) == (b"one", b"two")
    three = shared.path / "three"
    one.rename(three)
    assert three.read_bytes() == b"one"
    assert not one.exists()
    expect(errno.EPERM, lambda: three.rename(shared.path / new_id().hex()))
    for reserved in (".live", ".protozorfs"):
        expect(errno.EISDIR, lambda name=reserved: three.rename(shared.path / name))  # type: ignore[misc]
    expect(errno.ENOENT, lambda: os.rename(shared.path / "nothing", shared.path / "n"))


def test_names_are_bytes_of_at_most_255(shared: Staged) -> None:
    root = os.fsencode(shared.path)
    for name in (b"with space", b"new\nline", b"\xff\xfe", b"x" * 255, "ü".encode()):
        with open(os.path.join(root, name), "ab", buffering=0) as file:
            file.write(name)
        assert name in os.listdir(root)
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == name
    expect(errno.ENAMETOOLONG, lambda: create(os.path.join(root, b"x" * 256)))
    expect(errno.EISDIR, lambda: create(os.path.join(root, b".live")))


def test_rm_keeps_owned_feeds_with_a_history(shared: Staged) -> None:
    empty, full = shared.owned(b""), shared.owned(b"x")
    empty.unlink()
    assert not empty.exists()
    expect(errno.EPERM, full.unlink)
    feed_id = os.getxattr(full, "protozorfs.id")
    expect(errno.EINVAL, lambda: os.setxattr(full, "protozorfs.delete_key", b"x"))
    expect(
        errno.EINVAL, lambda: os.setxattr(full, "protozorfs.delete_key", new_id().hex().encode())
    )
    os.setxattr(full, "protozorfs.delete_key", feed_id)
    assert not full.exists()


def test_a_feed_removed_while_open_reads_on(shared: Staged) -> None:
    path = shared.followed(100, 100)
    with path.open("rb", buffering=0) as file:
        assert file.read(10) == b"000000000000000"[:10]
        path.unlink()
        assert not path.exists()
        assert os.fstat(file.fileno()).st_size == 100
        assert len(file.read(1000)) == 90


def test_attributes_show_the_state(shared: Staged) -> None:
    path = shared.followed(100_000, 10_000)
    shared.control("set", path.name, peer_count=3, state="behind", fork=2, mtime_ns=10**18)
    expected = {
        "protozorfs.id": shared.control("show", path.name)["id"],
        "protozorfs.length": "1",
        "protozorfs.bytes": "100000",
        "protozorfs.local": "10000",
        "protozorfs.fork": "2",
        "protozorfs.owned": "0",
        "protozorfs.peers": "3",
        "protozorfs.state": "behind",
    }
    assert {name: os.getxattr(path, name).decode() for name in expected} == expected
    status = path.stat()
    assert (status.st_size, status.st_blocks, status.st_mtime_ns) == (100_000, 20, 10**18)
    assert status.st_uid == os.geteuid()
    assert os.statvfs(shared.path).f_namemax == 255
    assert os.statvfs(shared.path).f_blocks == os.statvfs("/").f_blocks


def test_attributes_are_not_listed(shared: Staged) -> None:
    """Who lists attributes copies them, and these can be set nowhere."""
    feeds = (shared.followed(10, 10), shared.owned())
    for path in (shared.path, *feeds, *(shared.path / ".live" / feed.name for feed in feeds)):
        assert os.listxattr(path) == []


def test_thousands_of_feeds_are_listed(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage() as staged:
        names = [f"feed{count:04}" for count in range(2000)]
        for name in names:
            create(os.fsencode(staged.path / name))
        assert sorted(os.listdir(staged.path)) == names
        assert sum(1 for entry in os.scandir(staged.path) if entry.is_file()) == 2000


def test_a_read_only_mount_refuses_writes(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage("-o", "ro") as staged:
        expect(errno.EROFS, lambda: create(os.fsencode(staged.path / "new")))
        assert os.listdir(staged.path) == []
