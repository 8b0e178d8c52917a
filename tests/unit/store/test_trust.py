"""protozorfs.store.trust: a store that somebody else could exchange is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreLocked, StoreRefused, UsageError
from protozorfs.store import making
from protozorfs.store.layout import Store
from protozorfs.store.trust import check_way, group_members, open_way, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable

SOMEBODY = 1  # "daemon", on every system; in a user namespace one that is lent
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_a_way_of_ones_own_is_safe(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a/../a")
    for path in (tmp_path / "a", tmp_path / "link", tmp_path / "link" / ".." / "a"):
        descriptor = open_way(path)
        assert os.path.samestat(os.fstat(descriptor), (tmp_path / "a").stat())
        os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        check_way(tmp_path / "none")


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        check_way(tmp_path / "a")


def test_a_relative_way_begins_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[Path] = []
    os.close(open_way(Path("a/b"), made.append))
    assert made == [tmp_path / "a", tmp_path / "a" / "b"]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o707])
def test_where_everybody_may_write_nothing_is_safe(tmp_path: Path, mode: int) -> None:
    Store(tmp_path / "open" / "store").close()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(StoreRefused, match="open cannot be trusted: everybody may write there"):
        Store(tmp_path / "open" / "store")
    (tmp_path / "open").chmod(0o1777)  # as /tmp
    Store(tmp_path / "open" / "store").close()


@needs_root
def test_a_directory_on_the_way_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "theirs" / "store").close()
    os.chown(tmp_path / "theirs", SOMEBODY, -1)
    for mode in (0o755, 0o1777):
        (tmp_path / "theirs").chmod(mode)
        with pytest.raises(StoreRefused, match="theirs cannot be trusted: it belongs to user"):
            Store(tmp_path / "theirs" / "store")


@needs_root
def test_a_store_of_somebody_else_is_refused_and_untouched(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    os.chown(tmp_path / "store", SOMEBODY, -1)
    (tmp_path / "store" / "lock").unlink()
    with pytest.raises(StoreRefused, match="store cannot be trusted: it belongs to user"):
        Store(tmp_path / "store")
    assert not (tmp_path / "store" / "lock").exists()


@needs_root
def test_a_link_of_somebody_else_is_followed_nowhere(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    (tmp_path / "open" / "link").symlink_to(tmp_path / "store")
    Store(tmp_path / "open" / "link").close()
    os.chown(tmp_path / "open" / "link", SOMEBODY, -1, follow_symlinks=False)
    with pytest.raises(StoreRefused, match="link cannot be trusted"):
        Store(tmp_path / "open" / "link")


@needs_root
def test_a_group_of_others_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o770)
    os.chown(tmp_path / "shared", -1, 4321)
    assert group_members(4321) == set()
    Store(tmp_path / "shared" / "store").close()  # a group of nobody that is known
    monkeypatch.setattr("protozorfs.store.trust.group_members", lambda gid: {"root", "eve"})
    with pytest.raises(StoreRefused, match="user eve, as a member of its group, may write there"):
        Store(tmp_path / "shared" / "store")


def test_a_store_without_its_lock_opens_and_a_second_process_does_not(tmp_path: Path) -> None:
    with Store(tmp_path / "store"):
        (tmp_path / "store" / "lock").unlink()
        with pytest.raises(StoreLocked, match="in use"):
            Store(tmp_path / "store")
    (tmp_path / "store" / "lock").unlink()
    with Store(tmp_path / "store"):
        assert (tmp_path / "store" / "lock").exists()


def refuse(*_: object) -> None:
    raise PermissionError(1, os.strerror(1))


@pytest.mark.parametrize("how", [refuse, lambda *_: None], ids=["refused", "ignored"])
def test_a_file_system_without_modes_will_do_where_nobody_else_can_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Callable[..., None]
) -> None:
    (tmp_path / "vfat").mkdir()
    store = tmp_path / "vfat" / "store"
    store.mkdir()
    store.chmod(0o755)
    monkeypatch.setattr(os, "fchmod", how)
    with monkeypatch.context() as patch:
        patch.setattr(making, "is_open_to_others", lambda path: True)
        with pytest.raises(UsageError, match="is open to other users, and that cannot be changed"):
            Store(store)
    (tmp_path / "vfat").chmod(0o700)
    Store(store).close()
    assert stat.S_IMODE(store.stat().st_mode) == 0o755


def test_what_is_made_is_synced_with_all_directories_above(tmp_path: Path) -> None:
    """By the system calls of a process: nothing else shows it."""
    script = (
        "import os, sys, pathlib\n"
        "synced = []\n"
        "fsync = os.fsync\n"
        "def recorded(fd): synced.append(os.path.realpath(f'/proc/self/fd/{fd}')); fsync(fd)\n"
        "os.fsync = recorded\n"
        "from protozorfs.store.layout import Store\n"
        "Store(pathlib.Path(sys.argv[1])).close()\n"
        "print('\\n'.join(synced))\n"
    )
    path = tmp_path / "a" / "b" / "store"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[:4] == [
        str(tmp_path),
        str(tmp_path / "a"),
        str(tmp_path / "a" / "b"),
        str(path),
    ]


def test_names_in_a_directory_that_cannot_be_read_are_synced_with_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    descriptor = os.open(tmp_path, os.O_PATH)

    def unreadable(*_: object, **__: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", unreadable)
        patch.setattr(os, "sync", lambda: synced.append("all"))
        sync_directory(descriptor)
    os.close(descriptor)
    assert synced == ["all"]
