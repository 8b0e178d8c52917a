"""An nginx that serves directories in each of the ways in which it reads files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.stage import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS = 20.0
STOP_SECONDS = 5.0
WAYS = {
    "sendfile": "sendfile on;",
    "read": "sendfile off;",
    "threads": "sendfile off; aio threads;",
    "directio": "sendfile off; directio 512; directio_alignment 4k;",
    "gzip": "sendfile off; gzip on; gzip_min_length 1; gzip_types *;",
}
CONFIGURATION = """
user root;
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/errors;
events {{}}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


def find_nginx() -> str | None:
    """The program: an installed one, or the one that scripts/setup has unpacked."""
    unpacked = Path(sys.prefix, "nginx", "usr", "sbin")
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:{unpacked}")


@contextmanager
def served(directory: Path, served: Mapping[str, Path]) -> Iterator[str]:
    """Serves each directory by its name, /NAME/WAY/...; gives the URL, "" where nginx is missing.

    Args:
        directory: for files of nginx; it must exist.
    """
    program = find_nginx()
    if program is None:
        yield ""
        return
    port = free_port()
    locations = "\n".join(
        f"location /{name}/{way}/ {{ alias {path}/; {settings} }}"
        for name, path in served.items()
        for way, settings in WAYS.items()
    )
    file = directory / "nginx.conf"
    file.write_text(CONFIGURATION.format(directory=directory, port=port, locations=locations))
    with subprocess.Popen([program, "-e", f"{directory}/errors", "-c", file]) as process:
        try:
            _wait_listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_listening(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "nginx does not listen"
        time.sleep(0.02)
