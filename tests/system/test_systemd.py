"""The units of contrib/systemd, and what a service manager hears of a mount."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.mounts import installed_command, is_listed
from tests.slow_start import OPENING_SECONDS
from tests.system.place import COMMAND_SECONDS, QUIET, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.place import Place

UNITS = sorted((ROOT / "contrib" / "systemd" / "user").iterdir())
SETTING = re.compile(r"\b([A-Z][A-Za-z]+)=")  # the name of one
MORE_USEC = round(2e6 * OPENING_SECONDS)  # twice the time until the manager hears of it again
NO_BUS = "Failed to connect to system bus: No such file or directory\n"  # systemd 255 minds


def verify(place: Place, unit: str) -> tuple[int, str]:
    """Has systemd judge a unit in the place's directory: 0 without a warning, and its warnings."""
    # The commands of a unit are looked for in fixed places.
    script = f"""
    mkdir bin && ln -s $(command -v mount.protozorfs) bin/
    mount --bind bin /usr/local/bin
    export XDG_RUNTIME_DIR=$PWD/n
    systemd-analyze --user --man=no --recursive-errors=no verify $PWD/{unit}
    """
    code, said, complaint = place.run(script)
    return code, said + complaint.replace(NO_BUS, "")


@pytest.mark.fuse  # it is the place that needs it
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_valid(place: Place, unit: Path) -> None:
    shutil.copy(unit, place.directory / unit.name)
    assert verify(place, unit.name.replace("@", "@work")) == (0, "")


def test_units_that_are_wrong_are_found(place: Place) -> None:
    """So that the test above can fail."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    wrong = UNITS[0].read_text().replace("Type=notify", "Type=notifyy")
    (place.directory / "protozorfs.service").write_text(wrong)
    code, complaint = verify(place, "protozorfs.service")
    assert (code, "notifyy" in complaint) == (1, True)


def settings_told() -> dict[str, str]:
    """Every setting in the manual's table of what confines the units: "kept" or "left out"."""
    text = (ROOT / "docs" / "manual.md").read_text()
    table = text.partition("### How far the units are confined")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    return {name: kept.strip() for names, kept in rows for name in SETTING.findall(names)}


def test_the_units_have_nothing_that_would_hide_or_prevent_the_mount() -> None:
    told = settings_told()
    for unit in UNITS:
        for line in unit.read_text().splitlines():
            assert told.get(line.partition("=")[0]) != "left out", line


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_every_setting_that_is_judged_is_in_the_manual(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--user", "--offline=true", "--no-pager"]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "COLUMNS": "300"}
    done = subprocess.run(
        [*command, str(UNITS[0])], env=environment, capture_output=True, text=True, check=False
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd does not judge files")
    names = {name for line in done.stdout.splitlines() for name in SETTING.findall(line)}
    assert len(names) > 30, done.stderr
    assert names - set(settings_told()) == set()


@pytest.mark.fuse
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_manager_hears_of_the_beginning_and_the_end(tmp_path: Path, number: int) -> None:
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    command = [*installed_command(), str(store), str(path), "--foreground", "-o", QUIET]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(COMMAND_SECONDS)
        environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(command, env=environ) as daemon:
            try:
                ready = manager.recv(1000).decode().splitlines()
                assert ready == [
                    "READY=1",
                    f"STATUS={store} is mounted at {path}",
                    f"MAINPID={daemon.pid}",
                ]
                assert os.listdir(path) == []  # it answers
                daemon.send_signal(number)
                assert manager.recv(1000) == b"STOPPING=1"
                assert daemon.wait(COMMAND_SECONDS) == 0
            finally:
                daemon.kill()
    assert not is_listed(path)


@pytest.mark.fuse
def test_the_manager_gives_more_time_while_the_store_is_being_opened(tmp_path: Path) -> None:
    path, store = tmp_path / "m", tmp_path / "store"
    path.mkdir()
    arguments = [str(store), str(path), "--foreground", "-v", "-o", QUIET]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(COMMAND_SECONDS)
        environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(
            [sys.executable, "-m", "tests.slow_start", *arguments],
            env=environ,
            cwd=ROOT,
        ) as daemon:
            try:
                more = manager.recv(1000).decode().splitlines()
                assert more == [f"EXTEND_TIMEOUT_USEC={MORE_USEC}", f"STATUS=opening {store}"]
                assert manager.recv(1000).decode().splitlines() == more  # again and again
                assert not store.exists()
                (tmp_path / "store.go").touch()
                while (said := manager.recv(1000).decode().splitlines()) == more:
                    pass
                assert said[0] == "READY=1"
                log = (path / ".protozorfs" / "log").read_text()
                assert "the store is still being opened" in log
                daemon.send_signal(signal.SIGTERM)
                assert manager.recv(1000) == b"STOPPING=1"  # and nothing more of opening
                assert daemon.wait(COMMAND_SECONDS) == 0
            finally:
                daemon.kill()
