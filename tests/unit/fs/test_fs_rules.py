"""The pure rules of the mount: policy, errnos, attributes as text, inodes."""

from __future__ import annotations

import errno
import os

import pytest

from protozorfs import crypto, errors, ids
from protozorfs.fs import errnos, policy, xattrs
from protozorfs.fs.inodes import ROOT_INODE, Inodes
from protozorfs.types import FeedId
from tests.memory_feeds import MemoryFeed, MemoryFeeds

ID = FeedId(crypto.key_pair(b"\1" * 32).public_key)
OTHER = FeedId(crypto.key_pair(b"\2" * 32).public_key)


@pytest.mark.parametrize(
    ("flags", "owned", "followed"),
    [
        (os.O_RDONLY, 0, 0),
        (os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT, 0, 0),
        (os.O_RDONLY | os.O_TRUNC, errno.EPERM, errno.EACCES),
        (os.O_WRONLY, errno.EPERM, errno.EACCES),
        (os.O_RDWR, errno.EPERM, errno.EACCES),
        (os.O_WRONLY | os.O_APPEND, 0, errno.EACCES),
        (os.O_RDWR | os.O_APPEND | os.O_SYNC, 0, errno.EACCES),
        (os.O_WRONLY | os.O_APPEND | os.O_TRUNC, errno.EPERM, errno.EACCES),
    ],
)
def test_open(flags: int, owned: int, followed: int) -> None:
    assert policy.open_refusal(is_owned=True, is_empty=False, flags=flags) == owned
    assert policy.open_refusal(is_owned=True, is_empty=True, flags=flags) == 0
    for is_empty in (False, True):
        refusal = policy.open_refusal(is_owned=False, is_empty=is_empty, flags=flags)
        assert refusal == followed


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        (b"journal", os.O_WRONLY | os.O_APPEND, 0),
        (b"journal", os.O_WRONLY | os.O_TRUNC, 0),
        (b"journal", os.O_WRONLY | os.O_EXCL, 0),
        (b"journal", os.O_RDWR, 0),
        (b"sedXXXXXX", os.O_RDWR | os.O_EXCL, errno.EPERM),
        (b".journal.swp", os.O_WRONLY, errno.EPERM),
    ],
)
def test_create(name: bytes, flags: int, expected: int) -> None:
    assert policy.create_refusal(name, flags, is_rotation=False) == expected


def test_a_rotator_makes_what_else_is_a_temporary_file() -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    assert policy.create_refusal(b"log", flags, is_rotation=False) == errno.EPERM
    assert policy.create_refusal(b"log", flags, is_rotation=True) == 0
    assert policy.create_refusal(b".log", flags, is_rotation=True) == errno.EPERM


def test_write() -> None:
    assert policy.write_refusal(appends=True, in_sequence=False, offset=0, end=9) == 0
    assert policy.write_refusal(appends=False, in_sequence=True, offset=9, end=9) == 0
    assert policy.write_refusal(appends=False, in_sequence=True, offset=8, end=9) == errno.EPERM
    assert policy.write_refusal(appends=False, in_sequence=False, offset=9, end=9) == errno.EPERM


def test_rename() -> None:
    def refusal(*, exists: bool = False, no_replace: bool = False, exchange: bool = False) -> int:
        return policy.rename_refusal(target_exists=exists, no_replace=no_replace, exchange=exchange)

    assert refusal() == refusal(no_replace=True) == 0
    assert refusal(exists=True) == errno.EPERM
    assert refusal(exists=True, no_replace=True) == errno.EEXIST
    assert refusal(exists=True, exchange=True) == errno.EPERM


def test_setattr() -> None:
    def refusal(*which: str, is_owned: bool) -> int:
        wanted = {name: name in which for name in ("size", "mode", "owner")}
        return policy.setattr_refusal(is_owned=is_owned, **wanted)

    for is_owned in (True, False):
        assert refusal(is_owned=is_owned) == 0
        assert refusal("mode", is_owned=is_owned) == errno.EPERM
        assert refusal("owner", is_owned=is_owned) == errno.EPERM
    assert refusal("size", is_owned=True) == errno.EPERM
    assert refusal("size", is_owned=False) == errno.EACCES


@pytest.mark.parametrize(
    ("present", "wanted", "alone", "shared"),
    [
        (0o100644, 0o100644, True, True),
        (0o100644, 0o600, True, False),
        (0o100644, 0o640, True, False),
        (0o100644, 0o755, True, True),
        (0o100644, 0o666, True, True),
        (0o100644, 0o444, False, False),
        (0o100644, 0o244, False, False),
        (0o100644, 0o4755, False, False),
        (0o100644, 0o2644, False, False),
        (0o100644, 0o1644, False, False),
        (0o040755, 0o700, True, False),
        (0o040755, 0o775, True, True),
        (0o040755, 0o555, False, False),
        (0o040755, 0o600, False, False),
        (0o040755, 0o1777, False, False),
    ],
)
def test_a_mode_is_passed_over_if_nobody_relies_on_it(
    present: int, wanted: int, *, alone: bool, shared: bool
) -> None:
    assert policy.is_mode_harmless(wanted, present, is_shared=False) == alone
    assert policy.is_mode_harmless(wanted, present, is_shared=True) == shared


def all_errors() -> list[type[errors.ProtozorfsError]]:
    """Every error class of the project's root module."""
    found = [errors.ProtozorfsError]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub.__module__ == errors.__name__]
    return found


# They never reach a file operation: of the peer protocol, of the command line, and base classes.
NOT_OF_FILES = {
    *("ProtozorfsError", "UsageError", "LocalProtocolError", "RemoteProtocolError"),
    *("InvalidProof", "UnanchoredProof", "InvalidSignature", "InvalidRequest", "ProofUnavailable"),
    *("StoreLocked", "FeedNameError"),
}


def test_every_error_of_the_layer_below_has_an_errno() -> None:
    unlisted = {kind.__name__ for kind in all_errors() if kind not in errnos.ERRNOS}
    assert unlisted == NOT_OF_FILES


def test_errnos() -> None:
    assert errnos.errno_of(errors.StoreCorrupt("data", 0, "bits")) == errno.EIO
    assert errnos.errno_of(errnos.Refused(errno.EPERM)) == errno.EPERM
    assert errnos.errno_of(OSError(errno.ENOSPC, "full")) == errno.ENOSPC
    assert errnos.errno_of(FileNotFoundError(errno.ENOENT, "of the store")) is None
    assert errnos.errno_of(ValueError()) is None

    class Special(errors.StoreFull):
        """A subclass is what its base is."""

    assert errnos.errno_of(Special()) == errno.ENOSPC


def test_xattrs() -> None:
    feed = MemoryFeed(ID, is_owned=True)
    assert xattrs.value(ID, feed, b"protozorfs.id") == ids.format_hex(ID).encode()
    assert xattrs.value(ID, feed, b"protozorfs.owned") == b"1"
    assert xattrs.value(ID, feed, b"protozorfs.delete_key") is None
    assert xattrs.value(ID, feed, b"user.id") is None
    assert xattrs.value(ID, None, b"protozorfs.id") == ids.format_hex(ID).encode()
    assert xattrs.value(ID, None, b"protozorfs.length") is None
    for name in (b"length", b"bytes", b"local", b"fork", b"peers", b"state"):
        assert xattrs.value(ID, feed, b"protozorfs." + name) is not None
    assert xattrs.change_refusal(b"user.x") == errno.EPERM
    assert xattrs.change_refusal(b"system.posix_acl_access") == errno.ENOTSUP


def test_an_inode_lives_as_long_as_the_kernel_or_a_handle_knows_it() -> None:
    inodes = Inodes(MemoryFeeds().numbers)
    inode = inodes.of_feed(ID)
    assert inode.number != ROOT_INODE
    inode.lookups += 2
    assert inodes.of_feed(ID) is inode
    assert inodes.of_feed(OTHER).number != inode.number
    inodes.opened(inode, MemoryFeed(ID, is_owned=False))
    inodes.forget(inode.number, 2)
    assert inodes.get(inode.number) is inode
    inodes.closed(inode)
    assert inodes.get(inode.number) is None
    assert inodes.of_feed(ID).number == inode.number
    inodes.forget(inodes.throw_away(), 1)


def test_a_handle_keeps_its_feed_and_gives_it_back() -> None:
    inodes = Inodes(MemoryFeeds().numbers)
    inode, feed = inodes.of_feed(ID), MemoryFeed(ID, is_owned=False)
    inode.lookups += 1
    inodes.opened(inode, feed)
    inodes.opened(inode, feed)
    inodes.closed(inode)
    assert inode.open_feed is feed
    inodes.closed(inode)
    assert inode.open_feed is None
    assert len(inodes) == 1
