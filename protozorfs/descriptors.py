"""How many file descriptors a process may have, and how they are shared out.

| share | of what is left beside `RESERVED` |
|---|---|
| files of feeds | half, at most `MAX_FEED_FILES` |
| connections with peers | the rest |
"""

from __future__ import annotations

import resource

# What a mount at rest has open (the FUSE device, files of names, sockets of the DHT and of local
# discovery, ...: 27 with one link), and what is opened for a moment.
RESERVED = 40
MAX_FEED_FILES = 256
MIN_SHARE = 4  # whatever the limit: less than that is of no use
# As many as anybody here needs. A limit of a million or more, as some systems have it, costs time
# in children that go through all numbers to close them.
WANTED = 65536


def raise_limit() -> None:
    """Raises the soft limit to the hard one, which is what it is there for, or to WANTED."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def feed_files() -> int:
    """How many files of feeds may be open at once."""
    return max(MIN_SHARE, min(MAX_FEED_FILES, _left() // 2))


def connections() -> int:
    """How many connections with peers there may be."""
    return max(MIN_SHARE, _left() - feed_files())


def _left() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (WANTED if soft == resource.RLIM_INFINITY else soft) - RESERVED
