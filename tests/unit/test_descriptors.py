"""protozorfs.descriptors"""

from __future__ import annotations

import resource

import pytest

from protozorfs import descriptors

NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "files", "connections"),
    [(16, 4, 4), (64, 12, 12), (256, 108, 108), (1024, 256, 728), (NO_LIMIT, 256, 65240)],
)
def test_the_shares_leave_room_for_the_rest(
    soft: int, files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, NO_LIMIT))
    assert descriptors.feed_files() == files
    assert descriptors.connections() == connections


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((64, 256), (256, 256)),
        ((1024, 1 << 20), (65536, 1 << 20)),
        ((1024, NO_LIMIT), (65536, NO_LIMIT)),
        ((1 << 20, 1 << 20), None),
        ((64, 64), None),
        ((NO_LIMIT, NO_LIMIT), None),
    ],
)
def test_the_soft_limit_is_raised_to_the_hard_one(
    before: tuple[int, int], after: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: before)
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: told.append(limits))
    descriptors.raise_limit()
    assert told == ([] if after is None else [after])
