"""The docs against the code: named tests, options, exit codes, messages and files exist."""

from __future__ import annotations

import ast
import errno
import re
from dataclasses import fields
from functools import cache
from importlib.metadata import metadata
from pathlib import Path

import pytest

from protozorfs.cli.commands import EXIT_FAILED
from protozorfs.cli.options import (
    KERNEL_WORDS,
    USAGE_EXIT_CODE,
    parse_mount_command,
    parse_node_options,
)
from protozorfs.errors import UsageError
from protozorfs.feeds.ports import FeedState
from protozorfs.fs.errnos import ERRNOS
from protozorfs.fs.mount_points import MOUNT_FAILURE
from protozorfs.options import Options
from protozorfs.store import layout

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WORDS = {
    "read_only": "ro",
    "peers": "peer",
}  # fields of Options whose word on the command line is another
VALUES = {"N": "1", "S": "1", "SIZE": "1G", "ADDR": "::1", "HOST:PORT": "h:1", "start|end": "end"}
NAMED_TEST = re.compile(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`")
CODE = re.compile(r"`([^`]*)`")
ERRNO = re.compile(r"`(E[A-Z]+)`")
MIN_FRAGMENT = 4  # characters of a message between two gaps that must be found


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of any level."""
    _, _, rest = text.partition(f"# {heading}\n")
    assert rest, f"no section {heading}"
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """The first cells of the rows of all tables, without headings."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", row)[1].strip().replace("\\|", "|") for row in rows]
    rules = [number for number, cell in enumerate(cells) if set(cell) <= {"-"} and cell]
    headings = {number - 1 for number in rules}
    return [cell for number, cell in enumerate(cells) if number not in {*rules, *headings}]


def manual() -> str:
    return (DOCS / "manual.md").read_text()


def words_of_the_manual() -> list[str]:
    """Every option of the manual's table, with the name of its value unless it may be left out."""
    cells = first_cells(section(manual(), "mount.protozorfs"))
    return [re.sub(r"\[.*\]", "", word) for cell in cells for word in CODE.findall(cell)]


@cache
def functions(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


@cache
def texts_of_the_code() -> list[str]:
    """Every string of the package; what f-strings fill in is a NUL."""
    texts = []
    for path in (ROOT / "protozorfs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "\0" for part in node.values
                )
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


@pytest.mark.parametrize("name", ["promises.md", "dht.md", "design.md", "tools.md", "limits.md"])
def test_every_test_that_is_named_exists(name: str) -> None:
    text = (DOCS / name).read_text()
    named = NAMED_TEST.findall(text)
    assert named
    for path, function in named:
        assert (ROOT / path).exists(), path
        if function:
            assert function in functions(ROOT / path), f"{path}::{function}"


def test_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\| [RP]\d+ \|.*$", (DOCS / "promises.md").read_text(), re.MULTILINE)
    assert [row for row in rows if not NAMED_TEST.search(row.rpartition(" | ")[2])] == []
    numbers = [row.split()[1] for row in rows]
    assert len(set(numbers)) == len(numbers) > 20


def test_every_option_is_in_the_manual() -> None:
    names = {word.partition("=")[0] for word in words_of_the_manual()}
    expected = {WORDS.get(field.name, field.name) for field in fields(Options)}
    assert expected - names == set()
    assert {*KERNEL_WORDS, "debug", "fsname"} - names == set()


def test_every_option_of_the_manual_is_accepted() -> None:
    for word in words_of_the_manual():
        name, _, value = word.partition("=")
        setting = f"{name}={VALUES.get(value, 'x')}" if value else name
        parse_mount_command(["-o", setting, "/nowhere"], {})


def test_what_the_manual_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown option nosuch"):
        parse_mount_command(["-o", "nosuch", "/nowhere"], {})


def test_what_the_commands_take_of_the_options_is_in_the_manual() -> None:
    (told,) = re.findall(r"^`-o` takes (.*?)\n\n", section(manual(), "protozorfs"), re.M | re.S)
    names = {word.partition("=")[0] for word in CODE.findall(told)}
    settings = {
        word: f"{word}={VALUES.get(value, 'x')}" if value else word
        for word, _, value in (text.partition("=") for text in words_of_the_manual())
    }
    assert names < set(settings)
    for name, setting in settings.items():
        if name in names:
            parse_node_options([setting])
        else:
            with pytest.raises(UsageError, match=f"option {name} is for a mount"):
                parse_node_options([setting])


def test_exit_codes() -> None:
    mount_codes = first_cells(section(manual(), "Exit codes of mount.protozorfs"))
    assert mount_codes == ["0", str(USAGE_EXIT_CODE), str(MOUNT_FAILURE), "128 + N"]
    codes = first_cells(section(manual(), "Exit codes of protozorfs"))
    assert codes == ["0", str(EXIT_FAILED), "2", "128 + N"]  # 2: click's, of a wrong command line


def test_every_message_of_the_manual_is_one_of_the_code() -> None:
    messages = [cell.strip("`") for cell in first_cells(section(manual(), "Messages"))]
    assert len(messages) > 20
    for message in messages:
        fragments = [part for part in re.split(r"\.\.\.|\bN\b", message) if part.strip()]
        assert any(len(part.strip()) >= MIN_FRAGMENT for part in fragments), message
        pattern = re.compile(".*".join(map(re.escape, fragments)), re.DOTALL)
        assert any(pattern.search(text) for text in texts_of_the_code()), message


def test_every_errno_of_the_mount_is_in_the_manual() -> None:
    told = set(ERRNO.findall(section(manual(), "What system calls say")))
    assert {errno.errorcode[code] for code in ERRNOS.values()} - told == set()
    assert all(hasattr(errno, name) for name in told)


def test_every_state_is_in_the_manual() -> None:
    states = first_cells(section(manual(), "States of a feed"))
    assert {state.strip("`") for state in states} == {state.value for state in FeedState}


def test_every_file_of_a_store_is_in_its_document() -> None:
    listed = (DOCS / "formats.md").read_text().partition("```\n")[2].partition("```")[0]
    assert layout.__doc__ is not None
    names = re.findall(r"^ +([a-z_.]+)  ", layout.__doc__, re.MULTILINE)
    assert len(names) > 10
    assert [name for name in names if not re.search(rf"^ +{name}\b", listed, re.MULTILINE)] == []


def test_every_module_is_in_the_design_and_no_other() -> None:
    rows = re.findall(
        r"^\| (`\w+/?`|base) \|(.*)\|.*\|$", (DOCS / "design.md").read_text(), re.MULTILINE
    )
    told = {name.strip("`/"): set(CODE.findall(modules)) for name, modules in rows}
    package = ROOT / "protozorfs"
    top = {path.stem for path in package.glob("*.py")} - {"__init__"}
    found = {"base": top - {"app"}, "app": set[str]()}
    for room in package.iterdir():
        if (room / "__init__.py").exists():
            found[room.name] = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert {room: told.get(room) for room in found} == found


def test_the_license_is_there_and_goes_with_the_package() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 the protozorfs developers\n")
    described = metadata("protozorfs")
    assert described["License"] == "MIT"
    assert described.get_all("License-File") == ["LICENSE"]


def headings(document: Path) -> set[str]:
    """The names by which links reach a document's headings."""
    found = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *DOCS.glob("*.md")]:
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.DOTALL)
        for path, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", prose):
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {path}"
            assert not anchor or anchor in headings(target), f"{document.name}: {path}#{anchor}"
