"""Fixtures of the tests of a mount among the tools of a system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system import place as places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.place import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """A machine of its own, with directories `m` and `n` that every user may use."""
    with places.place() as made:
        made.directories("m", "n")
        yield made
