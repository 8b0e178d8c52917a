"""Mistakes of users: one clear sentence, the exit code of the manual, and no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import WAIT_SECONDS, at, free_port, mounted_at, options, shell
from tests.mounts import installed_command, is_listed
from tests.node_peer import LOOPBACK
from tests.users import AS_NOBODY, admitting, missing_for_others

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.fuse

WRONG_COMMAND_LINE, NOT_MOUNTED = 1, 32  # docs/manual.md, "Exit codes of mount.protozorfs"
NOT_A_POINT = "02" + 31 * "00"  # 64 hex digits, and no Ed25519 key
WITHOUT_CAPABILITIES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # root as a user
HIDE_DEV_FUSE = """
mkdir "$0/dev"
for name in null zero random urandom; do
  touch "$0/dev/$name"
  mount --bind "/dev/$name" "$0/dev/$name"
done
mount --rbind "$0/dev" /dev
"""
# In a user namespace, where no device can be made, it is open to all, or it would not be to us.
OPEN_DEV_FUSE = """
mount -t tmpfs tmpfs /mnt
if mknod -m 666 /mnt/fuse c 10 229 2> /dev/null; then mount --bind /mnt/fuse /dev/fuse; fi
"""
CLOSED_DEV_FUSE = """
mount -t tmpfs tmpfs /mnt
mknod -m 600 /mnt/fuse c 10 229 2> /dev/null || install -m 600 /dev/null /mnt/fuse
mount --bind /mnt/fuse /dev/fuse
"""


def run(*command: str | Path) -> tuple[int, str, str]:
    """The exit code of a command, and what it says on its two outputs."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
    return done.returncode, done.stdout, done.stderr


def mount_command(*arguments: str | Path, settings: str | None = None) -> list[str | Path]:
    """The installed command, with options that suit these tests unless others are given."""
    return [*installed_command(), *arguments, "-o", settings or options(free_port())]


def expect_failure(code: int, sentence: str, *command: str | Path) -> None:
    """The command says one line with this in it, and ends with this code."""
    got, said, complaint = run(*command)
    (line,) = complaint.splitlines()
    assert sentence in line
    assert line.startswith(("mount.protozorfs: ", "protozorfs: "))
    assert (got, said) == (code, "")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("nosuch", "unknown option nosuch"),
        ("nosuch=1", "unknown option nosuch"),
        ("peer=example", "option peer=example: expected HOST:PORT"),
        ("peer=:4000", "option peer=:4000: expected HOST:PORT"),
        ("peer=example:http", "expected a port number from 1 to 65535"),
        ("peer=example:65536", "expected a port number from 1 to 65535"),
        ("peer=::1:4000", "an IPv6 address must stand in brackets"),
        ("bootstrap=example", "option bootstrap=example: expected HOST:PORT"),
        ("port=0", "expected a port number from 1 to 65535"),
        ("bind=somewhere", "option bind=somewhere: "),
        ("sparse=1", "option sparse takes no value"),
        ("read_timeout=soon", "option read_timeout=soon: expected seconds"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, option: str, sentence: str) -> None:
    (tmp_path / "m").mkdir()
    command = mount_command(tmp_path / "store", tmp_path / "m", settings=option)
    expect_failure(WRONG_COMMAND_LINE, sentence, *command)
    assert not (tmp_path / "store").exists()
    assert not is_listed(tmp_path / "m")


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"]], ids=["none", "three"])
def test_arguments_too_few_or_too_many(arguments: Sequence[str]) -> None:
    sentence = "expected [STORE] MOUNTPOINT"
    expect_failure(WRONG_COMMAND_LINE, sentence, *installed_command(), *arguments)


def test_a_mount_point_that_is_missing_or_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    missing, file = tmp_path / "missing", tmp_path / "file"
    expect_failure(
        NOT_MOUNTED,
        f"{missing}: No such file or directory",
        *mount_command(tmp_path / "store", missing),
    )
    expect_failure(
        NOT_MOUNTED, f"{file}: not a directory", *mount_command(tmp_path / "store", file)
    )


def test_a_store_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for name, sentence in (("file", "is not a directory"), ("photos", "holds something else")):
        command = mount_command(tmp_path / name, tmp_path / "m")
        expect_failure(WRONG_COMMAND_LINE, sentence, *command)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_busy_mount_point_and_a_locked_store(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with mounted_at(tmp_path, "m", free_port()) as mount:
        command = mount_command(tmp_path / "other.store", mount.path)
        expect_failure(NOT_MOUNTED, f"{mount.path}: already mounted", *command)
        in_use = f"is in use by process {mount.process.pid}, mounted at {mount.path}"
        expect_failure(NOT_MOUNTED, in_use, *mount_command(mount.store, tmp_path / "other"))
        shell(f"echo unharmed >> {mount.path}/journal; cat {mount.path}/journal")
    assert not is_listed(tmp_path / "other")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        command = mount_command(tmp_path / "store", tmp_path / "m", settings=options(port))
        expect_failure(WRONG_COMMAND_LINE, f"cannot listen on port {port}", *command)
    assert not is_listed(tmp_path / "m")


@pytest.mark.parametrize("text", ["abc", "g" * 64, NOT_A_POINT], ids=["short", "digits", "point"])
def test_what_is_no_id_cannot_be_followed(tmp_path: Path, text: str) -> None:
    with mounted_at(tmp_path, "m", free_port()) as mount:
        code, _, complaint = run("ln", "-s", text, mount.path / "paul")
        assert (code, complaint.count("\n")) == (1, 1)
        assert complaint.endswith("Invalid argument\n")
        protozorfs = Path(sys.executable).with_name("protozorfs")
        expect_failure(1, "not a feed ID", protozorfs, "add", text, "paul", "--store", mount.store)
        assert os.listdir(mount.path) == []


# What needs a mount namespace of its own, or another user.


def in_namespace(directory: Path, setup: str, *command: str | Path) -> list[str | Path]:
    """A command in a mount namespace in which `setup`, a script, was run; $0 is the directory."""
    script = f'set -e\n{setup}\nexec "$@"'
    return ["unshare", "--mount", "bash", "-c", script, directory, *command]


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may use, with a mount point."""
    with tempfile.TemporaryDirectory(prefix="protozorfs-") as name:
        directory = Path(name)
        (directory / "m").mkdir()
        directory.chmod(0o1777)  # as /tmp
        (directory / "m").chmod(0o777)
        yield directory


@pytest.fixture
def admitted(public: Path) -> str:
    """What lets a user without rights reach the installed commands."""
    reason = missing_for_others()
    if reason is not None:
        pytest.skip(reason)
    (public / "programs").mkdir()
    return admitting(f"{public}/programs")


def test_no_dev_fuse(public: Path) -> None:
    command = mount_command(public / "store", public / "m")
    hidden = in_namespace(public, HIDE_DEV_FUSE, *command)
    expect_failure(NOT_MOUNTED, "there is no /dev/fuse", *hidden)


def test_rights_that_are_missing(public: Path) -> None:
    (public / "locked").mkdir(0o500)
    command = mount_command(public / "locked" / "store", public / "m")
    no_store = f"no permission to use {public}/locked/store as a store"
    expect_failure(WRONG_COMMAND_LINE, no_store, *WITHOUT_CAPABILITIES, *command)
    command = mount_command(public / "store", public / "m")
    not_allowed = f"{public}/m: mount failed: Operation not permitted"
    expect_failure(NOT_MOUNTED, not_allowed, *WITHOUT_CAPABILITIES, *command)
    assert not is_listed(public / "m")


def test_another_user(public: Path, admitted: str) -> None:
    (public / "roots").mkdir(0o700)
    (public / "root-m").mkdir(0o755)
    cases = [
        (NOT_MOUNTED, "no write access to mountpoint", "store", "root-m"),
        (WRONG_COMMAND_LINE, f"no permission to use {public}/roots as", "roots", "m"),
        (WRONG_COMMAND_LINE, f"no permission to use {public}/roots/s as", "roots/s", "m"),
    ]
    for code, sentence, store, mount_point in cases:
        command = mount_command(public / store, public / mount_point)
        opened = in_namespace(public, OPEN_DEV_FUSE + admitted, *AS_NOBODY, *command)
        expect_failure(code, sentence, *opened)
    command = mount_command(public / "store", public / "m")
    closed = in_namespace(public, CLOSED_DEV_FUSE + admitted, *AS_NOBODY, *command)
    expect_failure(NOT_MOUNTED, "no permission to use /dev/fuse", *closed)


def test_another_user_needs_no_rights_to_mount(public: Path, admitted: str) -> None:
    """The script of an unprivileged user, who mounts, appends, reads and unmounts."""
    mount = " ".join(map(str, mount_command(public / "store", public / "m")))
    script = f"""
    set -e
    {mount}
    echo hello >> {public}/m/journal
    cat {public}/m/journal
    fusermount3 -u {public}/m
    flock --timeout 10 {public}/store/lock true  # held until the daemon has ended
    """
    command = in_namespace(public, OPEN_DEV_FUSE + admitted, *AS_NOBODY, "bash", "-c", script)
    assert run(*command) == (0, "hello\n", "")


def test_another_user_copies_in_what_tools_set_attributes_of(public: Path, admitted: str) -> None:
    """What is not theirs they cannot give away, and nobody's tools try that."""
    mount = " ".join(map(str, mount_command(public / "store", public / "m")))
    script = f"""
    set -e
    {mount}
    cd {public}/m
    printf hello > ../src
    chmod 600 ../src
    cp -p ../src a
    install -m 750 -g $(id -g) ../src b
    tar -C .. -cf - src | tar xpf -
    rsync -a --inplace ../src c
    mv ../src d
    chown $(id -u):$(id -g) a
    for change in 'chgrp 1' 'chown 0' 'chmod 400' 'chmod u+s'; do
        if $change a 2> /dev/null; then echo "$change"; fi
    done
    cat a b c d src
    cd /
    fusermount3 -u {public}/m
    flock --timeout 10 {public}/store/lock true  # held until the daemon has ended
    """
    command = in_namespace(public, OPEN_DEV_FUSE + admitted, *AS_NOBODY, "bash", "-c", script)
    assert run(*command) == (0, "hello" * 5, "")


def test_a_store_is_for_its_user_alone(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "m", free_port(), at(free_port())) as mount:
        shell(f"echo hello >> {mount.path}/journal")
        assert mount.store.stat().st_mode & 0o077 == 0
