"""Where log messages go: to the terminal, or to a file of the store once there is no terminal."""

from __future__ import annotations

import logging
import logging.handlers
import os
import pkgutil
import sys
from collections import deque
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.cli.text import printable_text
from protozorfs.errors import UsageError
from protozorfs.store.beneath import Beneath
from protozorfs.store.files import PRIVATE_FILE
from protozorfs.store.making import LOG_FILE, OLD_LOG_FILE
from protozorfs.store.trust import open_way

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from io import TextIOWrapper
    from socket import socket

log = logging.getLogger(__name__)

MAX_RECENT_LINES = 1000  # remembered; some 100 KiB
_MAX_LOG_BYTES = 1024 * 1024  # then a new one is started; one old one is kept
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SYSTEM_LOG = Path("/dev/log")  # of syslog or the journal
_SYSTEM_FORMAT = "%(levelname)s %(name)s: %(message)s"  # it has clocks of its own
_ROOT = "protozorfs"
_COMMAND = f"{_ROOT}.cli.serving"  # says when the mount began and why it ended


class _Lines(logging.Formatter):
    """Messages may name any path: no character of one is a command to a terminal, or no text."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable_text, super().format(record).split("\n")))


def check_modules(names: Iterable[str], exit_code: int) -> None:
    """Refuses names that are no module's, which would log nothing.

    Raises:
        UsageError: it has the names that there are where the wrong one stands.
    """
    for name in names:
        known: Sequence[str] = ()
        path = [str(Path(__file__).parents[1])]
        for part in name.split("."):
            known = sorted(module.name for module in pkgutil.iter_modules(path))
            if part not in known:
                there_are = ", ".join(known) or "none"
                sentence = f"debug: there is no module {name}; there are: {there_are}"
                raise UsageError(sentence, exit_code)
            path = [os.path.join(path[0], part)]


class RecentLines(logging.Handler):
    """Remembers the most recent messages; those of this program from INFO on.

    The mount shows them in `.protozorfs/log`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Lines(_FORMAT))
        self._lines: deque[str] = deque(maxlen=MAX_RECENT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one message."""
        self._lines.append(self.format(record))

    def lines(self) -> list[str]:
        """The messages, oldest first; one with a trace has several lines."""
        return list(self._lines)


class _Wanted(logging.Filter):
    """Lets through warnings, and all of the modules that are to be logged in detail."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or any(
            record.name == name or record.name.startswith(f"{name}.") for name in self._names
        )


class StoreLog(logging.handlers.RotatingFileHandler):
    """The file of a store, reached from the store's descriptor: no link in it is followed."""

    def __init__(self, store: Path) -> None:
        """Raises StoreRefused: the store is none of ours."""
        self._root = Beneath(open_way(store), str(store))
        super().__init__(store / LOG_FILE, maxBytes=_MAX_LOG_BYTES, delay=True, encoding="utf-8")

    def doRollover(self) -> None:
        """Keeps what was logged as one old file, and begins a new one."""
        if self.stream is not None:
            self.stream.close()
        root = self._root.descriptor
        os.rename(LOG_FILE, OLD_LOG_FILE, src_dir_fd=root, dst_dir_fd=root)
        self.stream = self._open()

    def close(self) -> None:
        super().close()
        self._root.close()

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return open(self._root.open_file(LOG_FILE, flags, PRIVATE_FILE), "a", encoding="utf-8")


class SystemLog(SysLogHandler):
    """Syslog or the journal.

    A message that it does not take at once is left out, since the whole mount would wait for it;
    the store's own log has them all.
    """

    socket: socket

    def __init__(self, address: Path) -> None:
        """Raises OSError: nobody listens there."""
        super().__init__(str(address), SysLogHandler.LOG_DAEMON)
        self.ident = f"mount.protozorfs[{os.getpid()}]: "
        self.setFormatter(_Lines(_SYSTEM_FORMAT))

    def _connect_unixsocket(self, address: str) -> None:
        # Every way to the socket passes here, the one of connecting again included.
        super()._connect_unixsocket(address)  # type: ignore[misc]
        self.socket.setblocking(False)

    def handleError(self, record: logging.LogRecord) -> None:
        """Goes on: there is no place to complain about a log."""


class _DeadRequests(logging.Filter):
    """Drops pyfuse3's errors about answers to requests that the kernel has given up meanwhile."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().endswith(
            "fuse_reply_* failed with No such file or directory"
        )


class Logs:
    """The log of one mount: on standard error, later perhaps in a file, and the recent lines.

    Warnings are logged, and details of the modules in `debug` (empty: all; None: none). A module is
    named as below the package: `fs`, `swarm.driver`.
    """

    def __init__(self, debug: tuple[str, ...] | None) -> None:
        modules = () if debug is None else debug or ("",)
        self._detailed = [f"{_ROOT}.{module}" if module else _ROOT for module in modules]
        self._recent = RecentLines()
        self._handler: logging.Handler | None = None

    @property
    def recent_lines(self) -> list[str]:
        """What was logged last."""
        return self._recent.lines()

    def start(self, *, is_brief: bool) -> None:
        """Logs to standard error from now on; `is_brief`: nothing but warnings."""
        logging.getLogger("pyfuse3").addFilter(_DeadRequests())
        root = logging.getLogger()
        root.setLevel(logging.WARNING)
        root.addHandler(self._recent)
        logging.getLogger(_ROOT).setLevel(logging.INFO)
        for name in self._detailed:
            logging.getLogger(name).setLevel(logging.DEBUG)
        self._use(logging.StreamHandler(sys.stderr), () if is_brief else self._detailed)

    def move_to(self, store: Path | None, system_log: Path = SYSTEM_LOG) -> None:
        """Logs to the store's file, not to standard error, and to the system's log if there is one.

        None: the store is only read, and beside the system's log the recent lines are all there is.

        Raises:
            StoreRefused: the store, or its file, is none of ours.
        """
        self._use(logging.NullHandler() if store is None else StoreLog(store), self._detailed)
        try:
            system = SystemLog(system_log)
        except OSError as error:  # containers have none
            log.debug("no system log at %s: %s", system_log, error)
            return
        system.addFilter(_Wanted([*self._detailed, _COMMAND]))
        logging.getLogger().addHandler(system)

    def _use(self, handler: logging.Handler, detailed: Sequence[str]) -> None:
        handler.setFormatter(_Lines(_FORMAT))
        handler.addFilter(_Wanted(detailed))
        root = logging.getLogger()
        if self._handler is not None:
            root.removeHandler(self._handler)
        root.addHandler(handler)
        self._handler = handler
