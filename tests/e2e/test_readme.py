"""README's first screen, typed as it stands: two machines in a network of their own.

They have neither the internet nor options: the feed is found on the local network.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.mounts import is_listed, unmount
from tests.namespaces import network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.namespaces import Host

pytestmark = pytest.mark.fuse

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b[0-9a-f]{64}\b")
SECONDS = re.compile(r"\d+(\.\d+)? s\b")
OFFLINE = "offline: no DHT node answers"
END_SECONDS = 20.0  # the machine may be busy
KEPT = ("PATH", "LANG", "TMPDIR")


@dataclass
class Terminal:
    """A shell of a user at home on a machine."""

    shell: subprocess.Popen[bytes]
    output: Path

    def type(self, commands: str) -> None:
        """Types what may take for ever."""
        assert self.shell.stdin is not None
        self.shell.stdin.write(commands.encode())
        self.shell.stdin.flush()

    @property
    def text(self) -> str:
        """What the commands so far have said, but that there is no internet here."""
        lines = self.output.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if OFFLINE not in line)

    def wait(self, text: str) -> None:
        """Returns when that, and nothing else, is what the commands so far have said."""
        wait_until(lambda: self.text == text)


def press_ctrl_c(shell: subprocess.Popen[bytes]) -> None:
    """Ends what runs in a shell that is no interactive one, and the shell, if it has not ended."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGINT)


@contextmanager
def terminal(host: Host, home: Path, name: str) -> Iterator[Terminal]:
    """Opens one in the checkout; what runs in it is ended with Ctrl-C."""
    home.mkdir(exist_ok=True)
    output = home / f"{name}.terminal"
    environ = {word: os.environ[word] for word in KEPT if word in os.environ}
    with output.open("wb") as file:
        shell = subprocess.Popen(
            host.command("env", "--default-signal", "bash"),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**environ, "HOME": str(home)},
            start_new_session=True,
        )
    try:
        yield Terminal(shell, output)
    finally:
        press_ctrl_c(shell)
        shell.communicate(timeout=END_SECONDS)


def first_screen() -> list[tuple[bool, str]]:
    """The blocks above the first heading but that which installs: whether typed, and the text."""
    text = README.read_text().split("\n## ")[0]
    blocks = [(bool(kind), content) for kind, content in BLOCK.findall(text)]
    assert "git clone" in blocks[0][1]
    return blocks[1:]


def test_the_first_screen_as_it_stands(tmp_path: Path) -> None:
    blocks = iter(first_screen())

    def next_block(is_typed: bool) -> str:
        kind, text = next(blocks)
        assert kind is is_typed, text
        return text

    with network(2, [(0, 1)]) as hosts, ExitStack() as stack:
        for home in ("one", "two"):
            mount_point = tmp_path / home / "feeds"
            stack.callback(lambda at: is_listed(at) and unmount(at, "-z"), mount_point)

        def open_terminal(position: int, home: str, name: str) -> Terminal:
            return stack.enter_context(terminal(hosts[position], tmp_path / home, name))

        one = open_terminal(0, "one", "first")
        one.type(next_block(is_typed=True))
        wait_until(lambda: ID.fullmatch(one.text.strip()) is not None)
        feed_id = one.text.strip()
        (example,) = ID.findall(next_block(is_typed=False))

        two = open_terminal(1, "two", "first")
        two.type(next_block(is_typed=True).replace(example, feed_id))
        shown = next_block(is_typed=False)
        two.wait(shown)
        one.type(next_block(is_typed=True))
        two.wait(f"{shown}world\n")

        other = open_terminal(1, "two", "second")
        other.type(next_block(is_typed=True))
        said = next_block(is_typed=False)
        other.wait(said)
        asking = next_block(is_typed=True)
        why = next_block(is_typed=False)
        file = tmp_path / "two" / "feeds" / ".protozorfs" / "feeds" / "paul" / "why"
        wait_until(lambda: "1 reader" in file.read_text())
        third = open_terminal(1, "two", "third")
        third.type(asking)
        wait_until(lambda: third.text.endswith("\n"))
        assert SECONDS.sub("", third.text) == SECONDS.sub("", why)

        for reader in (two, other):
            press_ctrl_c(reader.shell)
            reader.shell.wait(END_SECONDS)
        ending = next_block(is_typed=True)
        assert next(blocks, None) is None
        for last in (one, third):
            before = last.text
            last.type(f'export PATH="{ROOT}/.venv/bin:$PATH"; {ending}echo ended\n')
            last.wait(f"{before}ended\n")
        for home in ("one", "two"):
            assert list((tmp_path / home / "feeds").iterdir()) == []
