"""Does what systemd does for an automount unit, once: waits for a visitor, then mounts.

    python -m tests.system.automounter DIRECTORY COMMAND...

The command runs in the process group of this process, whose members alone may come near the
directory before it is mounted; everybody else waits. Prints "waiting" when visitors may come, and
"mounted". Source: Linux Documentation/filesystems/autofs.rst.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys

READY = 0x9360  # AUTOFS_IOC_READY
FAIL = 0x9361  # AUTOFS_IOC_FAIL
PACKET = struct.Struct("=iiI")  # protocol version, type, token; more follows
PACKET_BYTES = 304
MISSING_DIRECT = 5  # autofs_ptype_missing_direct


def main() -> int:
    directory, *command = sys.argv[1:]
    os.setpgid(0, 0)
    reading, writing = os.pipe()
    words = f"fd={writing},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
    subprocess.run(
        ["mount", "-i", "-t", "autofs", "-o", words, "automounter", directory],
        pass_fds=[writing],
        check=True,
    )
    os.close(writing)
    point = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    print("waiting", flush=True)
    _, kind, token = PACKET.unpack_from(os.read(reading, PACKET_BYTES))
    assert kind == MISSING_DIRECT
    code = subprocess.run(command).returncode
    fcntl.ioctl(point, FAIL if code else READY, token)
    print("mounted" if code == 0 else "failed", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
