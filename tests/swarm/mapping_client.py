"""Keeps a port mapped until its standard input ends: `python -m tests.swarm.mapping_client PORT`.

Prints each state as a line of JSON, and at last how many seconds the end took.
"""

from __future__ import annotations

import json
import sys

import trio

from protozorfs.swarm.port_mapping import MappingState, keep_mapped


def report(state: MappingState) -> None:
    external = str(state.external) if state.external is not None else None
    print(json.dumps([external, state.is_public, state.why]), flush=True)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_mapped, int(sys.argv[1]), report)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
        asked = trio.current_time()
    print(json.dumps(trio.current_time() - asked), flush=True)


trio.run(main)
