"""The root of all errors that protozorfs raises on purpose."""

from __future__ import annotations

from typing import overload


class ProtozorfsError(Exception):
    """Base of everything below."""


class UsageError(ProtozorfsError):
    """A mistake of the user: printed as one sentence, without a trace.

    Attributes:
        exit_code: what the command ends with; the manual lists the codes.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DecodeError(ProtozorfsError):
    """All that a decoder may raise, whatever its input."""


class LocalProtocolError(ProtozorfsError):
    """This side used a protocol engine wrongly."""


class RemoteProtocolError(ProtozorfsError):
    """The other side broke the protocol; the answer is to drop that peer."""


class InvalidProof(RemoteProtocolError):
    """A proof that does not lead to a verified node or head."""


class UnanchoredProof(InvalidProof):
    """A proof, sound in itself, whose top is a node that is not stored here.

    It is no fault of the peer when the request counted on an answer that had not come yet.
    """


class InvalidSignature(InvalidProof):
    """A head whose signature is not the feed's."""


class StoreError(ProtozorfsError):
    """Something about the local store."""


class StoreCorrupt(StoreError):
    """A file of the store does not hold what it must."""

    def __init__(self, file: str, offset: int, what: str) -> None:
        super().__init__(f"{file}, offset {offset}: {what}")
        self.file = file
        self.offset = offset
        self.what = what


class StoreLocked(StoreError):
    """Another process has the store open.

    Attributes:
        pid: that process, or None when the lock file does not say.
        mount_point: where it is mounted, or None.
    """

    def __init__(
        self, path: str, pid: int | None, mount_point: str | None, *, is_read: bool = False
    ) -> None:
        """`is_read`: it is open read-only, by any number of processes."""
        by = f" by process {pid}" if pid is not None else ""
        at = f", mounted at {mount_point}" if mount_point is not None else ""
        how = ", read-only" if is_read else ""
        super().__init__(f"the store {path} is in use{how}{by}{at}")
        self.pid = pid
        self.mount_point = mount_point


class StoreRefused(StoreError):
    """Something of a store, or on the way to it, is another user's, or leads elsewhere.

    Attributes:
        path: what it is.
        reason: why it cannot be trusted.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be trusted: {reason}")
        self.path = path
        self.reason = reason


class StoreFull(StoreError):
    """There is no space left for what was to be written; nothing of it counts."""


class NoRoom(StoreFull):
    """`cache_size` has no room for what came; the disk may have."""


class NotWritable(StoreError):
    """An append that must be refused: not our feed, or its history may have moved on elsewhere."""


class StoreGone(NotWritable):
    """Files of the store were deleted or replaced while it was in use: an append would be lost."""


class BlockUnavailable(ProtozorfsError):
    """A block that is known, but not held here."""


class HeadUnknown(ProtozorfsError):
    """Nothing is known of a feed, not even how long it is: nobody who has it was found."""


class InvalidRequest(ProtozorfsError):
    """A request that no proof can answer; the reply is no-data, reason 2."""


class ProofUnavailable(InvalidRequest):
    """A sound request whose proof needs tree nodes that are not held here: not the peer's fault."""


class FeedNameError(ProtozorfsError):
    """Base of what can be wrong with a feed's local name."""


class InvalidName(FeedNameError):
    """A name that no feed may have."""


class NameTooLong(InvalidName):
    """More bytes than the name of a file can have."""


class NameTaken(FeedNameError):
    """There is a feed of that name, or that feed already has a name."""


class NoSuchFeed(FeedNameError):
    """There is no feed of that name or ID."""


class NotRemovable(FeedNameError):
    """An owned feed that may be known elsewhere: its key would be lost."""


class TooManyVisits(ProtozorfsError):
    """So many feeds are being read by their IDs already; the limit protects memory and disk."""


class Closing(ProtozorfsError):
    """The node is shutting down; waits end with this."""


@overload
def first_error(error: Exception) -> Exception: ...
@overload
def first_error(error: BaseException) -> BaseException: ...
def first_error(error: BaseException) -> BaseException:
    """The first plain error of a group of groups: nurseries wrap what goes wrong in them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
