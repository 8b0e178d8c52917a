"""tests.durations: what is slow in every round is told from what others have slowed down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.durations import CALLS, P99_SECONDS, ROUNDS, are_fast

if TYPE_CHECKING:
    import pytest


class Calls:
    """Calls on a clock of the test's own, one in 50 of which takes long during the first rounds."""

    def __init__(self, slow_rounds: int) -> None:
        self.now = 0.0
        self.count = 0
        self._slow_calls = slow_rounds * CALLS

    def __call__(self) -> None:
        is_slow = self.count < self._slow_calls and self.count % 50 == 0
        self.now += 2 * P99_SECONDS if is_slow else P99_SECONDS / 100
        self.count += 1


def test_one_undisturbed_round_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow_rounds in range(ROUNDS + 1):
        calls = Calls(slow_rounds)
        monkeypatch.setattr(time, "perf_counter", lambda calls=calls: calls.now)
        assert are_fast(calls) == (slow_rounds < ROUNDS)
        assert calls.count == min(slow_rounds + 1, ROUNDS) * CALLS
