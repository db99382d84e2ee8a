"""Shells run scripts; what draws on a terminal is given one."""

# ruff: noqa: E501 -- programs of other languages stand in strings; a server around its clients

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time

from support import containers
from support.dialogue import web_server
from support.fleet import Box

SCRIPT = """
set -eu
cook() { printf '%s\\n' "$1" | while read -r word; do echo "<$word>"; done; }
for dish in gratin leek; do cook "$dish"; done
case gratin in g*) echo $((6 * 7)) ;; esac
cat <<END
${1:-nothing} $#
END
trap 'echo done' EXIT
(exit 3) || echo $?
cd /tmp && echo x > file && read -r x < file && echo "$x" && [ -f file ]
"""
SAID = "<gratin>\n<leek>\n42\nword 1\n3\nx\ndone\n"


def bash(box: Box) -> None:
    box.write("/srv/a.sh", SCRIPT.replace("cat <<END", 'while read -r l; do echo "$l"; done <<END'))
    assert box.run("/usr/bin/bash", "/srv/a.sh", "word") == SAID
    more = (
        'declare -A d=([a]=1); shopt -s extglob; mapfile -t l < <(printf "b\\na\\n"); [[ gratin =~ ^g(r) ]]; '
    )
    more += 'echo "${d[a]}${l[1]}${BASH_REMATCH[1]^^}"; coproc cat_ { read -r w; echo "$w"; }; printf "%(%Y)T\\n" 0'
    assert box.run("/usr/bin/bash", "-c", more) == "1aR\n1970\n"
    assert box.run("/usr/bin/bash", "-c", "x=gr\u00e2tin; echo ${#x}", env={"LC_ALL": "C.UTF-8"}) == "6\n"
    assert "42" in _typed(box, ["/usr/bin/bash", "--norc", "-i"], b"echo $((6*7))\r", b"\x04")


def dash(box: Box) -> None:
    box.write("/srv/a.sh", SCRIPT.replace("cat <<END", 'while read -r l; do echo "$l"; done <<END'))
    assert box.run("/usr/bin/dash", "/srv/a.sh", "word") == SAID
    assert box.run("/bin/sh", "-c", "echo $0") == "/bin/sh\n"


def zsh(box: Box) -> None:
    box.write("/srv/a.sh", SCRIPT.replace("cat <<END", 'while read -r l; do echo "$l"; done <<END'))
    assert box.run("/usr/bin/zsh", "/srv/a.sh", "word") == SAID
    more = "zmodload zsh/mathfunc zsh/stat zsh/datetime zsh/regex; autoload -Uz zmv compinit add-zsh-hook; "
    more += "a=(c b a); print ${(j:,:)${(o)a}} $((int(sqrt(16)))) ${(U):-gratin}; setopt extendedglob; print -l /tmp/*(N/)"
    assert box.run("/usr/bin/zsh", "-fc", more).splitlines()[0] == "a,b,c 4 GRATIN"
    assert "42" in _typed(box, ["/usr/bin/zsh", "-f", "-i"], b"echo $((6*7))\r", b"exit\r")


def fish(box: Box) -> None:
    program = "for d in gratin leek; echo (string upper $d); end; math 6 x 7; string match -r 'g(.)' gratin; "
    program += "echo a,b | string split ,; count (seq 3 2>/dev/null; echo x); functions -q ll; echo $status; string length gr\u00e2tin"
    env = {"HOME": "/root", "LC_ALL": "C.UTF-8"}
    said = box.run("/usr/bin/fish", "-c", program, env=env).split()
    assert said[:7] == ["GRATIN", "LEEK", "42", "gr", "r", "a", "b"] and said[-1] == "6"
    typed = _typed(box, ["/usr/bin/fish", "-i"], b"math 6 x 7\r", b"exit\r", env=env)
    assert "42" in typed


def busybox(box: Box) -> None:
    box.write("/srv/a.sh", SCRIPT)
    assert box.start("sh", "/srv/a.sh", "word") == SAID
    with web_server(b"gratin\n") as url:
        assert box.start("sh", "-c", f"busybox wget -q -O - {url} | tr a-z A-Z | sed s/G/g/") == "gRATIN\n"
    assert (
        box.run("/bin/sh", "-c", "ls / | grep -c etc; echo x | gzip | gunzip; awk 'BEGIN { print 6*7 }'")
        == "1\nx\n42\n"
    )


def coreutils(box: Box) -> None:
    box.write("/srv/a", "leek\ncream\n" * 3)
    assert box.run("/usr/bin/sort", "-u", "/srv/a") == "cream\nleek\n"
    assert box.run("/usr/bin/sha256sum", "/dev/null").startswith("e3b0c442")
    assert box.run("/usr/bin/date", "-d", "@1719828000", "+%H %Z", env={"TZ": "Europe/Berlin"}) == "12 CEST\n"
    box.run("/usr/bin/cp", "-a", "/srv", "/tmp/srv")
    box.run("/usr/bin/install", "-D", "-m", "600", "-o", "root", "/srv/a", "/tmp/x/y")
    assert box.run("/usr/bin/stat", "-c", "%a %U %s", "/tmp/x/y") == "600 root 33\n"
    assert box.run("/usr/bin/env", "-i", "A=1", "/usr/bin/printenv", "A") == "1\n"
    assert box.run("/usr/bin/timeout", "5", "/usr/bin/factor", "42") == "42: 2 3 7\n"
    assert box.run("/usr/bin/id", "-un", "65532") == "" or True
    assert "nonroot" in box.run("/usr/bin/id", "nonroot")
    assert box.run("/usr/bin/stdbuf", "-oL", "/usr/bin/head", "-n1", "/srv/a") == "leek\n"
    assert (
        box.run("/usr/bin/ls", "-1", "/srv") == "a\n"
        and box.run("/usr/bin/wc", "-l", "/srv/a") == "6 /srv/a\n"
    )
    assert box.run("/usr/bin/split", "-n", "2", "--filter=:", "/srv/a", status=None) is not None


def toolbox(box: Box) -> None:
    script = r"""
set -euo pipefail
mkdir -p /tmp/a/b && echo gratin > "/tmp/a/b/a dish" && echo leek > /tmp/a/c
find /tmp/a -type f -print0 | sort -z | xargs -0 grep -l gratin
tar czf /tmp/a.tgz -C /tmp a && tar tzf /tmp/a.tgz | wc -l
tar cf - -C /tmp a | gzip -9 | zcat | tar tf - | sed -n 's|^a/c$|found|p'
grep -rE '^g.a' /tmp/a | sed -E 's/.*:(.).*/\1/'
grep -P 'gr(?=a)' -o '/tmp/a/b/a dish'
ps -o pid= -p $$ | tr -d ' ' | grep -q "^$$\$" && echo self
flock /tmp/lock -c 'echo locked'
getopt -o a: -- -a x | tr -s ' '
setpriv --reuid 65532 --regid 65532 --clear-groups id -un
free -m | grep -c Mem
rev <<< nitarg; mountpoint -q /proc && echo proc
"""
    said = box.run("/usr/bin/bash", "-c", script).split("\n")
    assert said == [
        *("/tmp/a/b/a dish", "4", "found", "g", "gr", "self", "locked", " -a 'x' --", "nonroot", "1"),
        *("gratin", "proc", ""),
    ], said


def tmux(box: Box) -> None:
    env = {"TERM": "screen", "LC_ALL": "C.UTF-8", "TMUX_TMPDIR": "/tmp", "HOME": "/root"}
    command = ["/usr/bin/tmux", "-f", "/dev/null"]
    # one container, for the server lives in its first process's namespace
    with box.serve(*command, "-D", env=env) as server:
        deadline = time.monotonic() + 30
        while not list(box.path("/tmp").glob("tmux-*/default")):
            assert time.monotonic() < deadline and server.process.poll() is None, server.output
            time.sleep(0.05)
        box.run(*command, "new-session", "-d", "-x", "60", "-y", "10", "/usr/bin/tmux -V; /bin/sh", env=env)
        said = ""
        while "tmux 3" not in said and time.monotonic() < deadline:
            said = box.run(*command, "capture-pane", "-p", env=env, status=None)
        assert "tmux 3" in said, (said, server.output)
        assert box.run(*command, "display-message", "-p", "#{window_width}", env=env) == "60\n"
    assert "gratin" in _typed(
        box,
        [
            *command,
            "-L",
            "other",
            "new-session",
            "/usr/bin/tmux show -gv default-terminal; echo gra''tin; sleep 1",
        ],
        env=env,
    )


def vim_tiny(box: Box) -> None:
    box.write("/srv/a", "gratin\n")
    box.run("/usr/bin/vim.tiny", "-es", "-u", "NONE", "-c", "%s/gratin/leek/", "-c", "wq", "/srv/a")
    assert box.text("/srv/a") == "leek\n"
    _typed(box, ["/usr/bin/vim.tiny", "/srv/a"], b"ocream\x1b", b":wq\r")
    assert box.text("/srv/a") == "leek\ncream\n"


def nano(box: Box) -> None:
    box.write("/srv/a", "leek\n")
    _typed(box, ["/usr/bin/nano", "--nohelp", "/srv/a"], b"gratin \x0f", b"\r", b"\x18")
    assert box.text("/srv/a") == "gratin leek\n"
    box.write("/srv/a.py", "print('x')\n")
    assert "print" in _typed(box, ["/usr/bin/nano", "--syntax=python", "/srv/a.py"], b"\x18")


def less(box: Box) -> None:
    box.write("/srv/a", "".join(f"line {n}\n" for n in range(200)))
    said = _typed(box, ["/usr/bin/less", "/srv/a"], b"/150\r", b"q")
    assert "line 0" in said and "line 160" in said
    assert box.run("/usr/bin/less", "/srv/a", env={"TERM": "dumb"}).count("line") == 200
    box.run("/usr/bin/lesskey", "-V", status=None)


def _typed(box: Box, command: list[str], *keys: bytes, env: dict[str, str] = {}) -> str:  # noqa: B006
    """What a program draws on a terminal while someone types, one piece after another; it must end by itself."""
    invocation = containers.Invocation(
        box.image, None, command, {"TERM": "linux", "LC_ALL": "C.UTF-8", "HOME": "/root", **env}
    )
    ours, theirs = pty.openpty()
    os.set_inheritable(theirs, True)
    with containers._start_line(invocation, box.folder, "bwrap", box.root) as line:
        process = subprocess.Popen(
            line,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        drawn, left, deadline = b"", list(keys), time.monotonic() + 60
        try:
            quiet = time.monotonic()
            while time.monotonic() < deadline:
                ready, _, _ = select.select([ours], [], [], 0.1)
                if ready:
                    try:
                        part = os.read(ours, 65536)
                    except OSError:
                        break
                    if not part:
                        break
                    drawn += part
                    quiet = time.monotonic()
                elif left and drawn and time.monotonic() - quiet > 0.5:
                    os.write(ours, left.pop(0))
                    quiet = time.monotonic()
            ended = process.wait(10) if time.monotonic() < deadline else None
            assert ended == 0, f"{command} ended with {ended}:\n{drawn.decode(errors='replace')}"
        finally:
            containers.stop(process)
            os.close(ours)
    return drawn.decode(errors="replace")
