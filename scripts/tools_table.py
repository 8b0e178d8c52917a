"""Runs the commands of `scripts.tools` in a mount and checks them. See scripts/tools-table."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.tables import cell, put_table
from scripts.terminal import Terminal
from scripts.tools import GROUPS, HELLO, MORE, SOURCE
from tests.e2e.stage import at, follow, free_port, id_of, mounted_at, wait_whole
from tests.users import has_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scripts.tools import Tool

SCRIPT = "scripts/tools-table"
COMMAND_SECONDS = 20.0
MAX_SHOWN = 90  # characters of what a tool says


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one tool.

    Attributes:
        code: its exit code.
        said: standard output and standard error, without the last newline.
        wrong: what is not as it should be; empty if all is right.
    """

    code: int
    said: str
    wrong: str


class Stage:
    """A mount with `f` and `paul`, made anew for each tool; the owner of `paul` has another."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        port = free_port()
        owner = stack.enter_context(mounted_at(directory, "owner", port))
        mount = stack.enter_context(mounted_at(directory, "m", free_port(), at(port)))
        self.path, self._out = mount.path, directory / "out"
        self._source, self._follower = owner.path / "paul", owner.path / "f"
        append(self._source, HELLO)
        self._make()

    def set(self) -> None:
        """Makes what the commands rest on."""
        for path in self.path.iterdir():
            if path.name != "paul" and not self._is_as_made(path):
                os.setxattr(path, "protozorfs.delete_key", os.getxattr(path, "protozorfs.id"))
        if not (self.path / "f").exists():
            self._make()
        if not (self.path / "paul").exists():
            wait_whole(follow(id_of(self._source), self.path / "paul"), len(HELLO))
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(mode=0o700)
        (self._out / "src").write_text(SOURCE)
        (self._out / "src").chmod(0o640)

    def _is_as_made(self, path: Path) -> bool:
        return path.name == "f" and path.read_text() == HELLO and id_of(path) == self._id

    def _make(self) -> None:
        """Makes `f`, which somebody follows: what nobody has seen may be removed for a minute."""
        self._follower.unlink(missing_ok=True)
        append(self.path / "f", HELLO)
        self._id = id_of(self.path / "f")
        wait_whole(follow(self._id, self._follower), len(HELLO))

    def run(self, tool: Tool) -> Result:
        """Runs a tool and looks at everything that it was to do or not to do."""
        self.set()
        environment = os.environ | {"LC_ALL": "C.UTF-8", "OUT": str(self._out)}
        if tool.appends_after:
            code, said = self._follow(tool, environment | {"TERM": "vt100"})
        else:
            code, said = self._run(tool, environment | {"TERM": "dumb"})
        said = said.replace("bash: line 1: ", "").replace(str(self._out), "$OUT")
        said = said.replace(f"{self.path}/", "").strip()
        return Result(code, said, "; ".join(self._faults(tool, code, said)))

    def _run(self, tool: Tool, environment: Mapping[str, str]) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", tool.command],
            cwd=self.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout

    def _follow(self, tool: Tool, environment: Mapping[str, str]) -> tuple[int, str]:
        """Runs a follower as one would: in a terminal, until it shows what came."""
        with Terminal(tool.command, self.path, environment) as terminal:
            if terminal.said_until(tool.appends_after):
                append(self.path / "f", MORE)
                terminal.said_until(tool.says)
            said = terminal.said
            terminal.type(tool.keys)
            if tool.quits_at and terminal.said_until(tool.quits_at):
                terminal.type("q")
            return terminal.end(), said

    def _faults(self, tool: Tool, code: int, said: str) -> Iterator[str]:
        if code != tool.code:
            yield f"exit code {code} instead of {tool.code}"
        if re.search(tool.says, said, re.MULTILINE) is None:
            yield f"it says {said!r}"
        names = {path.name for path in self.path.iterdir()}
        if names != {"f", "paul", *tool.makes}:
            yield f"the feeds are {sorted(names)}"
        if "f" in names and (self.path / "f").read_text() != tool.leaves:
            yield f"it leaves {(self.path / 'f').read_text()!r}"
        if "paul" in names and (self.path / "paul").read_text() != HELLO:
            yield "the followed feed has changed"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def telling(tool: Tool, said: str) -> str:
    """The line of what a tool said that matters, or all of it if that is short."""
    whole = " / ".join(" ".join(line.split()) for line in said.splitlines())
    if len(whole) <= MAX_SHOWN:
        return whole
    matching = [line for line in said.splitlines() if re.search(tool.says, line, re.MULTILINE)]
    line = " ".join((matching or said.splitlines())[-1].split())
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "..."


def rows(stage: Stage) -> Iterator[tuple[str, str]]:
    """Lines of the table, each with what is wrong."""
    for group, tools in GROUPS.items():
        yield f"| **{group}** | | | |", ""
        for tool in tools:
            if tool.needs and shutil.which(tool.needs) is None:
                wrong = "" if tool.may_miss else "missing"
                yield f"| {cell(tool.command)} | | | {tool.needs} is not installed |", wrong
                continue
            if not has_user(tool.user):
                yield f"| {cell(tool.command)} | | | there is no user {tool.user} here |", ""
                continue
            result = stage.run(tool)
            verdict = f"WRONG: {result.wrong}" if result.wrong else f"right: {tool.right}"
            says = cell(telling(tool, result.said))
            yield f"| {cell(tool.command)} | {result.code} | {says} | {verdict} |", result.wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog=SCRIPT)
    parser.add_argument("--write", action="store_true", help="put the table into docs/tools.md")
    arguments = parser.parse_args()
    os.umask(0o022)  # users with a group of their own have 002, and logrotate minds
    lines = ["| command | exit code | says | |", "|---|---|---|---|"]
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        for line, wrong in rows(Stage(Path(directory), stack)):
            print(line, flush=True)
            lines.append(line)
            faults += [f"{line}"] if wrong else []
    print(f"\n{len(lines) - 2 - len(GROUPS)} commands, {len(faults)} not right")
    if arguments.write:
        put_table(SCRIPT, lines)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
