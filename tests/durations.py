"""How long calls and commands take, on a machine that others use as well.

What others do comes and goes, and only ever adds: the least disturbed of several rounds tells it
from what is measured.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 5
CALLS = 200  # of a round
COMMAND_SECONDS = 30.0
P99_SECONDS = 0.05  # of a system call, whoever waits for bytes beside it; 0.2 ms on an idle machine


def are_fast(call: Callable[[], object]) -> bool:
    """True if, in some round, 99 of 100 calls took less than P99_SECONDS."""
    return any(p99(call) < P99_SECONDS for _ in range(ROUNDS))


def p99(call: Callable[[], object]) -> float:
    """The 99th percentile of the duration of a call, in seconds."""
    return sorted(_seconds_of(call) for _ in range(CALLS))[CALLS * 99 // 100]


def seconds_of(*command: str | Path) -> float:
    """The duration of a command, in seconds."""

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_SECONDS)

    return min(_seconds_of(run) for _ in range(2 * ROUNDS))


def _seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
