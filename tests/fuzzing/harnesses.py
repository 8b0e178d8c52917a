"""All that is fuzzed, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzzing import dht, disk, names, texts, wire

if TYPE_CHECKING:
    from tests.fuzzing.harness import Harness

HARNESSES: dict[str, Harness] = {
    harness.name: harness
    for harness in (
        *wire.HARNESSES,
        *dht.HARNESSES,
        *texts.HARNESSES,
        *disk.HARNESSES,
        *names.HARNESSES,
    )
}
