"""Lets nothing but FUSEError leave a handler: anything else would end the daemon and the mount."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pyfuse3 import FUSEError

from protozorfs.errors import Closing
from protozorfs.fs.errnos import errno_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_MAX_TOLD = 64  # more kinds of trouble than one store has at once; then some are told again
_told: deque[str] = deque(maxlen=_MAX_TOLD)  # errors of the store that were logged already

_Class = TypeVar("_Class", bound=type)
_Answer = TypeVar("_Answer")
_Arguments = ParamSpec("_Arguments")


def guarded(cls: _Class) -> _Class:
    """A class decorator: wraps every public coroutine method, so that none can be left out."""
    for name, handler in list(vars(cls).items()):
        if inspect.iscoroutinefunction(handler) and not name.startswith("_"):
            setattr(cls, name, _guard(handler))
    return cls


def _guard(
    handler: Callable[_Arguments, Awaitable[_Answer]],
) -> Callable[_Arguments, Awaitable[_Answer]]:
    @functools.wraps(handler)
    async def guard(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Answer:
        try:
            return await handler(*arguments, **named)
        except FUSEError:
            raise
        except Exception as error:
            raise FUSEError(_errno_or_log(error, handler.__name__)) from error

    return guard


def _errno_or_log(error: Exception, operation: str) -> int:
    code = errno_of(error)
    if code is None:
        log.error("%s failed in a way that has no errno", operation, exc_info=error)
        return errno.EIO
    sentence = str(error)
    # A caller who sees "Input/output error" looks here for more, and may try again each second.
    if code == errno.EIO and not isinstance(error, Closing) and sentence not in _told:
        _told.append(sentence)
        log.error("%s: %s", operation, sentence)
    else:
        log.debug("%s: %s", operation, sentence)
    return code
