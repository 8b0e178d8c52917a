"""Setting what cannot be kept: accepted on a feed of one's own if nobody relies on it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.errnos import expect
from tests.users import NOBODY, has_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

KEPT_BY_ALL = (0o644, 0o664, 0o666, 0o755, 0o777)
TAKES_READ_FROM_OTHERS = (0o600, 0o640, 0o604, 0o700)
NEVER = (0o000, 0o400, 0o444, 0o200, 0o044, 0o4755, 0o2755, 0o1644)


def expect_modes(path: Path, accepted: tuple[int, ...], refused: tuple[int, ...]) -> None:
    before = path.stat()
    for mode in accepted:
        path.chmod(mode)
    for mode in refused:
        expect(errno.EPERM, lambda mode=mode: path.chmod(mode))  # type: ignore[misc]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for mode in accepted:
            os.fchmod(descriptor, mode)
        for mode in refused:
            expect(errno.EPERM, lambda mode=mode: os.fchmod(descriptor, mode))  # type: ignore[misc]
    finally:
        os.close(descriptor)
    assert path.stat() == before


def test_modes_are_accepted_that_take_nothing_from_the_owner(shared: Staged) -> None:
    expect_modes(shared.owned(), KEPT_BY_ALL + TAKES_READ_FROM_OTHERS, NEVER)


def test_others_who_may_read_are_not_said_to_be_shut_out(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage("-o", "allow_other") as staged:
        expect_modes(staged.owned(), KEPT_BY_ALL, TAKES_READ_FROM_OTHERS + NEVER)
        staged.path.chmod(0o775)
        expect(errno.EPERM, lambda: staged.path.chmod(0o700))


def test_the_owner_is_accepted_who_is_there(shared: Staged) -> None:
    path = shared.owned()
    uid, gid = os.geteuid(), os.getegid()
    before = path.stat()
    for new_uid, new_gid in ((uid, gid), (-1, gid), (uid, -1), *((-1, g) for g in os.getgroups())):
        os.chown(path, new_uid, new_gid)
    if has_user(1):
        for new_uid, new_gid in ((1, -1), (-1, 12345), (uid, 12345), (1, gid)):
            expect(errno.EPERM, lambda u=new_uid, g=new_gid: os.chown(path, u, g))  # type: ignore[misc]
    assert path.stat() == before


def test_nothing_is_accepted_on_a_feed_of_somebody_else(shared: Staged) -> None:
    path = shared.followed(10, 10)
    for mode in (0o444, 0o644, 0o600):
        expect(errno.EPERM, lambda mode=mode: path.chmod(mode))  # type: ignore[misc]
    expect(errno.EPERM, lambda: os.chown(path, os.geteuid(), os.getegid()))


def test_the_directory_takes_the_attributes_of_the_one_that_is_copied(shared: Staged) -> None:
    """`cp -a DIR/. MOUNT`, `tar x` and rsync set them at the end."""
    before = shared.path.stat()
    for mode in (0o755, 0o700, 0o775):
        shared.path.chmod(mode)
    os.chown(shared.path, before.st_uid, before.st_gid)
    for mode in (0o555, 0o600, 0o1777, 0o2755):
        expect(errno.EPERM, lambda mode=mode: shared.path.chmod(mode))  # type: ignore[misc]
    if has_user(1):
        expect(errno.EPERM, lambda: os.chown(shared.path, 1, 1))
    after = shared.path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_an_empty_feed_may_be_opened_for_writing(shared: Staged) -> None:
    """What `cp` of uutils does, which makes the file before it copies; and `touch f; ... > f`."""
    path = shared.owned(b"")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.ftruncate(descriptor, 0)
        expect(errno.EPERM, lambda: os.pwrite(descriptor, b"x", 1))
        os.write(descriptor, b"abc")
        with path.open("ab", buffering=0) as other:
            other.write(b"def")
        expect(errno.EPERM, lambda: os.write(descriptor, b"x"))  # no longer at the end
    finally:
        os.close(descriptor)
    expect(errno.EPERM, lambda: os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert path.read_bytes() == b"abcdef"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(not has_user(NOBODY), reason="there is nobody else here")
def test_strangers_set_nothing(stage: Callable[..., AbstractContextManager[Staged]]) -> None:
    from tests.fuse.test_other_users import as_nobody

    with stage("-o", "allow_other") as staged:
        path = staged.owned()
        for call in ("os.chmod(p, 0o644)", "os.chmod(p, 0o666)", f"os.chown(p, -1, {NOBODY})"):
            expression = call.replace("p,", f"{path.name!r},")
            assert as_nobody(expression, staged.path) == str(errno.EPERM), call
