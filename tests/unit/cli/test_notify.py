"""protozorfs.cli.notify: the messages of sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from protozorfs.cli.notify import SOCKET_VARIABLE, ServiceManager

if TYPE_CHECKING:
    from pathlib import Path


def bound(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(5)
    listener.bind("\0" + address[1:] if address.startswith("@") else address)
    return listener


@pytest.mark.parametrize("is_abstract", [False, True])
def test_what_the_manager_is_told(tmp_path: Path, is_abstract: bool) -> None:
    address = f"{'@' if is_abstract else ''}{tmp_path}/notify"
    environ = {SOCKET_VARIABLE: address, "HOME": "/"}
    with bound(address) as listener:
        manager = ServiceManager(environ)
        assert environ == {"HOME": "/"}  # children are not to speak for us
        manager.ready("up")
        said = listener.recv(1000).decode().splitlines()
        assert said == ["READY=1", "STATUS=up", f"MAINPID={os.getpid()}"]
        manager.stopping()
        assert listener.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1", "relative"])
def test_without_a_manager_nothing_is_said(address: str, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager({SOCKET_VARIABLE: address}).ready("up")
    ServiceManager({}).stopping()
    assert caplog.records == []


def test_a_manager_that_is_gone_or_full_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{tmp_path}/notify"
    manager = ServiceManager({SOCKET_VARIABLE: address})
    manager.ready("up")
    assert "could not be told" in caplog.text
    with bound(address):  # and nobody reads
        start = time.monotonic()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            filler.connect(address)
            with contextlib.suppress(BlockingIOError):
                while filler.send(b"x"):
                    pass
        caplog.clear()
        manager.stopping()
        assert "could not be told" in caplog.text
        assert time.monotonic() - start < 3
