"""A feed's file behaves as a file with `chattr +a` does: docs/manual.md, "What can be done"."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.errnos import expect
from tests.users import has_user

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

NOT_PERMITTED = "Operation not permitted"
PYTHON_OPEN = "exec python3 -c \"open('f','{}').write('zz')\""

# Commands that must fail with EPERM on an owned feed `f` and leave it as it is. `src` is a file of
# more bytes beside it.
DESTRUCTIVE = [
    "echo x > f",
    ": > f",
    "dd if=src of=f status=none",
    "dd if=src of=f conv=notrunc status=none",
    "echo x | tee f >/dev/null",
    "cp src f",
    "cp -f src f",
    "cp --remove-destination src f",
    "install src f",
    "mv src f",
    "mv -f src f",
    "ln f g",
    "rm f",
    "rm -f f",
    "truncate -s 0 f",
    "truncate -s +10 f",
    "truncate -s 6 f",
    "sed -i s/h/j/ f",
    "sed -i.bak s/h/j/ f",
    "perl -pi -e s/h/j/ f",
    "sort -o f f",
    "patch -s f < p.diff",
    "fallocate -l 100 f",
    "exec 3<>f",
    "shred -n1 f",
    "chmod 400 f",
    "chmod u+s f",
    "chown 1:1 f",
    "mkdir d",
    "mknod n p",
    "mkfifo p",
    "touch .hidden",
    "mktemp -p . tmpXXXXXX",
]

# Commands that must succeed, and what `f` holds then.
HARMLESS = [
    ("echo x >> f", b"hello\nx\n"),
    (": >> f", b"hello\n"),
    ("cat src >> f", b"hello\nhello2\n"),
    ("dd if=src of=f conv=notrunc oflag=append status=none", b"hello\nhello2\n"),
    ("echo x | tee -a f > /dev/null", b"hello\nx\n"),
    (PYTHON_OPEN.format("a"), b"hello\nzz"),
    (PYTHON_OPEN.format("a+"), b"hello\nzz"),
    ("exec 3>>f; echo a >&3; echo b >&3", b"hello\na\nb\n"),
    ("touch f", b"hello\n"),
    ("touch -d 2001-01-01 f", b"hello\n"),
    ("flock f true", b"hello\n"),
    ("sync f", b"hello\n"),
    ("chmod 600 f", b"hello\n"),
    ("cat f | cmp - f", b"hello\n"),
]


def run_in(directory: Path, feed: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell command in a directory where `f` names the feed."""
    return subprocess.run(
        ["bash", "-c", command.replace("of=f", f"of={feed.name}")],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


@pytest.fixture
def feed(shared: Staged, tmp_path: Path) -> Path:
    """An owned feed named `f`, alone in the mount."""
    for left in shared.path.iterdir():
        os.setxattr(left, "protozorfs.delete_key", os.getxattr(left, "protozorfs.id"))
    path = shared.path / "f"
    with path.open("ab", buffering=0) as file:
        file.write(b"hello\n")
    return path


def prepared(command: str, outside: Path) -> str:
    """The command, with the files that it uses outside of the mount."""
    (outside / "src").write_text("hello2\n")
    (outside / "p.diff").write_text("--- f\n+++ f\n@@ -1 +1,2 @@\n hello\n+x\n")
    return command.replace("src", str(outside / "src")).replace("p.diff", str(outside / "p.diff"))


@pytest.mark.parametrize("command", DESTRUCTIVE)
def test_what_would_change_a_feed_is_refused(feed: Path, tmp_path: Path, command: str) -> None:
    if shutil.which(command.split()[0]) is None and command.split()[0] not in ("exec", ":"):
        pytest.skip(f"{command.split()[0]} is not installed")
    if command.startswith("chown") and not has_user(1):
        pytest.skip("there is no user 1 here")
    done = run_in(feed.parent, feed, prepared(command, tmp_path))
    assert feed.read_bytes() == b"hello\n"
    if not command.startswith("perl"):  # it says so, and exits with 0
        assert done.returncode != 0
    if not command.startswith("patch"):  # it leaves the file that it could not rename, a new feed
        assert NOT_PERMITTED in done.stderr
        assert [path.name for path in feed.parent.iterdir()] == ["f"]


@pytest.mark.parametrize(("command", "expected"), HARMLESS)
def test_what_appends_or_looks_works(
    feed: Path, tmp_path: Path, command: str, expected: bytes
) -> None:
    done = run_in(feed.parent, feed, prepared(command, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert feed.read_bytes() == expected


def vim(keys: str, feed: Path) -> subprocess.CompletedProcess[bytes]:
    command = [
        "vim",
        "-u",
        "NONE",
        "-N",
        "-es",
        "-c",
        "normal Gox",
        "-c",
        keys,
        "-c",
        "q!",
        str(feed),
    ]
    return subprocess.run(command, capture_output=True, timeout=20, check=False)


@pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
def test_vim_cannot_replace_a_feed_but_append(feed: Path) -> None:
    for keys in ("w", "w!"):
        vim(keys, feed)
        assert feed.read_bytes() == b"hello\n"
        assert [path.name for path in feed.parent.iterdir()] == ["f"]
    vim("w >> f", feed.parent / "f")
    assert feed.read_bytes().startswith(b"hello\n")


def test_a_followed_feed_cannot_be_opened_for_writing_even_by_root(shared: Staged) -> None:
    path = shared.followed(10, 10)
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        expect(errno.EACCES, lambda flags=flags: os.open(path, flags))  # type: ignore[misc]
    assert path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("command", ["cp -f src f", "cp src f", "sed -i s/0/1/ f", "chmod +w f"])
def test_tools_do_not_replace_a_followed_feed(shared: Staged, tmp_path: Path, command: str) -> None:
    path = shared.followed(64, 64)
    feed_id = os.getxattr(path, "protozorfs.id")
    before = path.read_bytes()
    words = [path.name if word == "f" else word for word in prepared(command, tmp_path).split()]
    done = subprocess.run(words, cwd=path.parent, capture_output=True, timeout=20, check=False)
    assert done.returncode != 0
    assert os.getxattr(path, "protozorfs.id") == feed_id
    assert path.read_bytes() == before


def test_a_new_file_may_be_written_in_sequence(shared: Staged, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    target = shared.path / "copied"
    subprocess.run(["cp", source, target], check=True, timeout=20)
    assert target.read_bytes() == source.read_bytes()
    descriptor = os.open(shared.path / "sequence", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        assert os.write(descriptor, b"abc") == 3
        assert os.pwrite(descriptor, b"def", 3) == 3
        expect(errno.EPERM, lambda: os.pwrite(descriptor, b"X", 0))
        expect(errno.EPERM, lambda: os.pwrite(descriptor, b"X", 9))
        expect(errno.EPERM, lambda: os.ftruncate(descriptor, 0))
        expect(errno.EPERM, lambda: os.ftruncate(descriptor, 7))
        assert os.pread(descriptor, 100, 0) == b"abcdef"
    finally:
        os.close(descriptor)


def test_who_makes_a_file_may_set_the_size_that_it_has(shared: Staged, tmp_path: Path) -> None:
    """What libuv (`fs.copyFile` of Node) does before it copies, and rsync afterwards."""
    path = shared.path / "sized"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"abc")
        os.ftruncate(descriptor, 3)
        expect(errno.EPERM, lambda: os.ftruncate(descriptor, 2))
        expect(errno.EPERM, lambda: os.truncate(path, 3))
    finally:
        os.close(descriptor)
    again = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        expect(errno.EPERM, lambda: os.ftruncate(again, 3))
    finally:
        os.close(again)
    assert path.read_bytes() == b"abc"


def test_errors_of_the_layer_below_have_their_errno(shared: Staged) -> None:
    path = shared.owned()
    faults = {"full": errno.ENOSPC, "frozen": errno.EROFS, "closing": errno.EIO}
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        for fault, code in faults.items():
            shared.control("set", path.name, fault=fault)
            expect(code, lambda: os.write(descriptor, b"x"))
        shared.control("set", path.name, fault="")
        assert os.write(descriptor, b"x") == 1
    finally:
        os.close(descriptor)
    shared.control("set", path.name, is_damaged=True)
    expect(errno.EIO, path.read_bytes)
    shared.control("set", path.name, is_damaged=False)
    assert path.read_bytes() == b"hello\nx"


def test_xattrs_cannot_be_changed(shared: Staged) -> None:
    path = shared.owned()
    expect(errno.EPERM, lambda: os.setxattr(path, "user.a", b"1"))
    expect(errno.EPERM, lambda: os.setxattr(path, "protozorfs.id", b"1"))
    expect(errno.EPERM, lambda: os.removexattr(path, "protozorfs.id"))
    expect(errno.ENODATA, lambda: os.getxattr(path, "user.a"))
    expect(errno.ENODATA, lambda: os.getxattr(path, "protozorfs.nothing"))
