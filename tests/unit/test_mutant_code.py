"""How `scripts/mutants` puts mistakes into functions that are loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from scripts.mutant_code import Loaded, Place, note_calls

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = b"""
class Counted:
    @property
    def count(self):
        return 1

def counts():
    return [lambda: 2, sum(n for n in (1, 2))]

def at_import():
    return 3

THREE = at_import()
"""


def load(path: Path) -> tuple[Loaded, dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "loaded"}
    called: set[Place] = set()
    note_calls(path.parent, called)
    try:
        exec(compile(SOURCE, str(path), "exec"), names)
    finally:
        sys.setprofile(None)
    return Loaded(path.parent, called), names


def test_methods_and_what_functions_make_become_others(tmp_path: Path) -> None:
    loaded, names = load(tmp_path / "f.py")
    counted = names["Counted"]()
    changed = SOURCE.replace(b"return 1", b"return 7").replace(b": 2", b": 8")
    assert loaded.become(tmp_path / "f.py", SOURCE, changed.replace(b"(1, 2)", b"(1, 3)"))
    made, added = names["counts"]()
    assert (counted.count, made(), added) == (7, 8, 4)


@pytest.mark.parametrize("before", [b"return 3", b"(self):\n        return 1\n"])
def test_what_imports_have_called_takes_a_new_import(tmp_path: Path, before: bytes) -> None:
    """A line more or less before it makes it another function as well."""
    loaded, names = load(tmp_path / "f.py")
    changed = SOURCE.replace(before, b"(self): return 4" if before.endswith(b"\n") else b"return 4")
    assert not loaded.become(tmp_path / "f.py", SOURCE, changed)
    assert names["at_import"]() == 3


def test_a_function_that_nobody_has_any_more_takes_a_new_import(tmp_path: Path) -> None:
    loaded, _ = load(tmp_path / "f.py")
    source = SOURCE + b"\ndef gone():\n    return 5\n"
    assert not loaded.become(tmp_path / "f.py", source, source.replace(b"5", b"6"))
