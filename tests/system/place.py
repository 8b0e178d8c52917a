"""A machine of its own for a test, as far as mounting goes: helpers, fstab, /dev, other users.

Made of mount, PID and network namespaces, so that nothing of it is seen outside, and everything in
it, a daemon or a mount, ends with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mounts import mount_fusectl
from tests.users import AS_NOBODY, admitting, missing_for_others

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMMAND_SECONDS = 30.0
QUIET = "nodht,nolan,noportmap,listen=127.0.0.1"  # mount options: no network but loopback
HOLD_SECONDS = 3600  # longer than any test, an end all the same
# mount(8) finds helpers in /sbin alone. $1 is the directory of the place, $2 that of the commands.
# Root of a user namespace has the devices of the machine, and makes none.
SET_UP = f"""
set -e
device() {{
  mknod -m 666 "$1" c $2 $3 2> /dev/null || {{ touch "$1" && mount --bind "/dev/${{1##*/}}" "$1"; }}
}}
ip link set lo up
mkdir "$1/sbin" "$1/dev"
for name in mount umount; do
  ln -s "$2/$name.protozorfs" "$1/sbin/$name.protozorfs"
done
ln -s "$2/umount.protozorfs" "$1/sbin/umount.fuse.protozorfs"
mount -t overlay overlay -o "lowerdir=$1/sbin:/usr/sbin" /usr/sbin
mount -t tmpfs tmpfs /run                       # where mount(8) keeps notes
mount -t tmpfs tmpfs "$1/dev"
device "$1/dev/null" 1 3
device "$1/dev/urandom" 1 9
device "$1/dev/fuse" 10 229
ln -s "$1/log" "$1/dev/log"
ln -s /proc/self/fd "$1/dev/fd"
touch "$1/fstab"
mount --bind "$1/fstab" /etc/fstab
mount --rbind "$1/dev" /dev
echo up
exec sleep {HOLD_SECONDS}
"""


@dataclass(frozen=True)
class Place:
    """Commands run in it have the installed commands in their PATH.

    Attributes:
        directory: shared with the outside; every user may write there.
        pid: of its first process.
    """

    directory: Path
    pid: int

    @property
    def fstab(self) -> Path:
        """Its /etc/fstab."""
        return self.directory / "fstab"

    def command(self, script: str, *, as_nobody: bool = False) -> list[str]:
        """The command line that runs a shell script there."""
        return [
            *("nsenter", f"--target={self.pid}", "--mount", "--pid", "--net"),
            *("env", "--default-signal", f"PATH={BIN}:/usr/bin:/usr/sbin"),
            *(f"HOME={self.directory}", *(AS_NOBODY if as_nobody else ()), "bash", "-c"),
            f"cd {self.directory}\n{script}",  # nsenter's own --wd is a directory outside
        ]

    def run(
        self, script: str, *, as_nobody: bool = False, seconds: float = COMMAND_SECONDS
    ) -> tuple[int, str, str]:
        """The exit code of a script, and what it says on its two outputs."""
        done = subprocess.run(
            self.command(script, as_nobody=as_nobody),
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        return done.returncode, done.stdout, done.stderr

    def must(self, script: str, *, as_nobody: bool = False) -> str:
        """Runs a script that has to succeed in silence on standard error; returns its output."""
        code, said, complaint = self.run(script, as_nobody=as_nobody)
        assert (code, complaint) == (0, ""), (script, code, said, complaint)
        return said

    def directories(self, *names: str) -> None:
        """Makes directories that every user may use."""
        for name in names:
            (self.directory / name).mkdir()
            (self.directory / name).chmod(0o777)


@contextmanager
def place() -> Iterator[Place]:
    """Makes one; skips the test where that is not possible."""
    reason = missing_for_others()
    if reason is not None:
        pytest.skip(reason)
    mount_fusectl()
    with tempfile.TemporaryDirectory(prefix="protozorfs-") as name:
        os.chmod(name, 0o1777)  # as /tmp
        (Path(name) / "programs").mkdir()
        set_up = SET_UP.replace("set -e\n", f"set -e\n{admitting(f'{name}/programs')}\n")
        command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
        with subprocess.Popen(
            [*command, "bash", "-c", set_up, "place", name, str(BIN)],
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "up\n"
                yield Place(Path(name), _child_of(holder.pid))
            finally:
                holder.kill()


def _child_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def wait_until_free(store: Path, seconds: float) -> None:
    """Returns when no daemon holds the store any more."""
    deadline = time.monotonic() + seconds
    while subprocess.run(["flock", "--nonblock", store / "lock", "true"]).returncode:
        assert time.monotonic() < deadline, f"{store} is still in use"
        time.sleep(0.02)
