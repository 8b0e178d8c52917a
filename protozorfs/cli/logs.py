"""Where log messages go: to the terminal, or to a file of the store once there is no terminal."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOG_FILE = "mount.log"  # in the store
_MAX_LOG_BYTES = 1024 * 1024  # then a new one is started; one old one is kept
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ROOT = "protozorfs"
_DEAD_REQUEST = "fuse_reply_* failed with No such file or directory"


class _DeadRequests(logging.Filter):
    """Drops pyfuse3's errors about answers to requests that the kernel has given up meanwhile."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().endswith(
            "fuse_reply_* failed with No such file or directory"
        )


def set_up_logging(debug: tuple[str, ...] | None, log_file: Path | None) -> None:
    """Logs warnings, and details of the modules in `debug` (empty: all; None: none).

    A module is named as below the package: `fs`, `swarm.driver`. Without a file the log is standard
    error.
    """
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.handlers.RotatingFileHandler(
            log_file, maxBytes=_MAX_LOG_BYTES, backupCount=1, delay=True
        )
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("pyfuse3").addFilter(_DeadRequests())
    if debug is not None:
        for module in debug or ("",):
            name = f"{_ROOT}.{module}" if module else _ROOT
            logging.getLogger(name).setLevel(logging.DEBUG)
