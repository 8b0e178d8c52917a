"""How fast something grows that was looked at now and then, and how sure that is.

What a process takes moves in steps, and the next look finds much what the last one did: looks are
joined to the mean of each minute, and what these still have in common widens the interval.
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

BIN_SECONDS = 60.0
MIN_BINS = 6  # of fewer, the interval would mean nothing
HOUR_SECONDS = 3600.0
NORMAL_QUANTILE = 1.96  # 95 % lie within so many standard errors


class Growth(NamedTuple):
    """Growth an hour by least squares, half of its interval of 95 %, and how long that was seen."""

    an_hour: float
    error: float
    hours: float

    @property
    def at_least(self) -> float:
        """The lower end of the interval."""
        return self.an_hour - self.error

    def exceeds(self, limit: float) -> bool:
        """Whether it is more than that for certain: an hour, or in all of a shorter time.

        In a short time, the allocator's next piece of memory looks like growth.
        """
        return self.at_least * min(self.hours, 1.0) > limit

    def __str__(self) -> str:
        return f"{self.an_hour:+.1f} +- {self.error:.1f} an hour"


def growth_of(samples: Sequence[tuple[float, float]]) -> Growth | None:
    """The growth of samples (seconds, value); None if there are too few minutes of them."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for at, value in samples:
        bins.setdefault(int(at // BIN_SECONDS), []).append((at, value))
    if len(bins) < MIN_BINS:
        return None
    times = [statistics.fmean(at for at, _ in each) for each in bins.values()]
    values = [statistics.fmean(value for _, value in each) for each in bins.values()]
    fit = statistics.linear_regression(times, values)
    rest = [value - fit.slope * at - fit.intercept for at, value in zip(times, values, strict=True)]
    freedom = len(bins) - 2
    variance = sum(each * each for each in rest) / freedom
    spread = sum((at - statistics.fmean(times)) ** 2 for at in times)
    error = _quantile(freedom) * (variance * _likeness(rest) / spread) ** 0.5
    hours = (max(bins) + 1 - min(bins)) * BIN_SECONDS / HOUR_SECONDS
    return Growth(HOUR_SECONDS * fit.slope, HOUR_SECONDS * error, hours)


def _quantile(freedom: int) -> float:
    """Of Student's distribution, by its expansion: within 2 % from 4 degrees of freedom on."""
    z = NORMAL_QUANTILE
    first = (z**3 + z) / (4 * freedom)
    return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _likeness(rest: Sequence[float]) -> float:
    """By what the variance of a slope is larger because each value is like the one before."""
    total = sum(each * each for each in rest)
    if not total:
        return 1.0
    common = sum(one * other for one, other in pairwise(rest)) / total
    common = min(max(common, 0.0), 0.9)
    return (1 + common) / (1 - common)
