"""The recent lines of the log, which the mount shows in `.protozorfs/log`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from protozorfs.cli.logs import MAX_RECENT_LINES, Logs
from protozorfs.store.making import LOG_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def unchanged_logging() -> Iterator[None]:
    """The process's loggers are as before afterwards."""
    names = ["protozorfs", "protozorfs.fs", "protozorfs.swarm"]
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)


def say() -> None:
    for name in ("protozorfs.fs.reads", "protozorfs.swarm.driver", "elsewhere"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, "%s at %d", name, level)


def lines(texts: list[str]) -> list[str]:
    return [text.split(": ", 1)[1] for text in texts]


def test_recent_lines_hold_more_than_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    logs = Logs(None)
    logs.start(is_brief=False)
    say()
    ours = ["protozorfs.fs.reads", "protozorfs.swarm.driver"]
    assert lines(logs.recent_lines) == [
        *(f"{name} at {level}" for name in ours for level in (20, 30)),
        "elsewhere at 30",
    ]
    printed = capsys.readouterr().err.splitlines()
    assert lines(printed) == [f"{name} at 30" for name in (*ours, "elsewhere")]


def test_a_daemon_has_the_lines_from_before_it_was_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = Logs(("fs",))
    logs.start(is_brief=True)
    logging.getLogger("protozorfs.fs.mount").info("before")
    logs.move_to(tmp_path, tmp_path / "no system log")
    logging.getLogger("protozorfs.fs.mount").info("after")
    assert capsys.readouterr().err == ""
    assert lines((tmp_path / LOG_FILE).read_text().splitlines())[-1] == "after"
    kept = lines(logs.recent_lines)
    assert (kept[0], kept[-1]) == ("before", "after")


def test_recent_lines_are_limited() -> None:
    logs = Logs(None)
    logs.start(is_brief=True)
    for number in range(MAX_RECENT_LINES + 10):
        logging.getLogger("protozorfs.fs").info("%d", number)
    assert lines(logs.recent_lines) == [str(n) for n in range(10, MAX_RECENT_LINES + 10)]
