"""protozorfs.fs.mount_points: what needs no mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from protozorfs.fs.mount_points import MountEntry, MountError, check_apart, parse_mountinfo

LINES = r"""
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
