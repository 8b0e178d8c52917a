"""The tailers of docs/tools.md, how each is started, and what it keeps.

A tailer shows what was appended to a file since it last looked. The commands run by bash. `$DIR` is
the directory of the feeds, `$STATE` a directory that the tailer keeps between its runs, and `$WORK`
the directory with the programs that scripts/setup-tailers brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LINE_START = "127.0.0.1 2026-01-02T03:04:05 "  # goaccess wants a host and a time


class Kind(Enum):
    """How a tailer runs."""

    RUNS = "runs"  # over one file, `$FEED`, and ends; keeps its position in `$STATE/$NAME`
    STAYS = "stays"  # a daemon that keeps its positions in `$STATE`
    FOLLOWS = "follows"  # a daemon that keeps nothing: it starts at the end of the file


@dataclass(frozen=True, slots=True)
class Tailer:
    """One line of the table.

    Attributes:
        name: of the program.
        origin: the package that has it.
        kind: how it runs.
        keys: what tells it that a file is the one that it knows.
        command: for bash; the lines that it shows go to standard output.
        needs: the program or file below `$WORK` that must be there, or a command of the system.
        config: put into `$STATE/config` before it starts, after `$DIR` and `$STATE` are filled in.
        watches_names: it is given the names `own` and `paul`; what is renamed is out of its sight.
        keys_device: it takes a file with another device number for another one.
        shows_totals: each run shows everything that it has counted so far.
        note: what to configure, and what it does that a file on disk has it do, too.
    """

    name: str
    origin: str
    kind: Kind
    keys: str
    command: str
    needs: str
    config: str = ""
    watches_names: bool = False
    keys_device: bool = False
    shows_totals: bool = False
    note: str = ""


def follower(
    name: str, origin: str, keys: str, command: str, needs: str, config: str = "", note: str = ""
) -> Tailer:
    """A tailer without memory that is given the names `own` and `paul`."""
    return Tailer(
        *(name, origin, Kind.FOLLOWS, keys, command, needs, config),
        watches_names=True,
        note=note,
    )


NODE = 'NODE_PATH="$WORK/node_modules" exec node scripts/tailers.js'

KEEPING = (
    Tailer(
        "logtail",
        "Debian, logtail",
        Kind.RUNS,
        "inode",
        'logtail -f "$FEED" -o "$STATE/$NAME"',
        "logtail",
        note="`-o`: its offset file stands beside the log otherwise, and is a feed then",
    ),
    Tailer(
        "logtail2",
        "Debian, logtail (logcheck)",
        Kind.RUNS,
        "inode",
        'logtail2 -f "$FEED" -o "$STATE/$NAME"',
        "logtail2",
        note="`-o`, as for logtail",
    ),
    Tailer(
        "pygtail",
        "PyPI",
        Kind.RUNS,
        "inode",
        'pygtail -o "$STATE/$NAME" "$FEED"',
        "pygtail",
        note="`-o`, as for logtail",
    ),
    Tailer(
        "since",
        "Debian",
        Kind.RUNS,
        "device, inode",
        'since -e -s "$STATE/since" "$FEED" 2>/dev/null',
        "since",
        keys_device=True,
        note="`-s`; shows all again when the mount has another device number",
    ),
    Tailer(
        "ponytail",
        "PyPI",
        Kind.RUNS,
        "device, inode",
        '"$WORK/venv/bin/python" -c "$CONFIG" "$FEED" "$STATE/$NAME"',
        "venv/bin/python",
        "import sys, ponytail\n"
        "for line in ponytail.Follow(*sys.argv[1:]).readlines(none_on_no_data=True):\n"
        "    if line is None:\n"
        "        break\n"
        "    sys.stdout.write(line)\n",
        keys_device=True,
        note="shows all again when the mount has another device number",
    ),
    Tailer(
        "goaccess",
        "Debian",
        Kind.RUNS,
        "inode",
        'mkdir -p "$STATE/$NAME"; goaccess "$FEED" --no-global-config --persist --restore'
        ' --db-path="$STATE/$NAME" --log-format="%h %dT%t %U" --date-format=%Y-%m-%d'
        ' --time-format=%T --output="$STATE/out.json" >/dev/null 2>&1 &&'
        ' python3 -c "$CONFIG" <"$STATE/out.json"',
        "goaccess",
        "import json, sys\n"
        "for request in json.load(sys.stdin)['requests']['data']:\n"
        "    for _ in range(request['hits']['count']):\n"
        f"        print('{LINE_START}' + request['data'])\n",
        shows_totals=True,
        note="`--persist --restore --db-path=`",
    ),
    Tailer(
        "rsyslog imfile",
        "Debian, rsyslog",
        Kind.STAYS,
        "inode, hash of the first 512 bytes",
        'exec rsyslogd -n -f "$STATE/config" -i "$STATE/pid"'
        ' -M "$(echo "$WORK"/root/usr/lib/*/rsyslog)"',
        "rsyslogd",
        'global(workDirectory="$STATE")\n'
        'module(load="imfile")\n'
        'input(type="imfile" File="$DIR/*" Tag="feed" persistStateInterval="1")\n'
        'template(name="line" type="string" string="%msg%\\n")\n'
        'action(type="omfile" file="$STATE/out" template="line")\n',
        note='`File="DIR/*"`: with a wildcard it follows renames',
    ),
    Tailer(
        "syslog-ng file()",
        "Debian, syslog-ng-core",
        Kind.STAYS,
        "name, inode",
        'exec syslog-ng -F --no-caps -f "$STATE/config" -R "$STATE/persist" -p "$STATE/pid"'
        ' -c "$STATE/control" --module-path "$(echo "$WORK"/root/usr/lib/syslog-ng/[0-9]*)"',
        "syslog-ng",
        "@version: 3.38\n"
        "source feeds {\n"
        '  file("$DIR/own" follow-freq(0.2) flags(no-parse));\n'
        '  file("$DIR/paul" follow-freq(0.2) flags(no-parse));\n'
        "};\n"
        'destination out { file("$STATE/out" template("${MESSAGE}\\n")); };\n'
        "log { source(feeds); destination(out); };\n",
        watches_names=True,
    ),
    Tailer(
        "tail-forever",
        "npm",
        Kind.STAYS,
        "name, inode",
        f'{NODE} tail-forever "$STATE/positions" "$DIR/own" "$DIR/paul"',
        "node_modules/tail-forever",
        watches_names=True,
        note="keep what `unwatch()` returns, and give it to the next one",
    ),
)

FOLLOWING = (
    follower(
        "tail -F",
        "Debian, coreutils",
        "device, inode",
        'exec tail -q -n 0 -s 0.1 --max-unchanged-stats=1 -F "$DIR/own" "$DIR/paul"',
        "tail",
    ),
    follower(
        "tail -F of busybox",
        "Debian, busybox",
        "device, inode",
        'exec busybox tail -q -n 0 -s 1 -F "$DIR/own" "$DIR/paul"',
        "busybox",
    ),
    follower(
        "sec",
        "Debian",
        "device, inode",
        'exec perl "$WORK/root/usr/bin/sec" --conf="$STATE/config" --input="$DIR/own"'
        ' --input="$DIR/paul" --poll-timeout=0.1 --check-timeout=1 --reopen-timeout=1',
        "sec",
        "type=Single\nptype=RegExp\npattern=.+\ndesc=$$0\naction=write - $$0\n",
    ),
    follower(
        "swatchdog",
        "Debian, swatch",
        "inode (File::Tail)",
        'for name in own paul; do swatchdog --use-cpan-file-tail --config-file="$STATE/config"'
        ' --script-dir="$STATE" --tail-file="$DIR/$name" & done; wait',
        "swatchdog",
        "watchfor /.+/\n    exec echo '$_'\n",
    ),
    follower(
        "xtail",
        "Debian",
        "inode",
        'exec xtail "$DIR/own" "$DIR/paul"',
        "xtail",
    ),
    follower(
        "tail",
        "npm",
        "name",
        f'{NODE} tail "$STATE/positions" "$DIR/own" "$DIR/paul"',
        "node_modules/tail",
        note="gives up a file whose name is gone for a second",
    ),
    follower(
        "always-tail",
        "npm",
        "inode",
        f'{NODE} always-tail "$STATE/positions" "$DIR/own" "$DIR/paul"',
        "node_modules/always-tail",
    ),
    follower(
        "@logdna/tail-file",
        "npm",
        "inode",
        f'{NODE} @logdna/tail-file "$STATE/positions" "$DIR/own" "$DIR/paul"',
        "node_modules/@logdna/tail-file",
        note="`maxPollFailures`: gives up after ten looks at a name that is gone otherwise",
    ),
)

TAILERS = (*KEEPING, *FOLLOWING)
