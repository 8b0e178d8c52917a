"""Secret keys on disk: 32-byte Ed25519 seeds, each in two files, readable by us alone.

| file | its copy | how it is known which of them is right |
|---|---|---|
| `secret` of a feed | `secret.copy`: the same bytes | the public key is the feed's ID |
| `node_key` | `node_key.copy`: the same bytes and their BLAKE2b-256 | the checksum |

A file that is damaged or missing is written anew from the other, and only from that: no key is ever
made in the place of one that cannot be read.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import StoreCorrupt
from protozorfs.ids import public_key_of
from protozorfs.store.files import parent_of, write_new

if TYPE_CHECKING:
    from protozorfs.store.files import Files
    from protozorfs.store.placement import Placement
    from protozorfs.types import FeedId

COPY_SUFFIX = ".copy"
NODE_KEY_FILES = ("node_key", "node_key" + COPY_SUFFIX)
_CHECKSUM_BYTES = 32

logger = logging.getLogger(__name__)


def write_seed(files: Files, path: str, seed: bytes) -> None:
    """Writes a 32-byte seed; returns when it survives a power cut."""
    _check_seed(seed)
    files.replace(path, seed)


def write_new_seed(files: Files, path: str, seed: bytes) -> None:
    """Writes the seed of a feed that is being made, and its copy.

    They are durable once their directory is.
    """
    _check_seed(seed)
    for each in (path, path + COPY_SUFFIX):
        write_new(files, each, seed)


def _check_seed(seed: bytes) -> None:
    if len(seed) != crypto.SEED_BYTES:
        raise ValueError(f"a seed has {crypto.SEED_BYTES} bytes, not {len(seed)}")


def read_feed_key(files: Files, path: str, feed_id: FeedId) -> crypto.KeyPair | None:
    """The key pair of a feed; None if neither of its two files is there. Nothing is written.

    Raises:
        StoreCorrupt: none of them holds the key of this feed.
    """
    found = [_read(files, each) for each in (path, path + COPY_SUFFIX)]
    if found == [None, None]:
        return None
    for each, what in damaged_feed_seeds(files, path, feed_id).items():
        logger.error("%s is %s", each, what)
    right = next((pair for seed in found if (pair := _feed_key(seed, feed_id))), None)
    if right is None:
        raise StoreCorrupt(path, 0, "not the key of this feed, nor is its copy: put a backup there")
    return right


def damaged_feed_seeds(files: Files, path: str, feed_id: FeedId) -> dict[str, str]:
    """Those of an owned feed's two files that do not hold its key: "damaged", or "missing".

    A store of version 0.1.0 has no copies until it is written to: none is missed.
    """
    damaged = {}
    for each in (path, path + COPY_SUFFIX):
        content = _read(files, each)
        if _feed_key(content, feed_id) is None and (content is not None or each == path):
            damaged[each] = "missing" if content is None else "damaged"
    return damaged


def damaged_node_seeds(files: Files, path: str) -> dict[str, str]:
    """Those of the node's two files that are "damaged", or "missing"; none of a node without a key.

    If it is one, the other mends it. No copy is missed, as in a store of version 0.1.0.
    """
    content, copy = _read(files, path), _read(files, path + COPY_SUFFIX)
    copied = _checked_seed(copy)
    damaged = {}
    if content is None:
        if copy is not None:
            damaged[path] = "missing"
    elif len(content) != crypto.SEED_BYTES if copied is None else content != copied:
        damaged[path] = "damaged"
    if copy is not None and copied is None:
        damaged[path + COPY_SUFFIX] = "damaged"
    return damaged


def mend_feed_seed(files: Files, path: str, pair: crypto.KeyPair) -> bool:
    """Writes those of a feed's two files, durably, that do not hold its key.

    Returns whether the file `path` itself is another one now.
    """
    is_renewed = False
    for each in (path, path + COPY_SUFFIX):
        if _read(files, each) != pair.seed:
            write_seed(files, each, pair.seed)
            is_renewed = is_renewed or each == path
    return is_renewed


def load_or_make_key_pair(
    files: Files, path: str, placement: Placement, *, adopts: bool = False
) -> tuple[crypto.KeyPair, bool]:
    """The node's key pair; a new random one, made durable, if there is none, or in a copy.

    Two stores with one node key would take each other for themselves, and never connect.
    `adopts`: the user says that this is no copy. Where nothing says where the store was, it is
    none either: a copy has that, too.

    Returns:
        The pair, and whether it is new.

    Raises:
        StoreCorrupt: neither the file nor its copy can be read.
    """
    content, copy = _read(files, path), _read(files, path + COPY_SUFFIX)
    if content is None and copy is None:
        return _make_key_pair(files, path, placement), True
    copied = _checked_seed(copy)
    seed = content if copied is None else copied
    if seed is None:
        raise StoreCorrupt(path, 0, "it is missing, and its copy is damaged: put a backup there")
    if len(seed) != crypto.SEED_BYTES:
        raise StoreCorrupt(path, 0, f"{len(seed)} bytes instead of a seed of {crypto.SEED_BYTES}")
    is_placed = placement.is_known()
    missing = () if content is not None else (path,)
    if is_placed and not adopts and placement.displacement(missing):
        return _make_key_pair(files, path, placement), True
    if content != seed:
        what = "missing" if content is None else "damaged"
        logger.error("the store's file %s is %s, and written anew from its copy", path, what)
        placement.forget()  # it is of the file that goes: interrupted, this must not be a copy
        files.sync_dir(parent_of(path))
        write_seed(files, path, seed)
    if content != seed or not is_placed:
        placement.keep()
    if copied is None:
        _write_checked_seed(files, path + COPY_SUFFIX, seed)
    return crypto.key_pair(seed), False


def _make_key_pair(files: Files, path: str, placement: Placement) -> crypto.KeyPair:
    seed = crypto.random_bytes(crypto.SEED_BYTES)
    write_new(files, path, seed)
    _write_checked_seed(files, path + COPY_SUFFIX, seed)  # durable, and with it the file before
    placement.keep()  # the last: beside the copy of another key it would be that key's
    return crypto.key_pair(seed)


def _read(files: Files, path: str) -> bytes | None:
    """None if there is no such file; what the disk cannot read is damaged, like an empty one."""
    try:
        return files.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _feed_key(seed: bytes | None, feed_id: FeedId) -> crypto.KeyPair | None:
    if seed is None or len(seed) != crypto.SEED_BYTES:
        return None
    pair = crypto.key_pair(seed)
    return pair if pair.public_key == public_key_of(feed_id) else None


def _write_checked_seed(files: Files, path: str, seed: bytes) -> None:
    files.replace(path, seed + crypto.blake2b_256(seed))


def _checked_seed(content: bytes | None) -> bytes | None:
    """The seed of a copy with a checksum; None if it is damaged or missing."""
    if content is None or len(content) != crypto.SEED_BYTES + _CHECKSUM_BYTES:
        return None
    seed, checksum = content[: crypto.SEED_BYTES], content[crypto.SEED_BYTES :]
    return seed if crypto.blake2b_256(seed) == checksum else None
