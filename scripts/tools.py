"""The commands of docs/tools.md, and what is right for each to say and to leave behind.

They run by bash in a mount, where `f` is a feed of one's own with the lines `hello` and `world`,
`paul` a followed feed with the same content, and `$OUT` a directory of mode 0700 on disk in which
`src`, of mode 0640, holds the lines `new` and `lines`.
"""

from __future__ import annotations

from dataclasses import dataclass

HELLO = "hello\nworld\n"
SOURCE = "new\nlines\n"
NOT_PERMITTED = "Operation not permitted"
DENIED = "Permission denied"
MORE = "more\n"
CTRL_C = "\x03"
INTERRUPTED = 130  # what `$?` says after Ctrl-C


@dataclass(frozen=True, slots=True)
class Tool:
    """One line of the table.

    Attributes:
        command: for bash.
        right: why what it does is right, in a few words.
        says: a regular expression that is found in standard output and standard error together.
        code: the exit code.
        leaves: what `f` holds afterwards.
        makes: the names of feeds that it makes.
        needs: a program that may be missing.
        may_miss: it may be missing in a run for CI, too: few have it.
        user: somebody that it names, who does not exist in the namespace of who is not root.
        appends_after: for what follows a file, in a terminal of its own: when this regular
            expression is found in what it says, `MORE` is appended to `f`; empty for others.
        keys: what is typed when a follower has said what it is to say.
        quits_at: for a pager, which takes Ctrl-C for a wish to look around: its prompt, a regular
            expression, at which `q` is typed.
    """

    command: str
    right: str
    says: str = r"\A\Z"
    code: int = 0
    leaves: str = HELLO
    makes: tuple[str, ...] = ()
    needs: str = ""
    may_miss: bool = False
    user: int = 0
    appends_after: str = ""
    keys: str = CTRL_C
    quits_at: str = ""


def refused(
    command: str, says: str = NOT_PERMITTED, code: int = 1, needs: str = "", user: int = 0
) -> Tool:
    """A tool that would change what is written."""
    return Tool(command, "refused, the feed is as it was", says, code, needs=needs, user=user)


def python_mode(mode: str) -> str:
    return f"python3 -c \"open('f', '{mode}').write('x')\""


APPENDING = (
    Tool("echo more >> f", "appends", leaves=HELLO + "more\n"),
    Tool("printf more >> f", "appends", leaves=HELLO + "more"),
    Tool("echo more | tee -a f", "appends", "more", leaves=HELLO + "more\n"),
    Tool(
        "dd if=$OUT/src of=f oflag=append conv=notrunc status=none",
        "appends",
        leaves=HELLO + SOURCE,
    ),
    Tool(
        "logger -s --no-act --socket-errors=off more 2>&1 | sed 's/.*: //' >> f",
        "appends",
        leaves=HELLO + "more\n",
    ),
    Tool("(echo one; echo two) >> f", "appends", leaves=HELLO + "one\ntwo\n"),
    Tool("cat $OUT/src >> f", "appends", leaves=HELLO + SOURCE),
    Tool(python_mode("a"), "appends", leaves=HELLO + "x"),
    Tool(python_mode("a+"), "appends", leaves=HELLO + "x"),
    Tool(
        "python3 -c \"import logging; logging.basicConfig(filename='f'); logging.error('more')\"",
        "appends",
        leaves=HELLO + "ERROR:root:more\n",
    ),
    Tool(
        "vim -u NONE -i NONE -N -es -c 'normal! ggyyGp' -c '3w >> f' -c 'q!' f",
        "appends the third line",
        leaves=HELLO + "hello\n",
        needs="vim",
    ),
    Tool("touch f", "changes nothing"),
    Tool("touch -d 2001-01-01 f", "accepted and ignored"),
    Tool("chmod 600 f && chmod a+w f && stat -c %a f", "accepted and ignored", r"\A644\Z"),
    Tool("chown $(id -u):$(id -g) f", "accepted and ignored"),
)

REFUSED = (
    refused("echo more > f"),
    refused("echo more | tee f", f"(?s)(?=.*more).*{NOT_PERMITTED}"),
    refused("dd if=$OUT/src of=f status=none"),
    refused("cp $OUT/src f"),
    refused("cp -f $OUT/src f"),
    refused("mv $OUT/src f"),
    refused("mv f $OUT/moved && echo moved"),
    refused("sed -i s/hello/bye/ f", code=4),
    refused("truncate -s 0 f"),
    refused("truncate -s +1 f"),
    refused("sort -o f f", code=2),
    refused("rsync $OUT/src f", code=23, needs="rsync"),
    refused("cat f $OUT/src > $OUT/long; rsync --append $OUT/long f", code=23, needs="rsync"),
    refused("rsync --inplace $OUT/src f", code=23, needs="rsync"),
    refused("ln f g"),
    refused("rm f"),
    refused("chmod 400 f"),
    refused("chmod u+s f"),
    refused("chmod 600 paul"),
    refused("chown 1 f", user=1),
    refused("setfattr -n user.a -v 1 f"),
    refused("fallocate -l 100 f"),
    refused("mkdir d"),
    refused("tar cf $OUT/t.tar f && tar xf $OUT/t.tar", "File exists", code=2),
    *(refused(python_mode(mode)) for mode in ("w", "r+", "w+")),
    refused(python_mode("x"), "File exists"),
    refused("echo more >> paul", DENIED),
    refused("cp $OUT/src paul", DENIED),
    refused("truncate -s 0 paul", DENIED),
    refused(
        "vim -u NONE -i NONE -N -es -V1 -c 'normal! ggyyGp' -c 'w' -c 'q!' f",
        "E212: Can't open file for writing",
        needs="vim",
    ),
    refused(
        "vim -u NONE -i NONE -N -es -V1 -c 'normal! ggyyGp' -c 'w!' -c 'q!' f",
        "E212: Can't open file for writing",
        needs="vim",
    ),
    refused(
        "python3 -c \"import sqlite3; sqlite3.connect('f').execute('create table t (a)')\"",
        "unable to open database file|readonly|not a database",
    ),
    Tool(
        "python3 -c \"import sqlite3; sqlite3.connect('db').execute('create table t (a)')\"",
        "fails: a database overwrites; what it began is a feed",
        "disk I/O error|readonly|unable to open",
        1,
        makes=("db",),
    ),
    refused("git init -q . || exit 1", needs="git"),
)

READING = (
    Tool("cp f $OUT/copy && cmp f $OUT/copy", "the copy is whole"),
    Tool("cp -a f $OUT/copy && cmp f $OUT/copy", "the copy is whole"),
    Tool("rsync f $OUT/copy && cmp f $OUT/copy", "the copy is whole", needs="rsync"),
    Tool(
        "head -c 6 f > $OUT/copy && rsync --append-verify f $OUT/copy && cmp f $OUT/copy",
        "what was missing is added to the copy",
        needs="rsync",
    ),
    Tool("tail -n 1 f", "the last line", r"\Aworld\Z"),
    Tool("tail -c 3 f", "the last bytes", r"\Ald\Z"),
    Tool("head -c 5 f", "the first bytes", r"\Ahello\Z"),
    Tool("grep -n world f", "finds it", r"\A2:world\Z"),
    Tool("wc f", "counts", r"\A *2 +2 +12 f\Z"),
    Tool(
        "sha256sum f",
        "of what was written",
        "^4a1e67f2fe1d1cc7",
    ),
    Tool("split -b 5 f $OUT/part. && cat $OUT/part.* | cmp - f", "the parts are the whole"),
    Tool("tar cf - f paul | tar xOf -", "both feeds", r"\Ahello\nworld\nhello\nworld\Z"),
    Tool("find . -type f | sort", "every feed and nothing else", r"\A\./f\n\./paul\Z"),
    Tool("du -b f", "the feed's length", r"\A12\tf\Z"),
    Tool("du f", "what is here of it, in KiB", r"\A\d+\tf\Z"),
    Tool("df --output=fstype .", "what is mounted", r"fuse"),
    Tool(
        "ls -la",
        "owned feeds can be written, followed ones read",
        r"(?s)-rw-r--r--.* 12 .* f\n-r--r--r--.* 12 .* paul",
    ),
    Tool("stat -f -c %T f", "a FUSE mount", r"\Afuse"),
    Tool("stat -c '%s %a %h' paul", "length, mode, links", r"\A12 444 1\Z"),
    Tool("getfattr -n protozorfs.owned paul", "what is known of it", 'protozorfs.owned="0"'),
    Tool("getfattr -d -m - paul", "it is not listed: nobody copies it"),
    *(
        Tool(f"{command} && cmp f $OUT/f", "the copy is whole", needs=needs)
        for command, needs in (
            ("rsync -aAX f paul $OUT", "rsync"),
            ("cp --preserve=all,xattr f paul $OUT", ""),
            ("tar --xattrs --acls -cf - f paul | tar --xattrs --acls -xf - -C $OUT", ""),
            ("bsdtar -cf - f paul | bsdtar -xpf - -C $OUT", "bsdtar"),
        )
    ),
    Tool(
        "git init -q $OUT/repo && git --git-dir=$OUT/repo/.git --work-tree=. add f"
        " && git --git-dir=$OUT/repo/.git show :f",
        "the feed as it is now is added",
        r"\Ahello\nworld\Z",
        needs="git",
    ),
    Tool(
        "vim -u NONE -i NONE -N -es -c '%print' -c 'q!' f",
        "shows it",
        r"hello\s+world",
        needs="vim",
    ),
    Tool(
        "python3 -c \"import mmap; f = open('f'); print(mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE,"
        ' mmap.PROT_READ)[:5])"',
        "a private mapping works",
        "b'hello'",
    ),
    Tool(
        "python3 -c \"import mmap; f = open('f'); print(mmap.mmap(f.fileno(), 0,"
        ' access=mmap.ACCESS_READ)[:5])"',
        "a shared mapping works",
        "b'hello'",
    ),
    Tool("sync f && flock f true", "both succeed"),
)

MAKING = (
    Tool("cp $OUT/src new && cmp $OUT/src new", "a new feed", makes=("new",)),
    Tool("cp -p $OUT/src new && cmp $OUT/src new", "a new feed", makes=("new",)),
    Tool("mv $OUT/src new && cat new", "a new feed", r"\Anew\nlines\Z", makes=("new",)),
    Tool("echo one > new && cat new", "a new feed", r"\Aone\Z", makes=("new",)),
    Tool("echo one | tee new", "a new feed", r"\Aone\Z", makes=("new",)),
    Tool("tar -C $OUT -cf $OUT/t.tar src && tar xf $OUT/t.tar", "a new feed", makes=("src",)),
    Tool("cp paul new && cmp paul new", "a copy as a feed of your own", makes=("new",)),
    Tool(
        "cp -a paul new; cmp paul new",
        "a copy; it can be appended to",
        NOT_PERMITTED,
        makes=("new",),
    ),
    Tool("mv f new && mv new f", "another name, and back"),
    refused("rsync $OUT/src new", code=23, needs="rsync"),
    Tool(
        "rsync --inplace $OUT/src new && cmp $OUT/src new",
        "a new feed",
        makes=("new",),
        needs="rsync",
    ),
    Tool(
        "node -e \"fs.copyFileSync('$OUT/src', 'new')\" && cmp $OUT/src new",
        "a new feed",
        makes=("new",),
        needs="node",
    ),
    Tool("cp -a $OUT/. . && cmp $OUT/src src", "a new feed", makes=("src",)),
)

UUTILS = "/usr/lib/cargo/bin/coreutils"  # where Debian's package rust-coreutils has them
# What copies `src` into the mount as `src`: a command, and a program that may be missing.
WAYS_IN = (
    ("cp $OUT/src src", ""),
    ("cp -p $OUT/src src", ""),
    ("cp -a $OUT/src src", ""),
    ("setfattr -n user.a -v 1 $OUT/src && cp -a $OUT/src src", ""),
    ("cp --reflink=auto $OUT/src src", ""),
    ("cp --sparse=always $OUT/src src", ""),
    ("truncate -s 1M $OUT/src && cp --sparse=never $OUT/src src", ""),
    ("cp -rp $OUT/. .", ""),
    ("touch src && cp $OUT/src src", ""),
    (f"{UUTILS}/cp $OUT/src src", f"{UUTILS}/cp"),
    (f"{UUTILS}/install $OUT/src src", f"{UUTILS}/install"),
    ("install $OUT/src src", ""),
    ("install -p -m 600 $OUT/src src", ""),
    ("install -D -o $(id -u) -g $(id -g) $OUT/src ./src", ""),
    ("ln $OUT/src $OUT/kept && mv $OUT/kept src", ""),
    ("dd if=$OUT/src of=src status=none", ""),
    ("dd if=$OUT/src of=src bs=4 conv=sparse,fsync status=none", ""),
    ("tee src < $OUT/src > /dev/null", ""),
    ("sed -n 'w src' $OUT/src", ""),
    ("awk '{print > \"src\"}' $OUT/src", ""),
    ('perl -MFile::Copy=cp -e \'cp("$ENV{OUT}/src", "src") or die $!\'', ""),
    ("gzip -k $OUT/src && gunzip -c $OUT/src.gz > src", ""),
    ("rsync --inplace $OUT/src src", "rsync"),
    ("rsync -a --inplace $OUT/ .", "rsync"),
    ("rsync -aAX --inplace $OUT/src src", "rsync"),
    ("rsync -a --inplace --sparse $OUT/src src", "rsync"),
    ("rsync -a --append $OUT/src src", "rsync"),
    ("mkdir $OUT/t && rsync -a --temp-dir=$OUT/t $OUT/src src", "rsync"),
    ("tar -C $OUT -cf - src | tar xf -", ""),
    ("tar -C $OUT -cf - . | tar xpf -", ""),
    ("tar -C $OUT --xattrs -cf - src | tar --xattrs -xpf -", ""),
    ("tar -C $OUT --owner=1 --group=1 -cf - src | tar --no-same-owner -xf -", ""),
    ("bsdtar -C $OUT -cf - . | bsdtar -xpf -", "bsdtar"),
    ("(cd $OUT && echo src | cpio -o --quiet) | cpio -im --quiet", "cpio"),
    ("m=$PWD && cd $OUT && echo src | cpio -pm --quiet $m && cd $m", "cpio"),
    ("(cd $OUT && zip -q z src) && unzip -q $OUT/z", "zip"),
    (
        "git init -q $OUT/g && cp $OUT/src $OUT/g && cd $OUT/g && git add src && cd - > /dev/null"
        " && git -C $OUT/g archive $(git -C $OUT/g write-tree) | tar xf -",
        "git",
    ),
    (
        "git init -q $OUT/g && cp $OUT/src $OUT/g && git -C $OUT/g add src"
        " && git --git-dir=$OUT/g/.git --work-tree=. checkout-index src",
        "git",
    ),
    ("busybox cp -a $OUT/src src", "busybox"),
    ("tar -C $OUT -cf - . | busybox tar xf -", "busybox"),
    *(
        (f'python3 -c "import shutil; shutil.{call}"', "")
        for call in (
            "copyfile('$OUT/src', 'src')",
            "copy('$OUT/src', 'src')",
            "copy2('$OUT/src', 'src')",
            "copytree('$OUT', '.', dirs_exist_ok=True)",
        )
    ),
    # Python from 3.12 on warns of a default of its own.
    ("tar -C $OUT -cf $OUT/t src && python3 -W ignore -m tarfile -e $OUT/t", ""),
    *(
        (f'node -e "fs.{call}"', "node")
        for call in (
            "copyFileSync('$OUT/src', 'src')",
            "cpSync('$OUT/src', 'src', {preserveTimestamps: true})",
            "promises.cp('$OUT/src', 'src')",
            "writeFileSync('src', fs.readFileSync('$OUT/src'), {mode: 0o600})",
        )
    ),
)


def refused_in(command: str, right: str, says: str, code: int = 1, needs: str = "") -> Tool:
    """A way of copying that fails, and leaves what it had begun."""
    return Tool(f"{command} $OUT/src src", right, says, code, makes=("src",), needs=needs)


_HOLES = "holes are refused, never left out: --sparse=never"
_UNKEPT = "the copy is whole; what cannot be kept is refused"

COPYING_IN = (
    *(
        Tool(
            f"{command} && cmp $OUT/src src",
            "a new feed",
            makes=("src",),
            needs=needs,
            may_miss=needs.startswith(UUTILS),
        )
        for command, needs in WAYS_IN
    ),
    refused_in("truncate -s 1M $OUT/src && cp", _HOLES, NOT_PERMITTED),
    refused_in("truncate -s 1M $OUT/src && echo >> $OUT/src && cp", _HOLES, NOT_PERMITTED),
    refused_in(
        "truncate -s 1M $OUT/src && echo >> $OUT/src && rsync --inplace -S",
        "holes are refused, never left out",
        NOT_PERMITTED,
        11,
        "rsync",
    ),
    # That of Debian 13 removes what it had begun.
    Tool(
        "cp --reflink=always $OUT/src src; code=$?; rm -f src; exit $code",
        "another file system, as everywhere",
        "cross-device",
        1,
    ),
    refused_in("chmod 400 $OUT/src && cp -p", _UNKEPT, NOT_PERMITTED),
    refused_in("setfattr -n user.a -v 1 $OUT/src && cp --preserve=xattr", _UNKEPT, NOT_PERMITTED),
    refused_in("install -m 4755", _UNKEPT, NOT_PERMITTED),
    Tool(
        "tar -C $OUT --owner=1 --group=1 -cf - src | tar --same-owner -xf -",
        f"{_UNKEPT}: --no-same-owner",
        NOT_PERMITTED,
        2,
        makes=("src",),
        user=1,
    ),
    refused("rsync -a $OUT/src src", code=23, needs="rsync"),
    refused("cp -l $OUT/src src", "cross-device"),
    refused("cp -s $OUT/src src", "Invalid argument"),
)

_LOGROTATE = (
    'printf "$PWD/f {\\nrotate 9\\n%s\\n}\\n" > $OUT/c && logrotate -f -s $OUT/state $OUT/c'
)


def rotated(*settings: str, right: str, says: str = r"\A\Z", code: int = 0, **left: object) -> Tool:
    """A run of logrotate."""
    command = _LOGROTATE.replace("%s", "\\n".join(settings))
    return Tool(command, right, says, code, needs="logrotate", **left)  # type: ignore[arg-type]


ROTATING = (
    rotated("create", right="renames the feed, makes another", leaves="", makes=("f.1",)),
    rotated(
        "create 0600",
        "dateext",
        "dateformat .old",
        right="renames the feed, makes another",
        leaves="",
        makes=("f.old",),
    ),
    rotated("copy", right="copies to a new feed", makes=("f.1",)),
    rotated("copytruncate", right="refused: it goes on growing", says=NOT_PERMITTED, code=1),
    rotated(
        "create",
        "compress",
        right="renames it, does not compress",
        says=NOT_PERMITTED,
        code=1,
        leaves="",
        makes=("f.1",),
    ),
    rotated(
        "create",
        "rotate 0",
        right="renames it, does not remove",
        says=NOT_PERMITTED,
        code=1,
        leaves="",
        makes=("f.1",),
    ),
    *(
        Tool(f"echo more | {command}", "a new feed", makes=("new",), needs=needs, may_miss=True)
        for command, needs in (
            ("rotatelogs -n 2 ./new 86400 && cmp - new <<< more", "rotatelogs"),
            ("cronolog new; cmp - new <<< more", "cronolog"),
        )
    ),
)

REPLACING = (
    *(
        Tool(f"{command} $OUT/src f", "the old feed is `f~` now", leaves=SOURCE, makes=("f~",))
        for command in ("cp --backup", "install -b", "mv -b")
    ),
    Tool(
        "diff -u f $OUT/src | patch -s -b f",
        "the old feed is `f.orig` now",
        leaves=SOURCE,
        makes=("f.orig",),
        needs="patch",
    ),
)

FOLLOWING = (
    *(
        Tool(
            f"{command} f",
            "shows what is appended, until Ctrl-C",
            r"\Aworld\nmore\Z",
            INTERRUPTED,
            leaves=HELLO + MORE,
            needs=command.split()[0],
            appends_after="world",
        )
        for command in ("tail -n 1 -f", "tail -n 1 -F", "busybox tail -n 1 -f")
    ),
    Tool(
        "less +F f",
        "shows what is appended, until Ctrl-C; then `q`",
        r"^more$",
        leaves=HELLO + MORE,
        needs="less",
        appends_after="Waiting for data",
        quits_at=r"\(END\)",
    ),
    Tool(
        "cat .live/f",
        "never ends, shows what is appended, until Ctrl-C",
        r"\Ahello\nworld\nmore\Z",
        INTERRUPTED,
        leaves=HELLO + MORE,
        appends_after="world",
    ),
    Tool(
        "dd if=.live/f bs=64k status=none",
        "never ends, shows what is appended, until Ctrl-C",
        r"\Ahello\nworld\nmore\Z",
        INTERRUPTED,
        leaves=HELLO + MORE,
        appends_after="world",
    ),
    *(
        Tool(
            f"{command} .live/f",
            "ends at what is here: it uses sendfile or splice",
            r"\Ahello\nworld\Z",
            needs=command.split()[0],
            may_miss=command.startswith(UUTILS),
        )
        for command in ("busybox cat", f"{UUTILS}/cat")
    ),
    Tool(
        "inotifywait -e modify f",
        "the event",
        r"^f MODIFY$",
        leaves=HELLO + MORE,
        needs="inotifywait",
        appends_after="Watches established",
        keys="",
    ),
)

GROUPS = {
    "Appending": APPENDING,
    "What would change what is written": REFUSED,
    "Reading": READING,
    "Making feeds": MAKING,
    "Copying in": COPYING_IN,
    "Rotating logs": ROTATING,
    "A new feed under an old name": REPLACING,
    "Following": FOLLOWING,
}
