"""What the kernel is told of a feed's size while pages of it may be locked."""

from __future__ import annotations

import pytest

from protozorfs.fs.inodes import FeedInode
from protozorfs.fs.reads import is_of_pages
from protozorfs.types import FeedId


def test_nothing_new_is_told_while_a_read_of_pages_waits() -> None:
    inode = FeedInode(2, FeedId(bytes(32)))
    inode.tell(10, 1)
    with inode.locked_pages():
        with inode.locked_pages():
            inode.tell(20, 2)
        inode.tell(20, 2)
        assert (inode.told_length, inode.told_mtime_ns) == (10, 1)
    inode.tell(20, 2)
    assert (inode.told_length, inode.told_mtime_ns) == (20, 2)


def test_what_was_declined_is_forgotten_with_the_pages() -> None:
    inode = FeedInode(2, FeedId(bytes(32)))
    inode.tell(100_000, 1)
    assert inode.readahead.declines(0, 65_536)
    inode.tell(100_000, 1)
    assert not inode.readahead.declines(0, 32_768)
    inode.tell(100_001, 2)  # here the kernel drops all pages
    assert inode.readahead.declines(0, 32_768)


def test_reads_of_whole_pages() -> None:
    assert is_of_pages(0, 4096)
    assert is_of_pages(8192, 131_072)
    assert not is_of_pages(1, 4096)
    assert not is_of_pages(0, 4095)


def test_what_an_error_does_not_carry_is_not_told() -> None:
    inode = FeedInode(2, FeedId(bytes(32)))
    inode.tell(1, 1, is_unknown=True)

    def refuse() -> None:
        with inode.told_if_answered():
            inode.tell(20, 2)
            raise PermissionError

    with pytest.raises(PermissionError):
        refuse()
    assert (inode.told_length, inode.told_mtime_ns, inode.is_told_unknown) == (1, 1, True)
    with inode.told_if_answered():
        inode.tell(20, 2)
    assert (inode.told_length, inode.told_mtime_ns, inode.is_told_unknown) == (20, 2, False)
