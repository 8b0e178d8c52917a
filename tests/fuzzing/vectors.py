"""The inputs to begin with: bytes that other implementations made, of tests/vectors."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors"


@cache
def vectors(name: str) -> dict[str, Any]:
    """One of the files of tests/vectors."""
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return content


def in_hex(values: list[dict[str, Any]], key: str) -> list[bytes]:
    """The bytes that all values with such a field have there."""
    return [bytes.fromhex(value[key]) for value in values if value.get(key)]
