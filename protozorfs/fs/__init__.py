"""The mount: every followed feed as an append-only file. Sees `feeds` through `ports` alone."""
