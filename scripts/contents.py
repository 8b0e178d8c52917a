"""What the feeds of scripts/readers-table hold; each is some 1.2 MB, the same for the same seed.

Nothing but `IMAGE` and `MOVIE` has runs of zeros, so that zeros where bytes are missing stand out.
"""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

LINES = "lines"  # sorted, each of other bytes
IMAGE = "image"  # of a disk: whole sectors, many of them zeros
PACKED = "packed"  # a tar archive, compressed
ZIPPED = "zipped"  # its directory is at the end
DATABASE = "database"  # of SQLite
MOVIE = "movie"  # MP4, which has its directory at the end

SIZE = 1_200_000  # more than one READ of the kernel, which has at most 1 MiB
SECTOR = 4096


def lines(rng: random.Random, size: int = SIZE) -> bytes:
    made = bytearray()
    while len(made) < size:
        made += b"%07d %s\n" % (len(made), rng.randbytes(rng.randint(0, 60)).hex().encode())
    return bytes(made)


def image(rng: random.Random) -> bytes:
    size = SIZE // SECTOR // 3 * SECTOR
    return lines(rng, size)[:size] + bytes(size) + lines(rng, size)[:size] + bytes(10 * SECTOR)


def packed(rng: random.Random) -> bytes:
    made, data = io.BytesIO(), rng.randbytes(SIZE)
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        member = tarfile.TarInfo("member")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def zipped(rng: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for index in range(6):
            archive.writestr(zipfile.ZipInfo(f"member{index}"), rng.randbytes(SIZE // 6))
    return made.getvalue()


def database(rng: random.Random) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "db")
        with sqlite3.connect(path) as connection:
            connection.execute("create table t (a integer primary key, b text)")
            rows = ((index, rng.randbytes(500).hex()) for index in range(SIZE // 1100))
            connection.executemany("insert into t values (?, ?)", rows)
        connection.close()
        return path.read_bytes()


def movie(rng: random.Random) -> bytes:
    """Empty where there is no ffmpeg; then there is no ffprobe either."""
    if shutil.which("ffmpeg") is None:
        return b""
    source = f"testsrc2=size=320x240:rate=25:duration={rng.randint(12, 14)}"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "made.mp4")
        subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-q:v", "4", path],
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        return path.read_bytes()


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    LINES: lines,
    IMAGE: image,
    PACKED: packed,
    ZIPPED: zipped,
    DATABASE: database,
    MOVIE: movie,
}
