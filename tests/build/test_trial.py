"""Trial runs: what is run, as whom, and what the sandbox shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ramekin.build import trial
from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image.oci import Runtime
from ramekin.image.running.container import (
    Identity,
    Volume,
    Wishes,
    container,
    identity,
    make_place,
    require_program,
    resolved,
)
from ramekin.image.running.runtimes import bundle, bwrap, choose_runtime

PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:998:997::/srv:/bin/sh\nbroken line\n"
GROUP = "root:x:0:\nweb:x:997:\nmore:x:500:web,other\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = tmp_path / "rootfs"
    (files / "etc").mkdir(parents=True)
    (files / "etc/passwd").write_text(PASSWD)
    (files / "etc/group").write_text(GROUP)
    return files


@pytest.mark.parametrize(
    ("user", "meant"),
    [
        ("", Identity(0, 0, (), "/root")),
        ("web", Identity(998, 997, (500,), "/srv")),
        ("998", Identity(998, 997, (500,), "/srv")),
        ("web:more", Identity(998, 500, (), "/srv")),
        ("web:7", Identity(998, 7, (), "/srv")),
        ("1234", Identity(1234, 0, (), "/")),
    ],
)
def test_a_user_is_looked_up_inside_the_image(root: Path, user: str, meant: Identity) -> None:
    assert identity(root, user) == meant


def test_an_unknown_user_or_group_is_wrong_use(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        identity(root, "wep")
    assert caught.value.hint == "did you mean web?"
    with pytest.raises(UsageError, match="no group 'none'"):
        identity(root, "web:none")


def test_account_files_are_not_read_through_links(root: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(UsageError):
        identity(root, "daemon")


SAYS = Runtime(
    entrypoint=("serve",), cmd=("--all",), env=("A=1", "PATH=/bin"), user="web", working_dir="/srv"
)


@pytest.mark.parametrize(
    ("wishes", "command"),
    [
        (Wishes(), ("serve", "--all")),
        (Wishes(arguments=("--one",)), ("serve", "--one")),
        (Wishes(entrypoint=("sh",)), ("sh",)),
        (Wishes(entrypoint=("sh", "-c"), arguments=("id",)), ("sh", "-c", "id")),
        (Wishes(entrypoint=(), arguments=("id",)), ("id",)),
    ],
)
def test_the_command_is_put_together_as_docker_does(
    root: Path, wishes: Wishes, command: tuple[str, ...]
) -> None:
    assert container(root, SAYS, wishes, terminal=False).command == command


def test_the_image_says_the_rest_and_the_user_has_the_last_word(root: Path) -> None:
    made = container(root, SAYS, Wishes(), terminal=False)
    assert (made.user.uid, made.workdir, made.env) == (
        998,
        "/srv",
        {"PATH": "/bin", "HOME": "/srv", "A": "1"},
    )
    made = container(
        root, SAYS, Wishes(env=(("A", "2"),), user="root", workdir="/w", network="none"), terminal=False
    )
    assert (made.user.uid, made.workdir, made.env["A"], made.binds) == (0, "/w", "2", ())


def test_an_image_that_says_nothing_needs_a_command(root: Path) -> None:
    with pytest.raises(UsageError, match="does not say what to run"):
        container(root, Runtime(), Wishes(), terminal=False)


def test_volumes_are_host_and_inside(tmp_path: Path) -> None:
    assert trial.volume(f"{tmp_path}:/data/", where="--volume") == Volume(tmp_path, "/data")
    assert trial.volume(f"{tmp_path}:/data:ro", where="--volume").read_only
    for text in ("/data", f"{tmp_path}:data", f"{tmp_path}:/data:x", f"{tmp_path}/none:/data", ":/data"):
        with pytest.raises(UsageError, match="--volume"):
            trial.volume(text, where="--volume")


def test_a_missing_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RamekinError, match="are not installed"):
        choose_runtime(None)
    with pytest.raises(RamekinError, match="runc is not installed"):
        choose_runtime("runc")


def test_a_shut_off_network_is_shut_off_in_both_runtimes(root: Path) -> None:
    made = container(root, SAYS, Wishes(network="none"), terminal=False)
    assert "--unshare-net" in bwrap(made, rooted=False)
    assert {"type": "network"} in bundle(made)["linux"]["namespaces"]
    made = container(root, SAYS, Wishes(), terminal=False)
    assert "--unshare-net" not in bwrap(made, rooted=False)
    assert {"type": "network"} not in bundle(made)["linux"]["namespaces"]


def test_only_root_inside_has_capabilities(root: Path) -> None:
    web = container(root, SAYS, Wishes(), terminal=False)
    assert "--cap-add" not in bwrap(web, rooted=True)
    assert "effective" not in bundle(web)["process"]["capabilities"]
    assert bundle(web)["process"]["noNewPrivileges"] is True
    administrator = container(root, SAYS, Wishes(user="root"), terminal=False)
    assert "CAP_SYS_ADMIN" not in bwrap(administrator, rooted=True)


def test_places_are_not_made_through_links_of_the_image(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "data").symlink_to(tmp_path / "outside")
    make_place(root, "/data/inside")
    make_place(root, "/new/file", folder=False)
    assert list((tmp_path / "outside").iterdir()) == []
    assert (root / "new/file").is_file()


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/usr/bin/tool", True),
        ("/bin/tool", True),
        ("/bin/.././bin/tool", True),
        ("/usr/bin/other", True),
        ("/usr/bin/none", False),
        ("/usr/bin/dangling", False),
        ("/usr/bin/round", False),
        ("/usr/bin/out", False),
        ("/usr/bin", False),
    ],
)
def test_programs_are_looked_up_by_the_links_of_the_image(root: Path, path: str, there: bool) -> None:
    tools = root / "usr/bin"
    tools.mkdir(parents=True)
    (tools / "tool").write_text("#!")
    (root / "bin").symlink_to("usr/bin")
    for name, target in {
        "other": "/bin/../../../bin/tool",
        "dangling": "/nowhere",
        "round": "round",
        # there on this machine, and not in the image
        "out": sys.executable,
    }.items():
        (tools / name).symlink_to(target)
    assert (resolved(root, path) is not None) == there


def test_a_program_that_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").write_text("#!")
    for wishes in (Wishes(arguments=("nothing",)), Wishes(arguments=("./nothing",), workdir="/srv")):
        with pytest.raises(NotFoundError, match=r"the image has no program (\./)?nothing"):
            require_program(container(root, Runtime(), wishes, terminal=False))
    shown = Wishes(arguments=("/data/nothing",), volumes=(Volume(tmp_path, "/data"),))
    require_program(container(root, Runtime(), shown, terminal=False))


Try = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where commands put what they throw away; where tests have their folders, nobody else may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="rk-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(params=["bwrap", "runc"])
def attempt(request: pytest.FixtureRequest, tmp_path: Path, temporary: Path) -> Try:
    """`attempt("--user", "web", script=…)` runs a shell script in a folder with a shell and accounts."""
    runtime = str(request.param)
    if not shutil.which(runtime):
        pytest.skip(f"{runtime} is not installed")
    if runtime == "runc" and os.getuid() != 0:
        pytest.skip("runc is tried as root only")
    files = tmp_path / "image"
    for program in ("/bin/sh", "/usr/bin/id", "/usr/bin/env", "/bin/cat"):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for needed in [program, *(word for word in listed.split() if word.startswith("/"))]:
            place = files / needed.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(needed).resolve(), place)
    (files / "etc").mkdir()
    (files / "etc/passwd").write_text(PASSWD)
    (files / "etc/group").write_text(GROUP)
    (files / "tmp").mkdir()
    (files / "tmp").chmod(0o1777)

    def attempt(*options: str, script: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        words = ["run", f"rootfs:{files}", "--runtime", runtime, "--entrypoint", "/bin/sh -c", *options]
        return subprocess.run(
            [*before, sys.executable, "-m", "ramekin", *words, "--", script],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(temporary)},
        )

    return attempt


@pytest.mark.runtime
def test_a_program_runs_as_its_user_and_its_exit_code_is_ours(attempt: Try) -> None:
    result = attempt("--user", "web", "--env", "A=b c", script='id -u; echo "$A $HOME"; exit 7')
    assert (result.stdout, result.returncode) == ("998\nb c /srv\n", 7), result.stderr


@pytest.mark.runtime
def test_root_inside_writes_to_a_copy_that_is_thrown_away(attempt: Try, temporary: Path) -> None:
    result = attempt(script="echo new > /etc/passwd; echo x > /tmp/x; id -u")
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr
    assert attempt(script="cat /etc/passwd").stdout == PASSWD
    assert attempt(script="cat /tmp/x").returncode == 1
    assert list(temporary.iterdir()) == []


@pytest.mark.runtime
def test_volumes_are_seen_inside(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/hello").write_text("hello\n")
    result = attempt("--volume", f"{tmp_path}/data:/data", script="cat /data/hello; echo back > /data/answer")
    assert result.stdout == "hello\n", result.stderr
    assert (tmp_path / "data/answer").read_text() == "back\n"
    result = attempt("--volume", f"{tmp_path}/data:/data:ro", script="echo again > /data/answer")
    assert result.returncode != 0
    assert (tmp_path / "data/answer").read_text() == "back\n"


@pytest.mark.runtime
def test_a_program_starts_in_its_folder_and_sees_only_its_own_processes(attempt: Try) -> None:
    result = attempt(
        "--workdir", "/new/folder", script="pwd; cat /proc/1/cmdline >/dev/null && echo /proc/[0-9]*"
    )
    folder, processes = result.stdout.splitlines()
    assert folder == "/new/folder"
    assert len(processes.split()) <= 4


@pytest.mark.runtime
def test_a_signal_reaches_the_program(attempt: Try, tmp_path: Path) -> None:
    script = "trap 'echo ended; exit 3' TERM; echo started; while :; do read x </tmp/none 2>/dev/null; done"
    ender = (
        "import subprocess, sys, signal\n"
        "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "print(p.stdout.readline(), end='', flush=True); p.send_signal(signal.SIGTERM)\n"
        "print(p.stdout.read(), end='', flush=True); sys.exit(p.wait())"
    )
    result = attempt(script=script, before=(sys.executable, "-c", ender))
    assert (result.stdout, result.returncode) == ("started\nended\n", 3), result.stderr
