"""The peer protocol of hypercore 11 as engines: bytes and time in, bytes and events out."""
