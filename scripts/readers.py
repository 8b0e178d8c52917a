"""The programs of the second table of docs/tools.md: what reads a feed that is not all here.

Each command is run by bash (with `pipefail`) in a mount where `f` is a followed feed of which parts
are missing, and in a directory where `f` is a plain file; both must print the same. `$OUT` is an
empty directory on disk, `$ALL` a file with all that the feed will hold, `$LENGTH` its size, `$WEB`
the address of an nginx that serves the directory, `$RUST` where the coreutils in Rust are.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.contents import DATABASE, IMAGE, LINES, MOVIE, PACKED, ZIPPED


@dataclass(frozen=True, slots=True)
class Program:
    """One line of the table.

    Attributes:
        command: for bash.
        content: what `f` holds, one of `scripts.contents`.
        needs: a program, or a file, that may be missing.
        answers: exit codes that are an answer, not an error.
        follows: of a feed that grows meanwhile it may print what a shorter one gives, and then what
            came after that.
        is_slow: left to the long form.
    """

    command: str
    content: str = LINES
    needs: str = ""
    answers: tuple[int, ...] = (0,)
    follows: bool = False
    is_slow: bool = False


def copying(command: str, *, content: str = LINES, needs: str = "") -> Program:
    """A program that makes `$OUT/copy`."""
    return Program(f"{command} && cat $OUT/copy", content, needs)


def python(code: str, *, answers: tuple[int, ...] = (0,)) -> Program:
    return Program(f'python3 -c "{code}"', answers=answers)


def node(code: str) -> Program:
    return Program(f'node -e "{code}"', needs="node")


def rust(command: str, *, follows: bool = False) -> Program:
    return Program(f"$RUST/{command}", needs=RUST, follows=follows, is_slow=True)


def served(way: str, more: str = "") -> Program:
    return Program(f"curl -sS --fail {more}$WEB/{way}/f", needs="nginx")


RUST = "/usr/lib/cargo/bin/coreutils"

COREUTILS = (
    Program("cat f"),
    Program("cat f > $OUT/copy && cat $OUT/copy"),
    copying("cp f $OUT/copy"),
    copying("cp --sparse=always f $OUT/copy", content=IMAGE),
    copying("cp --sparse=auto f $OUT/copy", content=IMAGE),
    copying("install f $OUT/copy"),
    Program("head -c 300000 f"),
    Program("head -n 100 f"),
    Program("head -c -1000 f"),
    Program("head -n -100 f"),
    Program("tail -n 3 f", follows=True),
    Program("tail -c 1000 f", follows=True),
    Program("tail -n +5000 f"),
    Program("tail -c +500000 f"),
    Program("tail -c +1 -s 0.1 -f f | head -c $LENGTH"),
    Program("tac f"),
    Program("wc f | tr -s ' '"),
    Program("wc -c f"),
    Program("sort -r f"),
    Program("uniq -w 5 -c f"),
    Program("cut -c -12 f"),
    Program("od -A d -t x1 f"),
    Program("od -j 400000 -N 100000 f"),
    Program("split -b 100000 f $OUT/part. && cat $OUT/part.*"),
    Program("split -n 3 f $OUT/part. && cat $OUT/part.*"),
    Program("csplit -s -f $OUT/part. f 4000 && cat $OUT/part.01"),
    Program("cksum f"),
    Program("md5sum f"),
    Program("sha256sum f"),
    Program("b2sum f"),
    Program("comm -12 f $ALL"),
    Program("join f $ALL"),
    Program("paste f $ALL"),
    Program("cmp f $ALL 2>&1", answers=(0, 1)),
    Program("dd if=f count=1 bs=900k status=none"),
    Program("dd if=f count=1 bs=100k skip=7 status=none"),
    Program("dd if=f bs=4M status=none"),
    Program("dd if=f bs=64k iflag=direct status=none"),
    Program("dd if=f bs=4M count=1 iflag=fullblock status=none"),
    Program("shuf --random-source=$ALL f"),
    Program("nl f"),
    Program("fold -w 30 f"),
    Program("tr a-f A-F < f"),
    Program("base64 f"),
    Program("pr f | grep -v Page"),
    Program("tee $OUT/copy < f > /dev/null && cat $OUT/copy"),
)

TEXT = (
    Program("grep -c 99 f", answers=(0, 1)),
    Program("grep -v e f", answers=(0, 1)),
    Program("sed -n '$p' f"),
    Program("sed s/a/b/ f"),
    Program("awk '{ n += length($2) } END { print NR, n }' f"),
    Program("diff f $ALL", answers=(0, 1)),
    Program("for i in {1..300}; do read -r line; echo $line; done < f"),
    Program("mapfile lines < f && echo ${#lines[@]}"),
    Program("perl -ne 'print if /7/' f"),
    Program("perl -e 'open F, q(f); undef $/; print <F>'"),
    Program("perl -e 'open F, q(f); sysread(F, $b, 300000) // die $!; print $b'"),
    Program("less f", needs="less"),
    Program("vim -u NONE -i NONE -N -es -c 'w! $OUT/copy' -c 'q!' f && cat $OUT/copy", needs="vim"),
    Program("xxd f", needs="xxd", is_slow=True),
    Program("strings f", needs="strings", is_slow=True),
    Program("jq -R length f", needs="jq", is_slow=True),
    Program("file f", needs="file", is_slow=True),
    Program("openssl dgst -sha1 f", needs="openssl", is_slow=True),
    Program("socat -u OPEN:f STDOUT", needs="socat", is_slow=True),
)

ARCHIVES = (
    Program("tar -cf $OUT/a.tar f && tar -xOf $OUT/a.tar"),
    Program("tar -Scf $OUT/a.tar f && tar -xOf $OUT/a.tar", IMAGE),
    Program("tar -cf - f | tar -xOf -"),
    Program("bsdtar -cf $OUT/a.tar f && bsdtar -xOf $OUT/a.tar", IMAGE, "bsdtar"),
    Program("bsdtar -cf $OUT/a.zip --format zip f && bsdtar -xOf $OUT/a.zip", needs="bsdtar"),
    Program("echo f | cpio --quiet -o | cpio --quiet -i --to-stdout", needs="cpio"),
    Program("zip -q $OUT/a.zip f && unzip -p $OUT/a.zip", needs="zip", is_slow=True),
    Program("gzip -nc f"),
    Program("bzip2 -c f", needs="bzip2", is_slow=True),
    Program("xz -0c f", needs="xz", is_slow=True),
    Program("zstd -qc f", needs="zstd", is_slow=True),
    Program("gzip -dc < f", PACKED),
    Program("unzip -p f", ZIPPED, "unzip", is_slow=True),
    Program("tar -xOzf f", PACKED, is_slow=True),
    Program("python3 -m zipfile -l f", ZIPPED),
    Program("git hash-object f", needs="git"),
    Program(
        "git init -q $OUT/r && git --git-dir=$OUT/r/.git --work-tree=. add f"
        " && git --git-dir=$OUT/r/.git show :f",
        needs="git",
    ),
    Program(
        "borg init -e none $OUT/r && borg create $OUT/r::a f && borg extract --stdout $OUT/r::a",
        needs="borg",
        is_slow=True,
    ),
    Program(
        "restic -q -r $OUT/r init && restic -q -r $OUT/r backup f"
        " && restic -q -r $OUT/r dump latest $PWD/f",
        needs="restic",
        is_slow=True,
    ),
    copying("rsync f $OUT/copy", needs="rsync"),
    copying("rsync -S f $OUT/copy", content=IMAGE, needs="rsync"),
    copying("rsync -aX f $OUT/copy", needs="rsync"),
    copying(
        "head -c 700000 $ALL > $OUT/copy; rsync --no-whole-file --inplace f $OUT/copy",
        needs="rsync",
    ),
    copying("qemu-img convert -f raw -O raw f $OUT/copy", content=IMAGE, needs="qemu-img"),
)

SERVERS = (
    served("sendfile"),
    served("read"),
    served("threads"),
    served("directio"),
    served("gzip", "--compressed "),
)

OTHER_COREUTILS = (
    Program("busybox cat f", needs="busybox"),
    copying("busybox cp f $OUT/copy", needs="busybox"),
    Program("busybox tail -n 3 f", needs="busybox", follows=True),
    Program("busybox tail -c 1000 f", needs="busybox", follows=True),
    Program("busybox tac f", needs="busybox"),
    Program("busybox dd if=f bs=100k skip=3 count=1 2> $OUT/said", needs="busybox"),
    Program(
        "busybox tar -cf $OUT/a.tar f && busybox tar -xOf $OUT/a.tar",
        needs="busybox",
    ),
    Program("busybox sha256sum f", needs="busybox"),
    Program("busybox sort f", needs="busybox"),
    rust("cat f"),
    rust("cp f $OUT/copy && cat $OUT/copy"),
    rust("head -n -100 f"),
    rust("tail -n 3 f", follows=True),
    rust("tail -c 1000 f", follows=True),
    rust("tac f"),
    rust("wc f | tr -s ' '"),
    rust("sha256sum f"),
    rust("sort f"),
    rust("split -b 100000 f $OUT/part. && cat $OUT/part.*"),
    rust("dd if=f bs=100k skip=3 count=1 status=none"),
)

OPEN = "import os, sys; o = sys.stdout.buffer; d = os.open('f', 0); "
LANGUAGES = (
    python("import sys; sys.stdout.buffer.write(open('f', 'rb').read())"),
    python("import sys; sys.stdout.buffer.writelines(open('f', 'rb'))"),
    python("print(len(open('f').readlines()))"),
    python(
        "import sys; b = bytearray(700000); n = open('f', 'rb', 0).readinto(b);"
        " sys.stdout.buffer.write(b[:n])"
    ),
    python(f"{OPEN}o.write(os.pread(d, 500000, 600000))"),
    python(f"{OPEN}b = bytearray(200000), bytearray(99); n = os.preadv(d, b, 7); o.write(b[0])"),
    python(f"{OPEN}n = os.stat(d).st_size; o.write(os.pread(d, 5000, n - 5000))"),
    python(f"{OPEN}import mmap; o.write(bytes(mmap.mmap(d, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)))"),
    python(f"{OPEN}import mmap; o.write(bytes(mmap.mmap(d, 0, access=mmap.ACCESS_READ)))"),
    Program(
        "python3 -c \"import os; n = os.stat('f').st_size;"
        ' [os.sendfile(1, 0, k, min(300000, n - k)) for k in range(0, n, 300000)]" < f | cat'
    ),
    Program(
        "python3 -c \"import os, shutil; shutil.copyfile('f', os.environ['OUT'] + '/copy')\""
        " && cat $OUT/copy"
    ),
    Program(
        "python3 -c \"import sqlite3; d = sqlite3.connect('file:f?mode=ro', uri=True);"
        " print(*d.execute('select b from t where a in (3, 700)'))\"",
        DATABASE,
    ),
    Program(
        "sqlite3 'file:f?mode=ro' 'select count(*), sum(length(b)) from t'",
        DATABASE,
        "sqlite3",
        is_slow=True,
    ),
    Program("ffprobe -v error -show_streams -count_frames f", MOVIE, "ffprobe", is_slow=True),
    node("fs.readFile('f', (e, d) => { if (e) throw e; process.stdout.write(d) })"),
    node("process.stdout.write(fs.readFileSync('f'))"),
    node("fs.createReadStream('f').pipe(process.stdout)"),
    node("fs.createReadStream('f', { start: 600000, end: 800000 }).pipe(process.stdout)"),
    node(
        "const b = Buffer.alloc(300000);"
        " process.stdout.write(b.subarray(0, fs.readSync(fs.openSync('f'), b, 0, 300000, 500000)))"
    ),
    Program(
        "node -e \"fs.promises.cp('f', process.env.OUT + '/copy')\" && cat $OUT/copy", needs="node"
    ),
    Program(
        "node -e \"fs.copyFileSync('f', process.env.OUT + '/copy')\" && cat $OUT/copy", needs="node"
    ),
)

# What is held, in blocks; of a feed that has bytes it is never nothing.
SIZES = (
    Program("test $(du -B 512 f | cut -f 1) -gt 0 && echo held"),
    Program("test $(ls -s --block-size=512 f | cut -d ' ' -f 1) -gt 0 && echo held"),
    Program("find f -size +0 -not -empty"),
    Program(
        'ncdu -0 -o - . | grep -o \'"name":"f","asize":[0-9]*,"dsize"\' | cut -c -10',
        needs="ncdu",
        is_slow=True,
    ),
)

GROUPS = {
    "GNU coreutils": COREUTILS,
    "Text": TEXT,
    "Archives, copies and backups": ARCHIVES,
    "nginx": SERVERS,
    "Other coreutils": OTHER_COREUTILS,
    "Languages and formats": LANGUAGES,
    "Sizes": SIZES,
}
