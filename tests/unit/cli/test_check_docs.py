"""docs/check.md against the code: findings, fields, exit codes, files."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import protozorfs
from protozorfs.cli import check_command, check_report
from protozorfs.cli.check_report import State, Summary, json_text
from protozorfs.store.findings import Finding, Kind, Remedy, Severity
from protozorfs.store.old_names import OLD_FILES
from protozorfs.store.store_check import known_files
from tests.unit.test_docs import section

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "check.md").read_text()


def kinds() -> dict[str, Kind]:
    """Every kind of finding that any module of the package makes."""
    found: dict[str, Kind] = {}
    for module in pkgutil.walk_packages(protozorfs.__path__, "protozorfs."):
        if module.name.endswith("_check"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, Kind):
                    assert found.setdefault(value.code, value) is value
    return found


def test_every_finding_is_there_and_no_other() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (\w+) \|", TEXT, re.MULTILINE)
    found = [(kind.code, kind.severity.value, kind.remedy.value) for kind in kinds().values()]
    assert sorted(rows) == sorted(found)


def test_sentences_are_parts_of_one() -> None:
    for kind in kinds().values():
        for text in (kind.meaning, kind.advice):
            assert text[0] in "`(" or text[0].islower(), text
            assert not text.endswith("."), text
            assert "\n" not in text


def test_fields_are_those_of_the_object() -> None:
    told = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section(TEXT, "As JSON"), re.M))
    )
    finding = Finding(kind=next(iter(kinds().values())), path="x", what="x")
    reported = [check_report.Reported(finding, None, State.FOUND)]
    text = json_text(Summary(Path("s"), False, 0, 0), reported, 0)
    assert sorted(told) == sorted(set(re.findall(r'^ +"(\w+)":', text, re.MULTILINE)))


def test_exit_codes_and_words() -> None:
    codes = re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)
    command = check_command
    names = ("CORRECTED", "LEFT", "FAILED", "WRONG_USAGE", "CANCELLED")
    assert list(map(int, codes)) == [0, *(getattr(command, name) for name in names)]
    for word in (*Severity, *Remedy, *State):
        assert re.search(rf"\b{word.value}\b", TEXT), word


def test_every_file_of_a_store_is_known_to_the_check() -> None:
    listed = (ROOT / "docs" / "formats.md").read_text().partition("```\n")[2].partition("```")[0]
    lines = re.findall(r"^ {4,8}([a-z_.]+)(?:  ([a-z_.1]+))? ", listed, re.MULTILINE)
    names = {name for pair in lines for name in pair if name}
    assert names == known_files() - set(OLD_FILES)
