"""The users that there are, and what programs of other users need to run ours.

In the user namespace that `scripts/isolated` makes for whoever is not root, the others are those
that /etc/subuid lends; where it lends none, there is one user alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from shlex import quote

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
ROOT = Path(__file__).parents[1]
SET_USER_ID = ("fusermount3", "mount", "umount")  # in /usr/bin, and of root
_PROBE_SECONDS = 30.0


def _uid_map() -> list[list[int]]:
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def has_user(uid: int) -> bool:
    """Whether a number stands for a user here: the kernel refuses the others with EINVAL."""
    return any(first <= uid < first + count for first, _, count in _uid_map())


def is_real_root() -> bool:
    """Whether root here is the machine's, who may make devices and mount what is on them."""
    return os.geteuid() == 0 and _uid_map() == [[0, 0, 4294967295]]


@cache
def missing_for_others() -> str | None:
    """Why nobody else can run our programs here, or None."""
    if os.geteuid() != 0 or not has_user(NOBODY):
        return "there is no other user: uidmap is missing, or /etc/subuid lends nobody"
    probe = [*AS_NOBODY, sys.executable, "-c", "import protozorfs"]
    with tempfile.TemporaryDirectory(prefix="protozorfs-") as scratch:
        os.chmod(scratch, 0o755)
        script = f'set -e\n{admitting(scratch)}\nexec "$@"'
        command = ["unshare", "--mount", "bash", "-c", script, "probe", *probe]
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS)
    return "other users cannot read this checkout" if done.returncode else None


def admitting(scratch: str) -> str:
    """Shell lines after which other users can run our programs; for a mount namespace of its own.

    A checkout in a home that is closed to others is opened to them: its path leads there through
    empty directories. Programs that are set-user-ID root are that for the root of a user namespace,
    too. `scratch` is an empty directory that everybody can reach.
    """
    at = quote(scratch)
    lines, restoring = [], []
    for number, path in enumerate((ROOT, Path(sys.base_prefix))):
        if (above := _closed(path)) is not None:
            kept, target = f"{at}/kept{number}", quote(str(path))
            lines.append(f"mkdir -p {kept} && mount --rbind {target} {kept}")
            restoring.append(f"mount -t tmpfs -o mode=755 tmpfs {quote(str(above))}")
            restoring.append(f"mkdir -p {target} && mount --rbind {kept} {target}")
    lines += sorted(restoring, key=lambda line: line.startswith("mkdir"))
    if not is_real_root():
        lines += [
            f"cp /usr/bin/{name} {at}/{name} && chmod 4755 {at}/{name}"
            f" && mount --bind {at}/{name} /usr/bin/{name}"
            for name in SET_USER_ID
        ]
    return "\n".join(lines)


def _closed(path: Path) -> Path | None:
    """The first directory on the way to a path that others cannot pass, or None."""
    for above in [*reversed(path.parents), path]:
        if not above.stat().st_mode & 0o001:
            return above
    return None
