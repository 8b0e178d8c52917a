"""What `scripts/mutants` puts into a file: each kind of mistake, one at a time, at its place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts.mutating import edits_of, mutants_of

ROOT = Path(__file__).parents[2]


def changed(source: str) -> set[str]:
    """The sources with one mistake."""
    data = source.encode()
    return {
        (data[: edit.start] + edit.text.encode() + data[edit.end :]).decode()
        for edit in edits_of(data)
    }


@pytest.mark.parametrize(
    ("source", "mistakes"),
    [
        ("a < b", {"a <= b", "a >= b"}),
        ("a is not b", {"a is b"}),
        ("a not  in b", {"a in b"}),
        ("a < b == c", {"a <= b == c", "a >= b == c", "a < b != c"}),
        ("a + (b)", {"a - (b)"}),
        ("a and b and c", {"a or b and c", "a and b or c"}),
        ("not a", {"(a)"}),
        ("x = 7", {"x = 8", "x = 6"}),
        ("x = True", {"x = False"}),
        ('x = b"ab"', {"x = b'`b'"}),
        ("a[b:c]", {"a[:c]", "a[b:]"}),
        ("x = min(a)", {"x = max(a)"}),
        ("a()", {"pass"}),
        ("a.b = c", {"pass"}),
        ("a += b", {"a -= b", "pass"}),
        ("x = a if b else c", {"x = a if True else c", "x = a if False else c"}),
        ("x = [a for a in b if c]", {"x = [a for a in b if True]"}),
        ("def f():\n return a", {"def f():\n return None"}),
        ("def f():\n return False", {"def f():\n return True"}),
        ("while a:\n continue", {"while False:\n continue", "while a:\n break", "while a:\n pass"}),
        ("raise E(1)", {"pass"}),
    ],
)
def test_each_mistake_is_made_alone(source: str, mistakes: set[str]) -> None:
    assert changed(source) == mistakes


@pytest.mark.parametrize(
    "source",
    [
        '"""A text."""',
        "import a",
        "x: 'int | None'",
        "Event = Opened | Closed",
        "def f(a: int | None) -> b[1:2]: ...",
        "assert a == 1",
        "logger.info('a', 1)",
        "if TYPE_CHECKING:\n a()",
        "x = f'{a + 1}'",
        "class A(Protocol):\n def f(self): return 1",
        "@a(1)\ndef f(): ...",
    ],
)
def test_what_no_test_should_notice_is_left_alone(source: str) -> None:
    assert changed(source) == set()


def test_a_mistake_is_where_its_statement_begins() -> None:
    source = b"x = 1\ndef f():\n    return g(\n        a,\n        2,\n    )\n"
    places = {(edit.text, edit.line, edit.own_line, edit.is_imported) for edit in edits_of(source)}
    assert places == {
        *(("2", 1, 1, True), ("0", 1, 1, True), ("None", 3, 3, False)),
        *(("3", 3, 5, False), ("1", 3, 5, False)),
    }


def test_every_mutant_of_a_module_compiles_and_has_a_name_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    source = (ROOT / "protozorfs" / "log" / "flat_tree.py").read_bytes()
    path.write_bytes(source)
    before = {mutant.name for mutant in mutants_of(tmp_path, [path])}
    assert len(before) > 50
    for mutant in mutants_of(tmp_path, [path]):
        assert mutant.applied(source) != source
        ast.parse(mutant.applied(source))
    path.write_bytes(b"# A line more.\n" + source)
    assert {mutant.name for mutant in mutants_of(tmp_path, [path])} == before
