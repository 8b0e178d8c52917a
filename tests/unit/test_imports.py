"""The direction of imports and what pure packages may not touch: docs/design.md, "Rooms"."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "protozorfs"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each room may import besides itself; "base" is every top-level module except app.
MAY_IMPORT = {
    "base": set[str](),
    "store": {"base"},
    "log": {"base", "store"},
    "feeds": {"base", "store", "log"},
    "wire": {"base", "log"},  # log: for its value types
    "dht": {"base"},
    "swarm": {"base", "store", "log", "feeds", "wire", "dht"},
    "fs": {"base", "store", "log", "feeds"},
    "app": {"base", "store", "log", "feeds", "wire", "dht", "swarm", "fs"},
    "cli": {"base", "store", "log", "feeds", "wire", "dht", "swarm", "fs", "app"},
}
# Sans-I/O rooms, and what would be I/O, a clock or a source of randomness.
PURE = {"base", "log", "wire"}
DRIVERS = {"dht": {"node", "udp"}}  # of rooms that are pure but for these modules
IMPURE_MODULES = {
    *("trio", "socket", "ssl", "select", "selectors", "asyncio", "threading", "subprocess"),
    *("os", "io", "pathlib", "shutil", "tempfile", "mmap", "fcntl", "sqlite3"),
    *("time", "datetime", "random", "secrets", "uuid"),
}
EXEMPT = {
    "protozorfs/crypto.py": {"os"},  # random_bytes, which only drivers call
    "protozorfs/log/sync.py": {"threading"},  # a lock: syncs are what another thread may call
}
FILE_CALLS = {"open", "os.open", "os.pread", "os.pwrite", "os.fsync", "os.fdatasync", "io.open"}
ROOMS_WITH_FILES = {"store"}
# Files that are not the store's: the kernel's and the user's.
FILE_EXCEPTIONS = {
    "protozorfs/fs": "the kernel's tables in /proc and /sys, and /dev/fuse",
    "protozorfs/swarm/gateway.py": "the kernel's table of routes",
    "protozorfs/cli": "the null device and the log of a daemon, and the user's streams",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    if len(parts) > 1:
        return parts[0]
    return "app" if parts[0] == "app.py" else "base"


def imported_modules(path: Path) -> set[str]:
    """Full names of all that a module imports, wherever in it; types only counts as well."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] != "protozorfs" or len(parts) == 1:
            continue
        is_package = (PACKAGE / parts[1]).is_dir()
        is_module = (PACKAGE / f"{parts[1]}.py").exists()
        if is_package:
            rooms.add(parts[1])
        elif is_module:
            rooms.add("app" if parts[1] == "app" else "base")
    return rooms


def called_names(path: Path) -> set[str]:
    return {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }


def is_pure(path: Path) -> bool:
    room = room_of(path)
    if room in DRIVERS:
        return path.stem not in DRIVERS[room]
    return room in PURE


def test_every_room_has_its_rule() -> None:
    assert {room_of(path) for path in MODULES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    assert imported_rooms(path) <= MAY_IMPORT[room] | {room}


def test_swarm_and_fs_meet_only_in_feeds() -> None:
    assert "fs" not in MAY_IMPORT["swarm"]
    assert "swarm" not in MAY_IMPORT["fs"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_crypto_imports_nacl(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path)}
    assert "nacl" not in roots or name_of(path) == "protozorfs/crypto.py"


@pytest.mark.parametrize("path", [path for path in MODULES if is_pure(path)], ids=name_of)
def test_pure_modules_do_no_io(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path)}
    assert roots & IMPURE_MODULES <= EXEMPT.get(name_of(path), set())
    assert "open" not in called_names(path)
    calls_crypto_random = any(call.endswith("random_bytes") for call in called_names(path))
    assert not calls_crypto_random


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(path) not in ROOMS_WITH_FILES], ids=name_of
)
def test_only_the_store_calls_files(path: Path) -> None:
    if any(name_of(path).startswith(room) for room in FILE_EXCEPTIONS):
        return
    assert not called_names(path) & FILE_CALLS


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_swallowed(path: Path) -> None:
    """No handler of everything that does nothing."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        is_broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        does_nothing = all(isinstance(statement, ast.Pass) for statement in node.body)
        assert not (is_broad and does_nothing), f"line {node.lineno}"
