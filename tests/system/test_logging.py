"""What is logged where, what is asked for by SIGUSR1, and that no secret key is ever logged."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protozorfs import ids
from protozorfs.types import FeedId
from tests.e2e.half_held import half_held
from tests.e2e.stage import (
    WAIT_SECONDS,
    at,
    follow,
    free_port,
    id_of,
    options,
    running,
    wait_until,
    wait_whole,
)
from tests.mounts import installed_command, mounted
from tests.system.place import BIN, QUIET, wait_until_free
from tests.system.test_dead_mounts import is_stuck

if TYPE_CHECKING:
    from tests.mounts import Mount
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

READERS = 20
SEED_BYTES = 32
ATTRIBUTES = ("id", "length", "bytes", "local", "fork", "owned", "peers", "state")


def mount_in_background(directory: Path, *flags: str, **environ: str) -> str:
    """Mounts, appends, unmounts; returns the log in the store."""
    path, store = directory / "m", directory / "store"
    path.mkdir()
    command = [*installed_command(), str(store), str(path), *flags, "-o", QUIET]
    done = subprocess.run(
        command, capture_output=True, timeout=WAIT_SECONDS, env={**os.environ, **environ}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    try:
        with (path / "journal").open("ab") as journal:
            journal.write(b"hello\n")
    finally:
        subprocess.run([BIN / "umount.protozorfs", path], check=True, timeout=WAIT_SECONDS)
    wait_until_free(store, WAIT_SECONDS)
    log = store / "mount.log"
    return log.read_text() if log.exists() else ""


def modules_in(log: str) -> set[str]:
    return set(re.findall(r" (?:DEBUG|INFO|WARNING) ([\w.]+): ", log))


def test_a_daemon_logs_nothing_without_a_reason(tmp_path: Path) -> None:
    assert mount_in_background(tmp_path) == ""


@pytest.mark.parametrize(
    ("flags", "environ", "wanted"),
    [
        (("--debug",), {}, {"protozorfs.cli.serving"}),
        (("--debug=cli.serving",), {}, {"protozorfs.cli.serving"}),
        (("-o", "debug=cli"), {}, {"protozorfs.cli.serving"}),
        ((), {"PROTOZORFS_DEBUG": "cli,fs"}, {"protozorfs.cli.serving"}),
        (("--debug=fs",), {}, set()),
    ],
    ids=["all", "module", "option", "variable", "other"],
)
def test_details_of_what_is_asked_for(
    tmp_path: Path, flags: tuple[str, ...], environ: dict[str, str], wanted: set[str]
) -> None:
    modules = modules_in(mount_in_background(tmp_path, *flags, **environ))
    assert modules & {"protozorfs.cli.serving"} == wanted
    if flags == ("--debug=cli.serving",):
        assert modules == wanted


def test_a_daemon_tells_the_system_when_it_begins_and_ends(place: Place) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(str(place.directory / "log"))
        (place.directory / "log").chmod(0o666)
        system.settimeout(WAIT_SECONDS)
        place.must(f"mount.protozorfs $PWD/store $PWD/m -o {QUIET}", as_nobody=True)
        mounted_line = system.recv(10_000).decode()
        place.must("umount.protozorfs m", as_nobody=True)
        lines = [system.recv(10_000).decode()]
        system.setblocking(False)
        while True:
            try:
                lines.append(system.recv(10_000).decode())
            except BlockingIOError:
                break
    where = f"{place.directory}/store is mounted at {place.directory}/m"
    assert re.fullmatch(rf"<30>mount\.protozorfs\[\d+\]: INFO [\w.]+: {where}\0", mounted_line), (
        mounted_line
    )
    assert f"{place.directory}/m is unmounted and closed\0" in lines[-1]


def waiting_reads(said: str) -> list[int]:
    """How many reads waited, in each dump of all tasks that has arrived as a whole."""
    groups = re.findall(r" (\d+) x pyfuse\n((?:  .*\n)*)", said)
    return [int(found) for found, stack in groups if "Waits.run" in stack]


def test_sigusr1_tells_what_every_task_waits_for(tmp_path: Path) -> None:
    with half_held(tmp_path) as staged, ExitStack() as stack:
        daemon = staged.mount.process
        readers = [stack.enter_context(running("cat", staged.feed)) for _ in range(READERS)]

        def all_wait() -> bool:
            before = len(waiting_reads(staged.mount.said))
            daemon.send_signal(signal.SIGUSR1)
            wait_until(lambda: len(waiting_reads(staged.mount.said)) > before)
            return waiting_reads(staged.mount.said)[-1] == READERS

        wait_until(lambda: all(is_stuck(reader) for reader in readers))
        wait_until(all_wait)
        assert all(is_stuck(reader) for reader in readers)  # nothing was disturbed
        log = (staged.mount.path / ".protozorfs" / "log").read_text()
        assert waiting_reads(log)[-1] == READERS


def forms_of(secret: bytes) -> list[str]:
    """The ways in which a log could show 32 bytes, each without what depends on what follows."""
    return [
        secret.hex(),
        secret.hex().upper(),
        secret.hex(" "),
        base64.b64encode(secret).decode().rstrip("=")[:-1],
        base64.urlsafe_b64encode(secret).decode().rstrip("=")[:-1],
        ids.format_zbase32(FeedId(secret))[:-1],
        repr(secret)[2:-1],
        repr(list(secret))[1:-1],
        str(int.from_bytes(secret, "big")),
        str(int.from_bytes(secret, "little")),
    ]


def exposed_by(mount: Mount) -> str:
    """What other processes are shown of a mount: of its daemon, and all files and attributes."""
    process = Path("/proc", str(mount.process.pid))
    shown = [(process / name).read_bytes() for name in ("cmdline", "environ", "status", "maps")]
    status = mount.path / ".protozorfs"
    feeds = [path for path in mount.path.iterdir() if path.is_file()]
    shown += [path.read_bytes() for path in status.rglob("*") if path.is_file()]
    shown += [os.getxattr(feed, f"protozorfs.{name}") for feed in feeds for name in ATTRIBUTES]
    return b"\n".join(shown).decode(errors="replace")


def secrets_of(store: Path) -> list[bytes]:
    """The node's seed and those of all owned feeds."""
    return [path.read_bytes() for path in [store / "node_key", *store.rglob("secret")]]


def test_no_log_of_a_busy_run_has_a_secret_key(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, ExitStack() as stack:
        silent.bind(("127.0.0.1", 0))
        more = f"bootstrap=127.0.0.1:{silent.getsockname()[1]}"
        settings = [
            options(port, more=[more]).replace("nodht,", ""),
            options(free_port(), at(port), more=[more]).replace("nodht,", ""),
        ]
        owner, follower = (
            stack.enter_context(mounted(tmp_path, "--debug", "-o", each, name=name))
            for name, each in zip(("owner", "follower"), settings, strict=True)
        )
        for count in range(3):
            own = owner.path / f"feed{count}"
            with own.open("ab", buffering=0) as feed:
                for line in range(20):
                    feed.write(b"line %d\n" % line)
            followed = follow(id_of(own), follower.path / f"feed{count}")
            wait_whole(followed, own.stat().st_size)
        (owner.path / "feed0").rename(owner.path / "renamed")
        (follower.path / "feed1").unlink()
        for mount, name in ((owner, "renamed"), (follower, "feed0")):
            with pytest.raises(OSError, match=r"\[Errno"):
                (mount.path / name).write_bytes(b"no")
            mount.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: " places\n" in owner.said and " places\n" in follower.said)
        own_ids = [id_of(path).hex() for path in owner.path.iterdir()]
        shown = exposed_by(owner) + exposed_by(follower)
        owner.stop()
        follower.stop()
    logged = shown + owner.said + follower.said
    secrets = [secret for mount in (owner, follower) for secret in secrets_of(mount.store)]
    assert [len(secret) for secret in secrets] == [SEED_BYTES] * 5  # two nodes, three feeds
    assert logged.count("\n") > 100
    assert shown.count("Umask:\t0077\n") == 2
    assert any(feed_id in logged for feed_id in own_ids)  # so that a key would be seen
    for secret in secrets:
        for form in forms_of(secret):
            assert form not in logged


def test_a_log_that_had_a_secret_would_be_noticed() -> None:
    secret = bytes(range(7, 39))
    for text in (secret.hex(), repr(secret), base64.b64encode(secret + b"x").decode()):
        assert any(form in text for form in forms_of(secret))
