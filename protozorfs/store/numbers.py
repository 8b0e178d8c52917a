"""What inode numbers are derived with: a secret key, and the numbers that could not be derived.

The file `inodes`, replaced as a whole; integers are little-endian:

    size
       8   "pzfsinod"
       2   version: 1
       2   count of entries
      32   the key
       .   entries: size of the identity 2, identity, number 8
      32   BLAKE2b-256 of all before it
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import DecodeError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protozorfs.store.files import Files

INODES_FILE = "inodes"
KEY_BYTES = 32
MAX_KEPT = 1024  # one is one too many to expect; then numbers are of this run only
_MAGIC = b"pzfsinod"
_VERSION = 1
_HEAD = struct.Struct(f"<8sHH{KEY_BYTES}s")
_SIZE = struct.Struct("<H")
_NUMBER = struct.Struct("<Q")
_CHECKSUM_BYTES = 32
assert _HEAD.size == 44

logger = logging.getLogger(__name__)


class KeptNumbers:
    """The key of a store's inode numbers, and the numbers that collisions gave.

    Attributes:
        key: 32 bytes, secret: who knows it can make two feeds of one number.
        numbers: by identity; see `feeds.numbers`.
    """

    def __init__(self, files: Files, node_seed: bytes) -> None:
        """Reads the file, or makes it when it is missing or damaged.

        The first key follows from the seed of the node's own key. So it is the same again where it
        cannot be kept, on a full disk or a read-only store; once kept, it outlives the node key.
        """
        self._files = files
        self._is_readable = True
        self.key = crypto.blake2b_256(b"protozorfs inode numbers", key=node_seed)
        self.numbers: dict[bytes, int] = {}
        try:
            self.key, self.numbers = decode_numbers(files.read(INODES_FILE))
        except FileNotFoundError:
            self._write()
        except DecodeError as error:
            logger.warning("the store's file %s is made anew: %s", INODES_FILE, error)
            self._write()
        except OSError as error:
            logger.warning("the store's file %s cannot be read: %s", INODES_FILE, error)
            self._is_readable = False

    def keep(self, identity: bytes, number: int) -> None:
        """Remembers a number; durably, if there is space."""
        self.numbers[identity] = number
        if self._is_readable and len(self.numbers) <= MAX_KEPT:
            self._write()

    def _write(self) -> None:
        try:
            self._files.replace(INODES_FILE, encode_numbers(self.key, self.numbers))
        except (StoreFull, OSError) as error:
            logger.warning("what inode numbers are derived with could not be kept: %s", error)


def encode_numbers(key: bytes, numbers: Mapping[bytes, int]) -> bytes:
    """The content of the file."""
    parts = [_HEAD.pack(_MAGIC, _VERSION, len(numbers), key)]
    for identity, number in numbers.items():
        parts += [_SIZE.pack(len(identity)), identity, _NUMBER.pack(number)]
    content = b"".join(parts)
    return content + crypto.blake2b_256(content)


def decode_numbers(data: bytes) -> tuple[bytes, dict[bytes, int]]:
    """The key and the numbers in the content of the file.

    Raises:
        DecodeError
    """
    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(content) < _HEAD.size or crypto.blake2b_256(content) != checksum:
        raise DecodeError("it is damaged")
    magic, version, count, key = _HEAD.unpack_from(content)
    if (magic, version) != (_MAGIC, _VERSION):
        raise DecodeError("it is of another version")
    numbers: dict[bytes, int] = {}
    at = _HEAD.size
    try:
        for _ in range(count):
            (size,) = _SIZE.unpack_from(content, at)
            at += _SIZE.size
            identity = content[at : at + size]
            at += size
            (numbers[identity],) = _NUMBER.unpack_from(content, at)
            at += _NUMBER.size
    except struct.error:
        raise DecodeError("it ends too early") from None
    if at != len(content):
        raise DecodeError("it ends too late")
    return key, numbers
