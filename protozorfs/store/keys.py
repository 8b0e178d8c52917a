"""Secret keys on disk: 32-byte Ed25519 seeds in files of their own, readable by us alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import StoreCorrupt
from protozorfs.store.files import write_new

if TYPE_CHECKING:
    from protozorfs.store.files import Files
    from protozorfs.store.placement import Placement


def write_seed(files: Files, path: str, seed: bytes) -> None:
    """Writes a 32-byte seed; returns when it survives a power cut."""
    _check_seed(seed)
    files.replace(path, seed)


def write_new_seed(files: Files, path: str, seed: bytes) -> None:
    """Writes the seed of a feed that is being made; it is durable once its directory is."""
    _check_seed(seed)
    write_new(files, path, seed)


def _check_seed(seed: bytes) -> None:
    if len(seed) != crypto.SEED_BYTES:
        raise ValueError(f"a seed has {crypto.SEED_BYTES} bytes, not {len(seed)}")


def read_key_pair(files: Files, path: str) -> crypto.KeyPair | None:
    """The key pair of a seed's file, or None if there is no file.

    Raises:
        StoreCorrupt: the file does not hold 32 bytes.
    """
    try:
        seed = files.read(path)
    except FileNotFoundError:
        return None
    if len(seed) != crypto.SEED_BYTES:
        raise StoreCorrupt(path, 0, f"{len(seed)} bytes instead of a seed of {crypto.SEED_BYTES}")
    return crypto.key_pair(seed)


def load_or_make_key_pair(
    files: Files, path: str, placement: Placement, *, adopts: bool = False
) -> tuple[crypto.KeyPair, bool]:
    """The key pair of `path`; a new random one, made durable, if there is none, or in a copy.

    Two stores with one node key would take each other for themselves, and never connect.
    `adopts`: the user says that this is no copy.

    Returns:
        The pair, and whether it is new.
    """
    pair = read_key_pair(files, path)
    if pair is not None and (adopts or not placement.displacement()):
        return pair, False
    seed = crypto.random_bytes(crypto.SEED_BYTES)
    write_seed(files, path, seed)
    placement.keep()
    return crypto.key_pair(seed), True
