"""The installed commands from their first moment on: Ctrl-C, and standard files that are no good.

A moment is counted from where the program itself has begun: what Python loads before that, in some
20 ms, no program has a say in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mounts import is_listed, unmount
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPTS = ("protozorfs", "mount.protozorfs", "umount.protozorfs")
BIN = Path(sys.executable).parent
ALONE = "bind=127.0.0.1,nodht,nolan,noportmap"
FIRST_MODULE = "protozorfs.cli.start"
IMPORT = "import time:"  # how lines of `-X importtime` begin
END_SECONDS = 20.0  # the machine may be busy
IMPORTS = (1, 10, 30, 60, 100, 150, 200, 250, 300, 350)  # moments: that many modules are loaded
DELAYS = range(0, 301, long_or_short(3, 50))  # moments: milliseconds after the beginning
SERVING = "end of input; serving the feed until Ctrl-C"


def imports(errors: Path) -> int:
    """How many modules are loaded since the program began, by what `-X importtime` said so far.

    What serves has loaded all, as many as there are: some 350, fewer with newer Pythons.
    """
    _, _, since = errors.read_text(errors="replace").partition(FIRST_MODULE)
    return max(IMPORTS) if SERVING in since else since.count(IMPORT)


def interrupted(command: Sequence[str], errors: Path, moment: tuple[int, float]) -> int:
    """The exit code of a command whose process group gets SIGINT, as a terminal sends it.

    The moment is a number of imports, and seconds after them.
    """
    script, *arguments = command
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", str(BIN / script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    count, delay = moment
    deadline = time.monotonic() + END_SECONDS
    try:
        while imports(errors) < count and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        return process.wait(END_SECONDS)
    finally:
        process.kill()
        process.wait()


def complaints(errors: Path) -> list[str]:
    """What was said besides the list of imports, whose last line may have been cut."""
    lines = errors.read_text(errors="replace").splitlines()
    return [line for line in lines if IMPORT not in line and not IMPORT.startswith(line)]


def moments() -> Iterator[tuple[int, float]]:
    yield from ((count, 0.0) for count in IMPORTS)
    yield from ((1, delay / 1000) for delay in DELAYS)


def test_ctrl_c_at_any_moment_of_a_command_is_silent(tmp_path: Path) -> None:
    command = ["protozorfs", "ls", "--store", str(tmp_path / "store")]
    codes = []
    for moment in moments():
        codes.append(interrupted(command, tmp_path / "errors", moment))
        assert complaints(tmp_path / "errors") == [], moment
    assert codes[0] == -signal.SIGINT
    assert set(codes) <= {-signal.SIGINT, 0}
    listing = [str(BIN / command[0]), *command[1:]]
    assert subprocess.run(listing, capture_output=True).returncode == 0


def test_ctrl_c_at_any_moment_ends_what_serves(tmp_path: Path) -> None:
    command = ["protozorfs", "write", "-o", ALONE, "--store", str(tmp_path / "store")]
    for moment in [*moments(), (1, 1.5)]:
        assert interrupted(command, tmp_path / "errors", moment) == -signal.SIGINT, moment
        assert [line for line in complaints(tmp_path / "errors") if line != SERVING] == [], moment
    listing = [str(BIN / "protozorfs"), "ls", "--store", str(tmp_path / "store")]
    assert subprocess.run(listing, capture_output=True).returncode == 0


@pytest.mark.fuse
@pytest.mark.parametrize("flags", [(), ("--foreground",)], ids=["background", "foreground"])
def test_ctrl_c_at_any_moment_of_mounting(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    command = ["mount.protozorfs", str(store), str(path), "-o", ALONE, *flags]
    for moment in moments():
        code = interrupted(command, tmp_path / "errors", moment)
        is_up = is_listed(path)
        if is_up:
            assert unmount(path).returncode == 0
        assert complaints(tmp_path / "errors") == [], moment
        # Back from the background with success: the mount is there, and only then.
        assert (code, is_up) in {(-signal.SIGINT, False), (0, not flags)}, moment
        free = ["flock", "--wait", "10", str(store / "lock"), "true"]
        assert not store.exists() or subprocess.run(free).returncode == 0, moment


def test_what_nohup_started_outlives_its_terminal(tmp_path: Path) -> None:
    command = ["env", "--ignore-signal=HUP", str(BIN / "protozorfs"), "write", "-o", ALONE]
    with subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            assert len(process.stdout.readline()) == 65  # its ID: it serves
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_SECONDS) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_tells_its_version(script: str) -> None:
    command = [str(BIN / script), "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"{script} {version('protozorfs')}\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_output_that_nobody_takes(script: str) -> None:
    """What a program says at its very end is buffered, and Python's own end would complain."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def run(redirection: str) -> tuple[int, str]:
        shell = ["bash", "-c", f'"$0" --help {redirection}', str(BIN / script)]
        done = subprocess.run(shell, env=environ, capture_output=True, text=True)
        return done.returncode, done.stderr

    assert run(">&-") == (0, "")
    code, said = run(">/dev/full")
    assert code in (1, 32)
    assert said == f"{script}: No space left on device\n"
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as unread:
        command = [str(BIN / script), "--help"]
        done = subprocess.run(command, env=environ, stdout=unread, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.fuse
def test_a_name_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    store = str(tmp_path / "store")

    def run(*command: str, encoding: str) -> str:
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    run("protozorfs", "new", "日本", "--store", store, encoding="latin-1:strict")
    listed = run("protozorfs", "ls", "--store", store, encoding="latin-1:strict")
    assert "\\u65e5\\u672c" in listed
    path = os.fsdecode(bytes(tmp_path) + b"/\xff")
    os.mkdir(path)
    arguments = ("-v", store, path, "-o", ALONE)
    try:
        assert "/\\xff" in run("mount.protozorfs", *arguments, encoding="utf-8:strict")
        assert "/\\xff" in run("umount.protozorfs", "-v", path, encoding="utf-8:strict")
    finally:
        if is_listed(Path(path)):
            unmount(Path(path), "-z")


def test_a_closed_standard_file_is_not_taken_for_the_store(tmp_path: Path) -> None:
    """A feed on standard output must not be written into whatever file got the number 1."""
    store = tmp_path / "store"

    def run(arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        script = f'"$0" {arguments} --store "$1"'
        shell = ["bash", "-c", script, str(BIN / "protozorfs"), str(store)]
        return subprocess.run(shell, input=text, capture_output=True, text=True)

    feed_id = run(f"write --no-serve -o {ALONE}", "precious\n").stdout.strip()
    read = run(f"read {feed_id} --no-follow -o {ALONE} >&-")
    assert (read.returncode, read.stderr) == (
        1,
        "protozorfs: Bad file descriptor\n",
    )
    write = run(f"write --name n --no-serve -o {ALONE} <&-")
    assert write.returncode == 1
    assert write.stderr == "protozorfs: Bad file descriptor\n"
    assert run(f"read {feed_id} --no-follow -o {ALONE}").stdout == "precious\n"


ALL_CLOSED = "<&- >&- 2>&-"
# Command lines, how their standard files are, exit codes, and complaints. STORE has "journal".
WITHOUT_STANDARD_FILES = [
    ("protozorfs ls --store STORE", (">&-", ALL_CLOSED), 0, ""),
    (
        "protozorfs id none --store STORE",
        (">&-", "2>&-", "2>/dev/full"),
        1,
        "protozorfs: none: no feed of that name\n",
    ),
    (
        "protozorfs rm journal --delete-key --store STORE",
        ("<&-", ALL_CLOSED),
        1,
        "\nprotozorfs: nothing was done\n",
    ),
    (
        "mount.protozorfs STORE /none",
        (">&-", "2>&-", "2>/dev/full"),
        32,
        "mount.protozorfs: /none: No such file or directory\n",
    ),
    (
        "umount.protozorfs /none",
        ("2>&-", ALL_CLOSED),
        32,
        "umount.protozorfs: /none: no mount of protozorfs\n",
    ),
]


def test_commands_whose_standard_files_are_closed(tmp_path: Path) -> None:
    """What cannot be said or asked changes no exit code, and goes nowhere else."""
    store = tmp_path / "store"
    new = [str(BIN / "protozorfs"), "new", "journal", "--store", str(store)]
    subprocess.run(new, check=True, stdout=subprocess.DEVNULL)
    for line, redirections, code, complaint in WITHOUT_STANDARD_FILES:
        for redirection in redirections:
            script = f"{BIN}/{line.replace('STORE', str(store))} {redirection}"
            done = subprocess.run(
                ["bash", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            expected = "" if "2>" in redirection else complaint
            assert (done.returncode, done.stderr) == (code, expected), script
            assert "protozorfs: " not in done.stdout, script


@pytest.mark.fuse
def test_a_mount_that_cannot_say_so_goes_on(tmp_path: Path) -> None:
    """`--foreground -v` with a full, an unread and a closed standard output."""
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    reading, writing = os.pipe()
    os.close(reading)
    for output in (os.open("/dev/full", os.O_WRONLY), writing):
        with subprocess.Popen(
            [str(BIN / "mount.protozorfs"), store, path, "--foreground", "-v", "-o", ALONE],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        ) as daemon:
            os.close(output)
            assert daemon.stderr is not None
            assert "standard output: " in daemon.stderr.readline()
            assert is_listed(path)
            assert os.listdir(path) == []
            daemon.terminate()
            assert daemon.wait(END_SECONDS) == 0
            assert daemon.stderr.read() == ""


@pytest.mark.fuse
def test_a_daemon_without_standard_files_keeps_its_lock(tmp_path: Path) -> None:
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    shell = ["bash", "-c", '"$0" "$1" "$2" -o "$3" <&- >&- 2>&-']
    command = [str(BIN / "mount.protozorfs"), str(store), str(path), ALONE]
    assert subprocess.run([*shell, *command]).returncode == 0
    try:
        held = ["flock", "--nonblock", str(store / "lock"), "true"]
        assert subprocess.run(held).returncode == 1
        with (path / "journal").open("ab") as journal:
            journal.write(b"hello\n")
        assert (path / "journal").read_bytes() == b"hello\n"
    finally:
        unmount(path)


def test_who_sits_at_a_terminal_is_told_to_type(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [str(BIN / "protozorfs"), "write", "--no-serve", "-o", ALONE]
    with subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert "Ctrl-D ends the input" in process.stderr.readline()
            os.write(ours, b"hello\n\x04")
            assert process.wait(END_SECONDS) == 0
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


def test_what_needs_no_node_loads_none() -> None:
    """Most of a start is trio, pyfuse3 and the node: `--help` and mistakes do without."""
    script = """
import sys
from protozorfs.cli import commands, mounting, umount
assert commands.run(["read", "nonsense"]) == 1
assert mounting.run(["-o", "nonsense", "m"], None) == 1
assert mounting.run(["--help"], None) == 0
sys.exit(str(sorted({"trio", "pyfuse3", "protozorfs.app"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_no_command_leaves_a_core_file() -> None:
    """It would have the secret keys."""
    script = "import resource, sys; from protozorfs.cli import start; start._begin();"
    script += "print(resource.getrlimit(resource.RLIMIT_CORE))"
    command = ["bash", "-c", 'ulimit -c unlimited; exec "$@"', "run", sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "(0, 0)\n"
