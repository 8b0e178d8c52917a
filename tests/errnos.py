"""Checks of errnos."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def expect(code: int, act: Callable[[], object]) -> None:
    """Fails unless the call fails with this errno."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is looked at below
        act()
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[code]
