"""How findings name what is damaged."""

from __future__ import annotations

import pytest

from protozorfs.store.findings import SHOWN_RANGES, ranges_text

PAIRS = [(10 * index, 10 * index + 2) for index in range(SHOWN_RANGES + 2)]
SHOWN = ", ".join(f"{start} to {end - 1}" for start, end in PAIRS[:SHOWN_RANGES])


@pytest.mark.parametrize(
    ("ranges", "text"),
    [
        ([], ""),
        ([(3, 4), (7, 10)], "3, 7 to 9"),
        (PAIRS[:SHOWN_RANGES], SHOWN),
        (PAIRS, f"{SHOWN}, and 4 more"),
    ],
)
def test_the_first_ranges_are_told_one_by_one(ranges: list[tuple[int, int]], text: str) -> None:
    assert ranges_text(iter(ranges)) == text
