"""protozorfs.fs.mount_points: what needs no mount."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.fs.mount_points import (
    MountEntry,
    MountError,
    ascii_source,
    check_apart,
    parse_mountinfo,
    source_of_ascii,
)

LINES = rb"""
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
53 31 0:48 / /home/with\040blank\134 rw,nosuid - fuse.protozorfs /a\040store rw,user_id=0
54 31 0:49 / /home/x rw - tmpfs
nonsense
"""


def test_mountinfo() -> None:
    assert parse_mountinfo(LINES) == [
        MountEntry("98:0", "/mnt2", "ext3", "/dev/root"),
        MountEntry("0:48", "/home/with blank\\", "fuse.protozorfs", "/a store"),
        MountEntry("0:49", "/home/x", "tmpfs", ""),
    ]


def test_only_a_newline_ends_a_line_of_mountinfo() -> None:
    name = "/\v\f\x1c\x1d\x85\u2028\u0085\r".encode("utf-8", "surrogateescape") + b"\xff"
    (entry,) = parse_mountinfo(b"1 2 0:3 / %s\\012\\377 rw - tmpfs %s rw\n" % (name, name))
    assert os.fsencode(entry.path) == name + b"\n\xff"
    assert os.fsencode(entry.source) == name


@given(st.binary(max_size=20) | st.text("\\\\0123,é", max_size=12).map(str.encode))
def test_a_source_comes_back_from_its_ascii_form(path: bytes) -> None:
    source = os.fsdecode(path)
    text = ascii_source(source)
    assert text.isascii()
    assert text.isprintable()
    assert source_of_ascii(text) == source


@pytest.mark.parametrize(
    ("mount_point", "store", "sentence"),
    [
        ("/a/m", "/a/m", "/a/m: the store /a/m is in there, and would be hidden"),
        ("/a", "/a/b/store", "/a: the store /a/b/store is in there, and would be hidden"),
        ("/a/store/m", "/a/store", "/a/store/m: this is inside the store /a/store"),
        ("/a/m", "/a/mm", None),
        ("/a/mm", "/a/m", None),
    ],
)
def test_a_store_and_its_mount_point_are_apart(
    mount_point: str, store: str, sentence: str | None
) -> None:
    if sentence is None:
        check_apart(mount_point, Path(store))
        return
    with pytest.raises(MountError) as caught:
        check_apart(mount_point, Path(store))
    assert str(caught.value) == sentence


def test_a_link_does_not_hide_that_they_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "link").symlink_to("m")
    with pytest.raises(MountError, match="is in there"):
        check_apart(str(tmp_path / "m"), tmp_path / "link" / "store")
