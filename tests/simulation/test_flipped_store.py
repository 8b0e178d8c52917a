"""One bit of any file of a store is another one than was written.

Nobody is shown a wrong byte, nothing is given up for it, and the check says it. The table of bytes
without a meaning is in docs/check.md.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulation.flipped_store import (
    IDS,
    SPARSE,
    SUMS,
    Used,
    draw,
    feed_of,
    files_of,
    findings,
    flip,
    has_meaning,
    make,
    use,
)
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator

FLIPS = long_or_short(1000, 2)  # in files of each name, of all feeds together
LEAST = 2  # in each file
MEMORY = Path("/dev/shm")  # where syncs cost nothing
# Whatever uses a feed writes to these, or takes them away.
CHANGED = (
    "clean",
    "bitfield",
    "bitfield.log",
    "head",
    "tree",
    "place",
    "node_key_place",
    *("secret", "secret.copy", "node_key", "node_key.copy"),
    "names",
    "names.copy",
    *SUMS,
)
NOT_OPENED = ("format",)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for stores."""
    path = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "unclean"])
def test_no_flipped_bit_is_shown_or_passed_over(place: Path, *, is_clean: bool) -> None:
    store, copy = place / f"made-{is_clean}", place / "copy"
    make(store, is_clean=is_clean)
    plain = place / "plain"
    shutil.copytree(store, plain)
    found = cache(lambda only: frozenset(findings(plain, only)))
    for only in (None, *IDS.values()):
        found(only)
    whole = use(plain)
    kinds = Counter(kind_of(path) for path in files_of(store))
    for path in files_of(store):
        feed, kind = feed_of(path), kind_of(path)
        for number in range(max(LEAST, -(-FLIPS // kinds[kind]))):
            seed = zlib.crc32(f"{kind} {feed} {number}".encode())
            one = draw(store, path, random.Random(seed))
            shutil.copytree(store, copy)
            flip(copy, one)
            before, only = contents(copy), None if feed is None else IDS[feed]
            if has_meaning(store, one):
                assert findings(copy, only) != found(only), (feed, one)
                assert contents(copy) == before
            check_used(one.path, feed, use(copy, feed), whole, is_clean=is_clean)
            check_nothing_is_deleted(before, contents(copy), path)
            shutil.rmtree(copy)
    shutil.rmtree(plain)


def kind_of(path: str) -> str:
    return path.rpartition("/")[2]


def contents(store: Path) -> dict[str, bytes]:
    return {path: (store / path).read_bytes() for path in files_of(store)}


def check_used(path: str, feed: str | None, used: Used, whole: Used, *, is_clean: bool) -> None:
    """What could be read before, still can, but for the block that the bit is in."""
    name = kind_of(path)
    if used.names is None:
        assert name in NOT_OPENED
        return
    assert used.names == whole.names
    for one, blocks in used.blocks.items():
        before = whole.blocks[one]
        assert before is not None
        if blocks is None:
            assert name in NOT_OPENED
            continue
        lost = len(before - blocks)
        if name == "tree" and (not is_clean or feed == SPARSE):
            continue  # what cannot be computed is fetched again
        assert lost <= (name == "data"), (path, lost)


def check_nothing_is_deleted(before: dict[str, bytes], after: dict[str, bytes], path: str) -> None:
    """Every file is there, and holds what it held."""
    for name, content in before.items():
        last = kind_of(name)
        if last not in CHANGED and name != path:
            assert after.get(name) == content or last == "inodes", name
        elif last == "data":
            assert after[name] == content, name
