"""What the mount agrees with the kernel on, beyond what libfuse asks for.

INIT is the first request of a mount; libfuse answers it, and pyfuse3 lets nobody choose what is in
the answer. So both pass through here: until that answer is given, pyfuse3's descriptor is a
socket, whose other end is ours. It works with every libfuse, since the answer is libfuse's own.
What is changed in it:

    max_background      the most there can be. Reads of the page cache (`sendfile`, `splice`, faults
                        of a mapping) are requests in the background, of which the kernel has 12 at
                        a time answered, of all files; one that waits for missing bytes keeps its
                        place. For who is not root the kernel lowers it to its `max_user_bgreq`.
    ASYNC_DIO           off. With it, nobody waits in person for a read by the kernel's AIO or
                        io_uring: no signal reaches the request, and the process cannot be killed.
    DIRECT_IO_ALLOW_MMAP  on where the kernel has it (Linux 6.6): mmap with MAP_SHARED, for reading.

Source: linux/fuse.h (fuse_init_in, fuse_init_out), fs/fuse/inode.c (process_init_reply).
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

import trio

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger(__name__)

OPCODE_INIT = 26
ASYNC_DIO = 1 << 15
INIT_EXT = 1 << 30  # the second half of the flags counts
DIRECT_IO_ALLOW_MMAP = 1 << 4  # in that second half
MAX_BACKGROUND = 0xFFFF

# struct fuse_in_header, struct fuse_init_in: of these the opcode and both halves of the flags.
_REQUEST = struct.Struct("=4xI32x12xII")
# struct fuse_out_header, struct fuse_init_out: length, error, id; version, readahead, flags,
# background requests and the threshold of congestion, sizes, second half of the flags, the rest.
_ANSWER = struct.Struct("=IiQ II I I HH IIHH I 28s")
_MAX_REQUEST_BYTES = 64 * 1024  # INIT has 104 bytes; the kernel wants room for 8 KiB
_MAX_ANSWER_BYTES = 4096


class Answer(NamedTuple):
    """libfuse's answer to INIT, field by field."""

    size: int
    error: int
    request_id: int
    major: int
    minor: int
    max_readahead: int
    flags: int
    max_background: int
    congestion_threshold: int
    max_write: int
    time_gran: int
    max_pages: int
    map_alignment: int
    flags2: int
    rest: bytes


def changed_answer(request: bytes, answer: bytes) -> bytes | None:
    """The answer to give in place of libfuse's; None if these are not what we take them for."""
    if len(request) < _REQUEST.size or len(answer) != _ANSWER.size:
        return None
    opcode, offered, offered2 = _REQUEST.unpack_from(request)
    old = Answer._make(_ANSWER.unpack(answer))
    if opcode != OPCODE_INIT or (old.size, old.error, old.major) != (len(answer), 0, 7):
        return None
    has_second_half = offered & INIT_EXT
    # The threshold of congestion must follow, or readers are slowed down at three quarters of 12.
    new = old._replace(
        flags=old.flags & ~ASYNC_DIO | has_second_half,
        max_background=MAX_BACKGROUND,
        congestion_threshold=MAX_BACKGROUND,
        flags2=old.flags2 | (offered2 & DIRECT_IO_ALLOW_MMAP if has_second_half else 0),
    )
    return _ANSWER.pack(*new)


class Negotiation:
    """The way of one INIT, from the kernel to libfuse and back.

    Enter it before pyfuse3's loop starts, `run` it beside the loop; leave it when the loop has
    ended, before the mount is closed.
    """

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: pyfuse3's, of a connection to FUSE."""
        self._descriptor = descriptor
        self._kernel = os.dup(descriptor)
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._is_given_back = False

    def __enter__(self) -> Negotiation:
        os.dup2(self._theirs.fileno(), self._descriptor, inheritable=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        self._forget_kernel()
        self._ours.close()
        self._theirs.close()

    async def run(self) -> None:
        """Has INIT answered and gives pyfuse3 its descriptor back; ends with the next request."""
        try:
            await self._have_answered()
        except OSError as error:  # pyfuse3 is told the same, and ends its loop
            log.info("the mount is gone before it could be used: %s", error)
        self._give_back()
        # pyfuse3 sleeps until there is something to read from the socket, which trio still looks
        # at under the number of the descriptor; what it then reads is the kernel's next request.
        # Without this it would sleep for ever: whoever cancels it has to end pyfuse3's loop, too.
        await trio.lowlevel.wait_readable(self._kernel)
        self._ours.send(b"\0")
        self._forget_kernel()

    def _give_back(self) -> None:
        if not self._is_given_back:
            self._is_given_back = True
            os.dup2(self._kernel, self._descriptor, inheritable=False)

    def _forget_kernel(self) -> None:
        descriptor, self._kernel = self._kernel, -1
        if descriptor >= 0:
            os.close(descriptor)

    async def _have_answered(self) -> None:
        await trio.lowlevel.wait_readable(self._kernel)
        request = os.read(self._kernel, _MAX_REQUEST_BYTES)
        self._ours.send(request)
        await trio.lowlevel.wait_readable(self._ours)
        answer = self._ours.recv(_MAX_ANSWER_BYTES)
        changed = changed_answer(request, answer)
        if changed is None:
            log.warning(
                "libfuse's answer to the kernel has an unknown form and stays as it is: processes"
                " that read by AIO or io_uring cannot be killed while they wait"
            )
        os.write(self._kernel, changed or answer)
