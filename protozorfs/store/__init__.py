"""Everything that is kept on disk, and every file call: plain blocking code."""

from protozorfs.store.files import File, Files, FreeSpace, RealFiles
from protozorfs.store.known_peers import KnownPeer, KnownPeers
from protozorfs.store.layout import FeedDirectory, Store
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.name_records import NameRow
from protozorfs.store.names import Names
from protozorfs.store.pool import FilePool, PooledFile

__all__ = [
    "FeedDirectory",
    "File",
    "FilePool",
    "Files",
    "FreeSpace",
    "KnownPeer",
    "KnownPeers",
    "MemoryFiles",
    "NameRow",
    "Names",
    "PooledFile",
    "RealFiles",
    "Store",
]
