"""How many READs of the page cache the kernel lets wait at once.

`sendfile`, `splice` and faults of a private `mmap` read through the page cache, as background
requests; the kernel hands out 12 of them and queues the rest, of all files. A read that waits for
missing bytes would keep its place for as long, so the limit is raised at mount. Source: Linux
Documentation/filesystems/fuse/fuse.rst (`max_background`).
"""

from __future__ import annotations

import logging
from pathlib import Path

CONNECTIONS = Path("/sys/fs/fuse/connections")
USERS_LIMIT = Path("/sys/module/fuse/parameters/max_user_bgreq")  # for who is not root
ROOTS_LIMIT = 65535  # the kernel keeps 16 bits

log = logging.getLogger(__name__)


def raise_limit(device: int) -> int | None:
    """Raises the limit of the mount with that device number; returns the new one.

    None if it stays as it is: fusectl is not mounted (as in containers), or not ours to write. A
    dozen such reads can then hold up all others of the kind; docs/limits.md says so.
    """
    connection = CONNECTIONS / str(device)
    for limit in _limits():
        try:
            # The threshold of congestion must follow, or readers are slowed down at three quarters.
            (connection / "max_background").write_text(f"{limit}\n")
            (connection / "congestion_threshold").write_text(f"{limit}\n")
        except OSError as error:
            log.debug("page-cache reads: %d at once are not allowed: %s", limit, error)
        else:
            return limit
    log.info("only a dozen reads through the page cache can wait at once: no use of %s", connection)
    return None


def _limits() -> list[int]:
    limits = [ROOTS_LIMIT]
    try:
        limits.append(int(USERS_LIMIT.read_text()))
    except (OSError, ValueError) as error:
        log.debug("no limit for users: %s", error)
    return limits
