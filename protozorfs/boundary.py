"""Where an error that nobody expected ends: with what triggered it, not with the mount.

What one connection, one datagram or one feed's background task triggers runs inside a `Boundary`.
An error that leaves the body is a bug of ours: it is logged with its trace, so that it is seen, and
the owner of the boundary ends that connection or skips that item. Errors that are expected are
handled below, and what is no `Exception` (a cancellation, Ctrl-C) passes through. The boundaries
that there are stand in docs/design.md, "When something unexpected is raised".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.errors import first_error

if TYPE_CHECKING:
    import logging
    from types import TracebackType
    from typing import Self

# Seconds before a loop goes on whose own step has failed: it may fail again at once, and every time
# a trace is written.
PAUSE_SECONDS = 10.0


class Boundary:
    """A context manager that no `Exception` leaves.

    Attributes:
        error: what the body raised; None if it did not.
    """

    __slots__ = ("_logger", "_what", "error")

    def __init__(self, logger: logging.Logger, what: str) -> None:
        """`what` has failed, in the words of the log."""
        self.error: Exception | None = None
        self._logger = logger
        self._what = what

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        unexpected: BaseException | None = error if isinstance(error, Exception) else None
        rest: BaseException | None = None
        if isinstance(error, BaseExceptionGroup):  # of a nursery; part may be a cancellation
            unexpected, rest = error.split(Exception)
        if not isinstance(unexpected, Exception):
            return False
        self.error = first_error(unexpected)
        self._logger.error("a bug: %s failed", self._what, exc_info=unexpected)
        if rest is not None:
            raise rest
        return True
