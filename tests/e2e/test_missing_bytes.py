"""Whole copies of a half-held feed whose peer has gone: they wait, and then they are right."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.e2e.half_held import SIZE, half_held
from tests.e2e.stage import WAIT_SECONDS, are_same, running, shell, wait_until_waiting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

COPYFILE = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])"
SENDFILE = """
import os, sys
with open(sys.argv[1], "rb") as feed, open(sys.argv[2], "wb") as copy:
    size, at = os.fstat(feed.fileno()).st_size, 0
    while at < size:
        sent = os.sendfile(copy.fileno(), feed.fileno(), at, size - at)
        if sent == 0:
            raise SystemExit(f"an end after {at} bytes")
        at += sent
"""
MAPPING = """
import mmap, sys
with open(sys.argv[1], "rb") as feed, open(sys.argv[2], "wb") as copy:
    copy.write(mmap.mmap(feed.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
"""


def commands(feed: str, directory: Path) -> dict[str, list[str]]:
    """By the name of the copy that it makes."""
    names = ("cat", "dd", "dd-large", "cp", "tail", "copyfile", "sendfile", "mmap")
    copy = {name: str(directory / f"{name}.copy") for name in names}
    scripts = {"copyfile": COPYFILE, "sendfile": SENDFILE, "mmap": MAPPING}
    return {
        copy["cat"]: ["bash", "-c", f"exec cat {feed} > {copy['cat']}"],
        copy["dd"]: ["dd", "status=none", "bs=7000", f"if={feed}", f"of={copy['dd']}"],
        copy["dd-large"]: ["dd", "status=none", "bs=4M", f"if={feed}", f"of={copy['dd-large']}"],
        copy["cp"]: ["cp", feed, copy["cp"]],
        copy["tail"]: ["bash", "-c", f"exec tail -c +1 {feed} > {copy['tail']}"],
        **{
            copy[name]: [sys.executable, "-c", script, feed, copy[name]]
            for name, script in scripts.items()
        },
    }


def test_every_way_to_copy_waits_and_is_right(tmp_path: Path) -> None:
    with half_held(tmp_path) as staged, ExitStack() as stack:
        copies = {
            copy: stack.enter_context(running(*command))
            for copy, command in commands(str(staged.feed), tmp_path).items()
        }
        wait_until_waiting(staged.feed, *copies.values())
        for copy in copies:
            assert int(shell(f"stat -c %s {copy}")) < SIZE
        stack.enter_context(staged.owner_again())
        for copy, process in copies.items():
            assert process.stderr is not None
            code = process.wait(WAIT_SECONDS)
            assert (code, process.stderr.read()) == (0, b""), copy
            assert are_same(staged.source, tmp_path / copy), copy
