"""What a peer may make a connection take: every bound of the engines, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FRAME_BYTES = 2**24 - 1  # what the 3 bytes of a frame's length can say


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one connection. Times in seconds, sizes in bytes.

    Anyone who can connect can finish the handshake with a fresh key, so none of these is relaxed
    after it. Reaching one ends the connection unless said otherwise.

    Attributes:
        handshake_timeout: until the other side's header has been read. Node has no such limit, but
            a Node that is alive needs two round trips.
        keepalive_interval: an empty message is sent when nothing else was for this long; as Node.
        silence_timeout: without a byte received. Six keepalives of a Node peer; None for peers
            that were told not to send any.
        frame_grace: for one frame, on top of what `min_frame_rate` (bytes per second) gives its
            size; else a frame of 16 MiB can be trickled for ever.
        max_frame_bytes: of an encrypted frame. Smaller values break peers: blocks may have 15 MiB,
            and Node gathers batches of 8 MiB.
        max_batch_items: messages (and changes of channel) in one batch. A batch of 16 MiB could
            hold 8 million, which takes Python seconds; Node gathers a few thousand.
        open_burst, opens_per_second: opens of the other side, of which each costs a look-up, an
            event and an answer. A store of ten thousand feeds opens them all at once.
        max_remote_channels: ids of the other side that are open or wait for our decision. What we
            accept is bounded by our own feeds, what waits by the burst; this bounds the sum.
        max_unanswered_opens: opens of ours that the other side leaves without an answer, closed
            ones among them: their ids must be kept for the answer.
        max_protocol_bytes, max_channel_id_bytes: names are keys of a table. "hypercore/alpha" has
            15 bytes, a discovery key 32.
        max_handshake_bytes: of an open. A feed's has 33.
        max_undecided_bytes: messages that wait, each counted as 512 more than its size, while their
            channels wait for our decision. Node stops reading at 32 KiB; peers of feeds send
            nothing before the answer.
        soft_queue_bytes: outgoing bytes above which a driver stops serving; nothing ends.
        hard_queue_bytes: outgoing bytes above which a driver drops the connection: the other side
            asks and does not read.
    """

    handshake_timeout: float = 10.0
    keepalive_interval: float = 5.0
    silence_timeout: float | None = 30.0
    frame_grace: float = 30.0
    min_frame_rate: int = 32 * 1024
    max_frame_bytes: int = MAX_FRAME_BYTES
    max_batch_items: int = 65_536
    open_burst: int = 16_384
    opens_per_second: float = 100.0
    max_remote_channels: int = 65_536
    max_unanswered_opens: int = 65_536
    max_protocol_bytes: int = 128
    max_channel_id_bytes: int = 64
    max_handshake_bytes: int = 4096
    max_undecided_bytes: int = 1024 * 1024
    soft_queue_bytes: int = 8 * 1024 * 1024
    hard_queue_bytes: int = 32 * 1024 * 1024
