"""protozorfs.cli.logs: what goes where."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from protozorfs.cli.logs import Logs, SystemLog, check_modules
from protozorfs.errors import UsageError
from protozorfs.store.making import LOG_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = "protozorfs.some.module"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Takes away what `Logs` adds to the loggers of the whole process."""
    loggers = [logging.getLogger(name) for name in (None, "pyfuse3", "protozorfs", MODULE)]
    before = [(each.level, list(each.handlers), list(each.filters)) for each in loggers]
    yield
    for each, (level, handlers, filters) in zip(loggers, before, strict=True):
        for handler in set(each.handlers) - set(handlers):
            handler.close()
        each.handlers[:], each.filters[:] = handlers, filters
        each.setLevel(level)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[socket.socket]:
    """A system log that hears what is said."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "log"))
        listener.settimeout(5)
        yield listener


def speak() -> None:
    log = logging.getLogger(MODULE)
    log.debug("a detail")
    log.info("a fact")
    log.warning("a warning")
    logging.getLogger("protozorfs.cli.serving").info("it ends")


@pytest.mark.parametrize(
    ("debug", "expected"),
    [
        (None, ["a warning"]),
        ((), ["a detail", "a fact", "a warning", "it ends"]),
        (("some",), ["a detail", "a fact", "a warning"]),
        (("other",), ["a warning"]),
    ],
)
def test_the_file_has_warnings_and_the_details_that_are_wanted(
    tmp_path: Path, debug: tuple[str, ...] | None, expected: list[str]
) -> None:
    logs = Logs(debug)
    logs.start(is_brief=True)
    logs.move_to(tmp_path, tmp_path / "none")
    speak()
    lines = (tmp_path / LOG_FILE).read_text().splitlines()
    said = [line.rpartition(": ")[2] for line in lines if "no system log" not in line]
    assert said == expected


def test_a_daemon_speaks_to_the_system_log_too(tmp_path: Path, system: socket.socket) -> None:
    logs = Logs(None)
    logs.start(is_brief=True)
    logs.move_to(tmp_path, tmp_path / "log")
    speak()
    me = f"mount.protozorfs[{os.getpid()}]: "
    # Source: RFC 3164, 4.1.1: the facility (3, daemons) times 8, and the severity
    assert system.recv(1000) == f"<28>{me}WARNING {MODULE}: a warning\0".encode()
    assert system.recv(1000) == f"<30>{me}INFO protozorfs.cli.serving: it ends\0".encode()


def test_a_system_log_that_nobody_reads_holds_nothing_up(
    tmp_path: Path, system: socket.socket
) -> None:
    log = logging.getLogger(MODULE)
    log.addHandler(SystemLog(tmp_path / "log"))
    start = time.monotonic()
    for _ in range(1000):
        log.warning("x" * 1000)
    assert time.monotonic() - start < 5
    assert system.recv(2000).endswith(b"xxx\0")


def test_a_system_log_that_is_restarted_is_found_again(
    tmp_path: Path, system: socket.socket
) -> None:
    log = logging.getLogger(MODULE)
    log.addHandler(SystemLog(tmp_path / "log"))
    log.warning("before")
    system.close()
    (tmp_path / "log").unlink()
    log.warning("lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "log"))
        again.settimeout(5)
        log.warning("after")
        assert again.recv(1000).endswith(b": after\0")


def test_modules_that_there_are_not_are_refused_by_name() -> None:
    check_modules(["fs", "swarm.driver", "app"], 1)
    for name in ("nosuch", "fs.nosuch", "app.nosuch", "", "fs."):
        with pytest.raises(UsageError) as caught:
            check_modules(["fs", name], 1)
        assert caught.value.exit_code == 1
        assert str(caught.value).startswith(f"debug: there is no module {name}; there are: ")
    with pytest.raises(UsageError, match=r"there are: app, .*, fs, .*, wire$"):
        check_modules(["nosuch"], 1)
    with pytest.raises(UsageError, match=r"there are: attributes, .*, mount_points, "):
        check_modules(["fs.nosuch"], 1)


def test_names_that_are_no_text_are_logged(tmp_path: Path) -> None:
    logs = Logs(None)
    logs.start(is_brief=True)
    logs.move_to(tmp_path, tmp_path / "none")
    logging.getLogger(MODULE).warning("%s: Grüße", os.fsdecode(b"/m\xff\x1b[31m"))
    expected = "/m\\xff\\x1b[31m: Grüße"
    assert (tmp_path / LOG_FILE).read_text("utf-8").endswith(f": {expected}\n")
    assert logs.recent_lines[-1].endswith(f": {expected}")
