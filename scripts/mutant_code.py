"""Puts a mistake into functions that are loaded already: to import them again takes seconds."""

from __future__ import annotations

import gc
import inspect
import sys
from collections import Counter
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Place(NamedTuple):
    """Where a function is defined; that says which it is, unless one line has two."""

    path: str
    name: str
    line: int


def place_of(code: CodeType) -> Place:
    return Place(code.co_filename, code.co_qualname, code.co_firstlineno)


def note_calls(root: Path, called: set[Place]) -> None:
    """Adds functions beneath a folder when they are called, until `sys.setprofile(None)`."""
    prefix = f"{root}/"

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            called.add(place_of(frame.f_code))

    sys.setprofile(note)


class Loaded:
    """The functions beneath a folder that are loaded.

    Args:
        called: those that imports have called; what came of that stays, whatever they become.
    """

    def __init__(self, root: Path, called: set[Place]) -> None:
        prefix = f"{root}/"
        self._called = called
        self._functions: dict[str, list[FunctionType]] = {}
        for each in gc.get_objects():
            if type(each) is FunctionType and each.__code__.co_filename.startswith(prefix):
                self._functions.setdefault(each.__code__.co_filename, []).append(each)

    def become(self, path: Path, original: bytes, changed: bytes) -> bool:
        """Gives the functions of a file the code of another source; False if that takes an import.

        Differences outside of functions have no effect.
        """
        before, after = _codes(path, original), _codes(path, changed)
        places = Counter(map(place_of, before.values()))
        new = {place_of(code): after.get(key) for key, code in before.items()}
        others = {place_of(code) for key, code in before.items() if after.get(key) != code}
        if not self._called.isdisjoint(others):
            return False
        missing = {place for place in others if "<locals>" not in place.name}
        for function in self._functions.get(str(path), ()):
            place = place_of(function.__code__)
            code = new.get(place)
            if code is not None:
                if places[place] > 1 or code.co_freevars != function.__code__.co_freevars:
                    return False
                function.__code__ = code
                missing.discard(place)
        return not missing


def _codes(path: Path, source: bytes) -> dict[tuple[str, int], CodeType]:
    """The code of each function, by its name and how many of that name stand before."""
    found: dict[tuple[str, int], CodeType] = {}
    counts: dict[str, int] = {}
    waiting = [compile(source, str(path), "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        if code.co_flags & inspect.CO_OPTIMIZED:
            name = code.co_qualname
            counts[name] = counts.get(name, 0) + 1
            found[name, counts[name]] = code
        waiting += reversed([each for each in code.co_consts if isinstance(each, CodeType)])
    return found
