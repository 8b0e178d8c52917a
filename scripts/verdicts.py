"""Runs a program on `f`, and says whether what it printed is what a plain file gives."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from scripts.readers import Program

KILL_SECONDS = 5.0  # from SIGKILL to the end, which a wait in the mount must not hold up
RIGHT = "right"
MAX_SAID = 200  # characters of what it said, for those who look into a fault


class StuckError(Exception):
    """A program did not die of SIGKILL: the mount holds it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a program.

    Attributes:
        code: its exit code as a shell tells it; None if it did not end in time.
        output: its standard output.
        said: the end of its standard error.
    """

    code: int | None
    output: bytes
    said: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A cell of the table.

    Attributes:
        text: "right", "error" and the exit code, or what is wrong, which begins with WRONG.
        said: what helps to find out why it is not right.
    """

    text: str
    said: str = ""

    @property
    def is_wrong(self) -> bool:
        return self.text.startswith("WRONG")


def run_program(
    program: Program, directory: Path, environment: Mapping[str, str], seconds: float
) -> Ran:
    """Runs it by bash in a session of its own, of which nothing is left.

    Raises:
        StuckError
    """
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", program.command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        try:
            process.communicate(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:
            raise StuckError(program.command) from None
        return Ran(None, b"")
    code = process.returncode
    return Ran(code if code >= 0 else 128 - code, output, said.decode(errors="replace")[-MAX_SAID:])


def verdict_of(
    program: Program, ran: Ran, lengths: Iterable[int], plain: Callable[[int], Ran], data: bytes
) -> Verdict:
    """Compares with what the program does with a plain file of one of the lengths.

    Args:
        lengths: those that the feed had while the program ran, the likely ones first; what grew in
            between may have been seen in part.
        plain: what the program does with a plain file of that length.
        data: what the feed holds in the end.
    """
    if ran.code is None:
        return Verdict("WRONG: never ends")
    known = list(lengths)
    if min(known) < len(ran.output) < max(known):
        known.append(len(ran.output))  # one that copies may stop in the middle of a block
    expected = []
    for length in known:
        expected.append(plain(length))
        if (expected[-1].code, expected[-1].output) == (ran.code, ran.output):
            return Verdict(RIGHT)
    if program.follows and ran.code == 0 and _goes_on(ran, known, expected, data):
        return Verdict(RIGHT)
    said = f"exit code {ran.code}, {len(ran.output)} bytes: {ran.said.strip()}"
    if ran.code not in program.answers:
        return Verdict(f"error {ran.code}", said)
    return Verdict(f"WRONG: {_difference(ran.output, [each.output for each in expected])}", said)


def _goes_on(ran: Ran, lengths: Sequence[int], expected: Sequence[Ran], data: bytes) -> bool:
    """True if it is what a plain file of one length gives, and all that came after that length."""
    return any(
        ran.output == each.output + data[start:end]
        for start, each in zip(lengths, expected, strict=True)
        for end in lengths
        if end > start
    )


def _difference(output: bytes, expected: Sequence[bytes]) -> str:
    if any(each.startswith(output) for each in expected):
        return "short"
    same = max(_same_bytes(output, each) for each in expected)
    return "zeros" if output[same : same + 16].strip(b"\0") == b"" else "differs"


def _same_bytes(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
