"""What users other than the one who mounts may do: read, if `allow_other` lets them in."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.users import NOBODY, has_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]
needs_others = pytest.mark.skipif(not has_user(NOBODY), reason="there is nobody else here")

ATTEMPT = f"""
import os, sys
os.chdir(sys.argv[2])
os.setuid({NOBODY})
try:
    print(eval(sys.argv[1]))
except OSError as error:
    print(error.errno)
"""


def as_nobody(expression: str, directory: Path) -> str:
    """What an expression gives in the mount, or the errno."""
    command = [sys.executable, "-c", ATTEMPT, expression, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


@needs_others
def test_strangers_read_and_change_nothing(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage("-o", "allow_other") as staged:
        owned, followed = staged.owned(), staged.followed(5, 5)
        feed_id = os.getxattr(owned, "protozorfs.id").decode()
        for expression in (
            f"os.open('{owned.name}', os.O_WRONLY | os.O_APPEND)",
            f"os.open('{followed.name}', os.O_WRONLY | os.O_APPEND)",
            "os.open('new', os.O_WRONLY | os.O_CREAT)",
            f"os.unlink('{followed.name}')",
            f"os.rename('{followed.name}', 'b')",
            f"os.symlink('{feed_id}', 'new')",
            f"os.setxattr('{owned.name}', 'protozorfs.delete_key', b'{feed_id}')",
        ):
            assert as_nobody(expression, staged.path) == str(errno.EACCES), expression
        assert as_nobody(f"os.utime('{owned.name}')", staged.path) == str(errno.EPERM)
        assert as_nobody(f"open('{owned.name}').read()", staged.path) == "hello"
        assert as_nobody(f"os.access('{owned.name}', os.R_OK)", staged.path) == "True"
        assert as_nobody(f"os.access('{owned.name}', os.W_OK)", staged.path) == "False"
        assert as_nobody("os.access('.', os.W_OK)", staged.path) == "False"
        assert sorted(os.listdir(staged.path)) == sorted([owned.name, followed.name])


@needs_others
def test_without_allow_other_nobody_gets_in(shared: Staged) -> None:
    shared.owned()
    command = [sys.executable, "-c", ATTEMPT, "os.listdir(sys.argv[2])", "/"]
    command[3] = f"os.listdir({str(shared.path)!r})"
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.strip() == str(errno.EACCES)


def test_access_tells_what_open_would_do(shared: Staged) -> None:
    owned, followed = shared.owned(), shared.followed(5, 5)
    assert os.access(owned, os.R_OK | os.W_OK)
    assert os.access(followed, os.R_OK)
    assert not os.access(followed, os.W_OK)
    assert not os.access(owned, os.X_OK)
    assert os.access(shared.path, os.R_OK | os.W_OK | os.X_OK)
