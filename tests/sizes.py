"""How large a test is: the short form that every run takes, or the long form of `scripts/long`."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

IS_LONG = os.environ.get("PROTOZORFS_LONG") == "1"


def long_or_short(long: T, short: T) -> T:
    """`long` under PROTOZORFS_LONG=1, else `short`."""
    return long if IS_LONG else short
