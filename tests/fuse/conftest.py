"""Mounts of feeds in memory, behind the real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import MOUNT_SECONDS
from tests.memory_control import Control
from tests.mounts import Mount, memory_command, mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class Staged:
    """A mount of feeds in memory, and the means to stage what is in them."""

    def __init__(self, mount: Mount, control: Control) -> None:
        self.mount = mount
        self.path = mount.path
        self.control = control
        self._count = 0

    def owned(self, data: bytes = b"hello\n") -> Path:
        """A new owned feed of one block."""
        self._count += 1
        path = self.path / f"owned{self._count}"
        with path.open("ab", buffering=0) as file:
            if data:
                file.write(data)
        return path

    def followed(self, size: int, held: int) -> Path:
        """A new followed feed of pattern bytes, of which a prefix is here."""
        from protozorfs import crypto

        self._count += 1
        path = self.path / f"followed{self._count}"
        path.symlink_to(crypto.key_pair(crypto.random_bytes(32)).public_key.hex())
        if size:
            self.control("stage", path.name, pattern=size, held=False)
            self.control("hold", path.name, count=held)
        return path


def _stage(directory: Path, *arguments: str, flags: tuple[str, ...] = ()) -> Iterator[Staged]:
    command = memory_command(*flags)
    with mounted(directory, *arguments, command=command, watchdog_seconds=MOUNT_SECONDS) as mount:
        control = Control(mount.store / "control")
        try:
            yield Staged(mount, control)
        finally:
            control.close()
        if not flags:
            assert "interrupts are not available" not in mount.said
            assert "cannot be told from others" not in mount.said


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    """A mount for one test."""
    yield from _stage(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """A mount for all tests of a module, which take feeds of their own."""
    yield from _stage(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., AbstractContextManager[Staged]]:
    """A mount with options: `stage("-o", "local")`, or of the fallback for interrupts."""
    from contextlib import contextmanager
    from functools import partial

    return partial(contextmanager(_stage), tmp_path)
