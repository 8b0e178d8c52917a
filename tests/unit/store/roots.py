"""Directories as stores hold them: by a descriptor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from protozorfs.store.beneath import Beneath

if TYPE_CHECKING:
    from pathlib import Path


def root_of(path: Path) -> Beneath:
    """The directory, open for as long as the test runs."""
    return Beneath(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), str(path))
