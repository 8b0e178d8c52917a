"""How bytes that are appended become blocks."""

from __future__ import annotations

BLOCK_BYTES = 64 * 1024  # the largest block that an append makes


def cut_blocks(data: bytes) -> list[bytes]:
    """One block for at most 64 KiB, else blocks of 64 KiB; none for no bytes."""
    if len(data) <= BLOCK_BYTES:
        return [data] if data else []
    return [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
