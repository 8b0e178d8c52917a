"""Whether others can dial this node, and how it knows.

Every connection works both ways, so a node that nobody can dial is served all the same by those
that it dials; one reachable follower of a feed is enough. No I/O here.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protozorfs.swarm.port_mapping import MappingState


class Dialable(enum.StrEnum):
    """The answer in one word."""

    YES = "yes"
    LIKELY = "likely"
    LOCALLY = "locally"
    UNKNOWN = "unknown"


class Reachability:
    """What speaks for being dialled. The strongest evidence is that it has happened."""

    def __init__(self) -> None:
        self.mapping: MappingState | None = None
        self._dialled_by: str | None = None
        self._dialled_locally_by: str | None = None

    def was_dialled(self, host: str) -> None:
        """A node at that address has connected to us."""
        if ipaddress.ip_address(host.partition("%")[0]).is_global:
            self._dialled_by = host
        else:
            self._dialled_locally_by = host

    def judge(self) -> tuple[Dialable, str]:
        """The answer, and a sentence that says why."""
        if self._dialled_by is not None:
            return Dialable.YES, f"{self._dialled_by} has dialled this node"
        if self.mapping is not None and self.mapping.is_public:
            return Dialable.LIKELY, self.mapping.why
        why = f" (port mapping: {self.mapping.why})" if self.mapping is not None else ""
        if self._dialled_locally_by is not None:
            return Dialable.LOCALLY, f"{self._dialled_locally_by} has dialled this node{why}"
        return Dialable.UNKNOWN, f"nobody has dialled this node yet{why}"
