"""Mount points and stores with names that are no text, or end lines in texts, in any locale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.place import QUIET

if TYPE_CHECKING:
    from tests.system.place import Place

pytestmark = pytest.mark.fuse

# vertical tab, form feed, separators, NEL and U+2028 in UTF-8, a byte that is not UTF-8, newline,
# blank, tab, a backslash before digits, comma, two letters, an escape sequence
NAME = r"$'\v\f\x1c\xc2\x85\xe2\x80\xa8\xff\n \t\\\\134,\xc3\xbc#\e[31m'"
SHOWN = r"\x0b\x0c\x1c\x85\u2028\xff\n \t\\134,ü#\x1b[31m"
ASCII = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
UTF_8 = "LC_ALL=C.UTF-8"


@pytest.mark.parametrize(
    ("one", "other", "as_nobody"), [(ASCII, UTF_8, True), (UTF_8, ASCII, False)]
)
def test_any_name_in_any_locale(place: Place, one: str, other: str, as_nobody: bool) -> None:
    """The commands of one locale find what one of another has mounted."""
    place.must(f"mkdir {NAME}; chmod 1777 {NAME}; mkdir -m 777 {NAME}/m")
    at = place.directory
    script = f"""
    cd {NAME}
    export PYTHONIOENCODING=utf-8:backslashreplace
    {one} mount.protozorfs -v --debug=cli store{NAME} m -o {QUIET}
    {other} protozorfs ls --store store{NAME} | grep -c STATE
    echo hello >> m/journal
    {other} mount.protozorfs other m -o {QUIET} 2>&1
    {other} protozorfs id m/journal | wc -c
    {other} umount.protozorfs -v m
    flock --nonblock store{NAME}/lock true || exit 9
    {one} umount.protozorfs -v m 2>&1
    tail -n 2 store{NAME}/mount.log | cut -d: -f 4-
    """
    code, said, complaint = place.run(script, as_nobody=as_nobody)
    assert (code, complaint) == (0, ""), (said, complaint)
    store, mount_point = f"{at}/{SHOWN}/store{SHOWN}", f"{at}/{SHOWN}/m"
    assert said.splitlines() == [
        f"mount.protozorfs: {store} is mounted at {mount_point}",
        "1",
        f"mount.protozorfs: {mount_point}: already mounted",
        "65",
        f"umount.protozorfs: {mount_point} is unmounted",
        f"umount.protozorfs: {mount_point}: no mount of protozorfs",
        f" {store} is mounted at {mount_point}",
        f" {mount_point} is unmounted and closed",
    ]
