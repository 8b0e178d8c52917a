"""What is changed in libfuse's answer to INIT, and what is left alone."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.fs.negotiation import (
    ASYNC_DIO,
    DIRECT_IO_ALLOW_MMAP,
    INIT_EXT,
    MAX_BACKGROUND,
    OPCODE_INIT,
    changed_answer,
)

WANTED = 0x4040_B039  # what libfuse 3.14 asks for; ASYNC_DIO is among it
OFFERED = 0x73FF_FFFB  # by Linux 6.18, with INIT_EXT
UNIQUE = 2


def request(*, opcode: int = OPCODE_INIT, flags: int = OFFERED, flags2: int = 0xFF) -> bytes:
    """A message of the kernel's: struct fuse_in_header, struct fuse_init_in."""
    header = struct.pack("=IIQQIIIHH", 104, opcode, UNIQUE, 0, 0, 0, 0, 0, 0)
    return header + struct.pack("=IIIII44x", 7, 45, 131_072, flags, flags2)


def answer(
    *,
    error: int = 0,
    major: int = 7,
    flags: int = WANTED,
    limits: tuple[int, int] = (0, 0),
    flags2: int = 0,
) -> bytes:
    """A message to the kernel: struct fuse_out_header, struct fuse_init_out."""
    body = struct.pack("=IIIIHH", major, 31, 131_072, flags, *limits)
    body += struct.pack("=IIHHIIH22x", 1 << 20, 1, 256, 0, flags2, 0, 0)
    return struct.pack("=IiQ", 16 + len(body), error, UNIQUE) + body


def test_aio_waits_in_person_mappings_are_shared_and_the_background_has_room() -> None:
    limits = (MAX_BACKGROUND, MAX_BACKGROUND)
    expected = answer(flags=WANTED & ~ASYNC_DIO, flags2=DIRECT_IO_ALLOW_MMAP, limits=limits)
    assert changed_answer(request(), answer()) == expected


@pytest.mark.parametrize(
    ("flags", "flags2"), [(OFFERED & ~INIT_EXT, 0xFF), (OFFERED, 0xFF & ~DIRECT_IO_ALLOW_MMAP)]
)
def test_an_older_kernel_is_asked_for_nothing_that_it_does_not_offer(
    flags: int, flags2: int
) -> None:
    changed = changed_answer(request(flags=flags, flags2=flags2), answer(flags=0x39))
    limits = (MAX_BACKGROUND, MAX_BACKGROUND)
    assert changed == answer(flags=0x39 | flags & INIT_EXT, limits=limits)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (request(opcode=3), answer()),
        (request()[:50], answer()),
        (request(), answer()[:40]),  # as to a kernel of before 7.23
        (request(), answer() + bytes(4)),
        (request(), answer(error=-71)),
        (request(), answer(major=8)),
    ],
)
def test_what_has_an_unknown_form_is_left_alone(asked: bytes, answered: bytes) -> None:
    assert changed_answer(asked, answered) is None


@given(asked=st.binary(max_size=120), answered=st.binary(max_size=120))
def test_any_bytes_are_taken(asked: bytes, answered: bytes) -> None:
    changed = changed_answer(asked, answered)
    assert changed is None or len(changed) == len(answered)
