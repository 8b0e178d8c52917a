"""A directory in which every followed feed is an append-only file."""
