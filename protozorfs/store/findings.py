"""What a check of a store finds, as values. Which findings there are, the modules that check say.

A check is an iterator of findings and of progress; who runs it decides what is shown and mended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.types import FeedId

SHOWN_RANGES = 8  # of blocks or nodes, in a sentence: more say nothing more


class Severity(StrEnum):
    """An error is damage. A note is worth knowing, and nothing is wrong because of it."""

    ERROR = "error"
    NOTE = "note"


class Remedy(StrEnum):
    """What can be done here: nothing, a repair that loses nothing, or a cut that must be wanted."""

    NONE = "none"
    REPAIR = "repair"
    CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of finding.

    Attributes:
        code: what programs know it by, for ever.
        meaning: what it means for the data.
        advice: what a repair does about it, or what else helps.
    """

    code: str
    severity: Severity
    remedy: Remedy
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        path: the file, relative to the store.
        what: what is wrong with it, as a part of a sentence.
        feed_id: whose file it is; None: the store's.
    """

    kind: Kind
    path: str
    what: str
    feed_id: FeedId | None = None


class Progress(NamedTuple):
    """So many bytes of files were read since the last one."""

    byte_count: int


def ranges_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Half-open ranges of numbers, the first of them one by one: `3, 7 to 9, and 5 more`."""
    shown: list[str] = []
    more = 0
    for start, end in ranges:
        if len(shown) < SHOWN_RANGES:
            shown.append(str(start) if end == start + 1 else f"{start} to {end - 1}")
        else:
            more += end - start
    return ", ".join(shown) + (f", and {more} more" if more else "")
