"""`mount -t protozorfs` and `umount`: mount(8) calls our helpers, and says what they say."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from protozorfs.options import Options
from tests.system.place import BIN, QUIET

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

MOUNT = f"mount -t protozorfs $PWD/store $PWD/m -o {QUIET}"
IS_FREE = "flock --nonblock store/lock true"  # held until the daemon has ended
# Fields of Options by other words: mount(8) has a `bind` of its own, and would do that.
WORDS = {"peers": "peer", "bind": "listen"}


def test_mount_append_read_and_unmount(place: Place) -> None:
    script = f"""
    set -e
    {MOUNT}
    echo hello >> m/journal
    cat m/journal
    findmnt -n -o FSTYPE,SOURCE m
    umount m
    {IS_FREE}  # our helper waits for the daemon
    """
    said = place.must(script).splitlines()
    assert said[0] == "hello"
    assert said[1].split() == ["fuse.protozorfs", f"{place.directory}/store"]


def test_flags_and_words_of_mount(place: Place) -> None:
    assert place.must(f"{MOUNT} -f; findmnt m || true") == ""
    place.must(f"{MOUNT} && umount m")  # a store that is only to be read must be there
    said = place.must(f"{MOUNT},noauto,_netdev,nofail,ro,noatime -v -n; findmnt -n -o OPTIONS m")
    assert "is mounted at" in said
    assert {"ro", "noatime"} <= set(said.splitlines()[-1].split(","))
    code, _, complaint = place.run("touch m/new")
    assert (code, "Read-only file system" in complaint) == (1, True)
    code, text, _ = place.run("umount -v m")  # umount of util-linux 2.41 complains of success
    assert (code, text) == (0, f"umount.protozorfs: {place.directory}/m is unmounted\n")


def test_every_option_is_passed_on(place: Place) -> None:
    words = [
        name if field.default is False else f"{name}=1"
        for field in fields(Options)
        for name in [WORDS.get(field.name, field.name)]
    ]
    script = f"""
    printf '#!/bin/sh\\necho "$@"' > helper
    chmod +x helper
    mount --bind helper {BIN}/mount.protozorfs
    mount -t protozorfs $PWD/store $PWD/m -o {",".join(words)}
    """
    said = place.must(script).split()
    assert said[:-1] == [f"{place.directory}/store", f"{place.directory}/m", "-o"]
    assert set(words) <= set(said[-1].split(","))


def test_a_comma_in_a_word(place: Place) -> None:
    place.must(f"{MOUNT} -o 'fsname=a\\,b'")
    assert place.must("findmnt -n -o SOURCE m") == "a,b\n"


@pytest.mark.parametrize(
    ("setup", "command", "code", "sentence"),
    [
        ("", f"{MOUNT},nosuch", 1, "unknown option nosuch; see --help"),
        (MOUNT, MOUNT, 32, "{0}/m: already mounted"),
        ("touch m/file", MOUNT, 32, "{0}/m: not empty; what is in there would be hidden"),
        (
            "",
            f"mount -t protozorfs $PWD/m $PWD/m -o {QUIET}",
            32,
            "{0}/m: the store {0}/m is in there, and would be hidden",
        ),
        (
            "",
            f"mount -t protozorfs $PWD/m/store $PWD/m -o {QUIET}",
            32,
            "{0}/m: the store {0}/m/store is in there, and would be hidden",
        ),
        (
            "",
            f"mount -t protozorfs store $PWD/no -o {QUIET}",
            32,
            "{0}/no: No such file or directory",
        ),
        (
            MOUNT,
            f"mount -t protozorfs $PWD/store $PWD/n -o {QUIET}",
            32,
            "the store {0}/store is in use by process",
        ),
    ],
    ids=["option", "twice", "not-empty", "itself", "within", "missing", "store-in-use"],
)
def test_what_is_refused_is_one_sentence(
    place: Place, setup: str, command: str, code: int, sentence: str
) -> None:
    place.must(f"{setup}\ntrue")
    before = place.must("findmnt --raw -n -o TARGET")
    got, said, complaint = place.run(command)
    assert (got, said) == (code, "")
    (line,) = [line for line in complaint.splitlines() if "dmesg" not in line]
    assert sentence.format(place.directory) in line
    assert place.must("findmnt --raw -n -o TARGET") == before
    assert not (place.directory / "m" / "store").exists()


def test_a_mount_in_use_is_unmounted_lazily_or_by_force(place: Place) -> None:
    place.must(f"{MOUNT}; echo hello >> m/journal")
    # Its own directory is what keeps it busy.
    code, _, complaint = place.run("cd m; umount.protozorfs ../m")
    assert (code, complaint.count("\n")) == (32, 1)
    assert "busy; files are open in it, and -l unmounts it all the same" in complaint
    assert place.must("cat m/journal") == "hello\n"
    place.must(f"cd m; umount.protozorfs -l ../m; cd ..; {IS_FREE}")
    place.must(f"{MOUNT}; cd m; umount.protozorfs -f ../m; cd ..; {IS_FREE}")
    assert place.must("ls m") == ""


def test_a_daemon_that_hangs_is_unmounted_by_force(place: Place) -> None:
    script = f"""
    {MOUNT}
    pid=$(python -c 'import json; print(json.load(open("store/lock"))["pid"])')
    kill -STOP $pid
    umount.protozorfs -f m
    code=$?
    kill -CONT $pid
    flock --timeout 10 store/lock findmnt m
    exit $code
    """
    code, said, complaint = place.run(script)
    assert (code, said) == (32, "")
    assert complaint.endswith("/m: unmounted, but its daemon has not ended\n")


def test_mistakes_of_umount(place: Place) -> None:
    for arguments, code, sentence in (
        ("", 1, "expected one MOUNTPOINT"),
        ("m n", 1, "expected one MOUNTPOINT"),
        ("-x m", 1, "unknown flag -x"),
        ("m", 32, "/m: no mount of protozorfs"),
        ("/proc", 32, "/proc: no mount of protozorfs"),
    ):
        got, _, complaint = place.run(f"umount.protozorfs {arguments}")
        assert (got, complaint.count("\n")) == (code, 1)
        assert sentence in complaint
    assert "usage:" in place.must("umount.protozorfs --help")


def test_a_dead_mount_is_unmounted(place: Place) -> None:
    script = f"""
    {MOUNT}
    kill -KILL $(python -c 'import json; print(json.load(open("store/lock"))["pid"])')
    umount.protozorfs m && ls m && {IS_FREE}
    """
    assert place.must(script) == ""


SLOW_HELPER = """
touch real
mount --bind /usr/bin/fusermount3 real
cat > slow << END
#!/bin/bash
[[ \\$1 = -o ]] && what=mounting || what=unmounting
echo "\\$what begins" >> $PWD/n/helped
sleep 0.5
$PWD/real "\\$@" && echo "\\$what is done" >> $PWD/n/helped
END
chmod +x slow
mount --bind slow /usr/bin/fusermount3
"""
INTERRUPTED_HELPER = f"""
setsid env --default-signal mount.protozorfs $PWD/store $PWD/m --foreground -o {QUIET} &
until_it() {{ until grep -q -s -x "$*" n/helped; do sleep 0.01; done; }}
[ $1 = mounting ] || {{ until [ -e m/.protozorfs/status ]; do sleep 0.01; done; kill $!; }}
until_it $1 begins
kill -INT -- -$!
wait $!
echo $?
cat n/helped
findmnt m || [ ! -e store ] || {IS_FREE}
"""


@pytest.mark.parametrize("what", ["mounting", "unmounting"])
def test_ctrl_c_leaves_the_helper_of_libfuse_alone(place: Place, what: str) -> None:
    """A terminal sends SIGINT to the helper, too, which mounts and unmounts for users."""
    place.must(SLOW_HELPER)
    said = place.must(f"set -- {what}\n{INTERRUPTED_HELPER}", as_nobody=True).splitlines()
    steps = ["mounting begins", "mounting is done", "unmounting begins", "unmounting is done"]
    assert said == ["130", *steps]
