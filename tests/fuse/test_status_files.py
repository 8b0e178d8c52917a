"""The files of `.protozorfs`: what each says, and that none of them ever waits."""

from __future__ import annotations

import errno
import json
import os
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.errnos import expect
from tests.fuse.test_live_views import live
from tests.fuse.test_waiting_reads import reader

if TYPE_CHECKING:
    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

FEED_FILES = ["head", "id", "peers", "progress", "why"]


def test_what_there_is(shared: Staged) -> None:
    status = shared.path / ".protozorfs"
    path = shared.owned(b"one\n")
    assert sorted(os.listdir(status)) == ["feeds", "log", "status", "status.json", "version"]
    assert path.name in os.listdir(status / "feeds")
    assert sorted(os.listdir(status / "feeds" / path.name)) == FEED_FILES
    assert (status / "version").read_text() == version("protozorfs") + "\n"
    of_feed = status / "feeds" / path.name
    assert of_feed.joinpath("id").read_bytes() == os.getxattr(path, "protozorfs.id") + b"\n"
    assert of_feed.joinpath("why").read_text() == "a reason from memory\n"
    assert "bytes 4 of 4\n" in of_feed.joinpath("progress").read_text()
    for file in (status / "version", of_feed / "id"):
        assert file.stat().st_size == len(file.read_bytes())
        assert file.stat().st_mode & 0o777 == 0o444
    for missing in (status / "x", status / "feeds" / "x", of_feed / "x", status / "feeds/x/id"):
        expect(errno.ENOENT, missing.stat)


def test_nothing_can_be_changed(shared: Staged) -> None:
    status = shared.path / ".protozorfs"
    expect(errno.EACCES, lambda: (status / "version").open("ab"))
    expect(errno.EACCES, lambda: (status / "version").open("wb"))
    expect(errno.EPERM, (status / "version").unlink)
    expect(errno.EPERM, lambda: (status / "feeds" / "new").open("ab"))
    expect(errno.EPERM, (status / "feeds").rmdir)
    expect(errno.EPERM, lambda: status.rename(shared.path / "other"))


def test_waiting_readers_are_shown_at_once(shared: Staged) -> None:
    status = shared.path / ".protozorfs"
    path = shared.owned(b"one\n")
    before = json.loads((status / "status.json").read_text())
    assert {"name": path.name, "bytes": 4, "owned": True}.items() <= next(
        feed for feed in before["feeds"] if feed["name"] == path.name
    ).items()
    with reader("cat", live(path)):
        wait_until(lambda: shared.control("show", path.name)["waiting"] == 1)
        assert f"  {path.name}: a reason from memory\n" in (status / "status").read_text()
        assert "waiting 1\n" in (status / "feeds" / path.name / "progress").read_text()


def test_names_are_bytes_there_too(shared: Staged) -> None:
    name = b"\xff\n \xc3\xbc"
    with open(os.path.join(os.fsencode(shared.path), name), "ab") as file:
        file.write(b"x")
    feeds = os.path.join(os.fsencode(shared.path), b".protozorfs", b"feeds")
    assert name in os.listdir(feeds)
    with open(os.path.join(feeds, name, b"why"), "rb") as file:
        assert file.read() == b"a reason from memory\n"
    listed = json.loads((shared.path / ".protozorfs" / "status.json").read_bytes())["feeds"]
    assert os.fsdecode(name) in [feed["name"] for feed in listed]


def test_a_feed_that_cannot_be_read_hides_no_other(shared: Staged) -> None:
    broken, whole = shared.owned(), shared.owned()
    shared.control("set", broken.name, is_lost=True)
    try:
        listed = json.loads((shared.path / ".protozorfs" / "status.json").read_bytes())["feeds"]
        states = {feed["name"]: feed["state"] for feed in listed}
        assert (states[broken.name], states[whole.name]) == ("unreadable", "owned")
    finally:
        shared.control("set", broken.name, is_lost=False)
