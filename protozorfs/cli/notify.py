"""Telling the service manager how far this process is. Source: sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

log = logging.getLogger(__name__)

SOCKET_VARIABLE = "NOTIFY_SOCKET"
_SEND_SECONDS = 1.0  # the manager may be slow to read; it must not hold up the mount for longer


class ServiceManager:
    """The manager that started this process, or none."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the socket's address out of the environment: no child shall speak for us."""
        self._address = environ.pop(SOCKET_VARIABLE, "")

    def ready(self, status: str) -> None:
        """The service is up; `status` is one line for people."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def still_starting(self, status: str, seconds: float) -> None:
        """The service is not up yet, and asks for so much more time from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}\nSTATUS={status}")

    def stopping(self) -> None:
        """The service is ending."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return  # no manager, or one outside of this machine (vsock)
        address = self._address
        if address.startswith("@"):  # the abstract name space
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.settimeout(_SEND_SECONDS)
                to.connect(address)
                to.send(message.encode(errors="replace"))
        except OSError as error:
            log.warning("the service manager could not be told %r: %s", message, error)
