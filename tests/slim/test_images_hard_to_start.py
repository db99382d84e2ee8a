"""Images that do not say how they are started, or cannot be: each has its word and its way out."""

from __future__ import annotations

from pathlib import Path

import pantries
import pytest
from boxes import QUIET, box, need_root, started
from test_slimming import slimmed

from ramekin.errors import NotFoundError, RamekinError, UsageError
from ramekin.image.oci import Runtime
from ramekin.image.running.container import Wishes, identity
from ramekin.slim import run, shadow
from ramekin.slim.probes import words
from ramekin.slim.probes.model import Plan
from ramekin.slim.sandbox.plan import Limits
from ramekin.slim.sandbox.running import sandbox
from ramekin.slim.trial import Findings, attempt, exposed_ports
from ramekin.store.store import Store

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize(
    ("signal", "trap"), [("SIGRTMIN+3", "37"), ("RTMAX-1", "63"), ("quit", "QUIT"), ("10", "USR1")]
)
def test_every_signal_that_engines_know_ends_a_program(tmp_path: Path, signal: str, trap: str) -> None:
    script = f"trap 'exit 7' {trap}; echo up; while :; do sleep 0.05; done"
    with started(box(tmp_path), "sh", "-c", script, stop_signal=signal) as running:
        while running.log() != b"up\n":
            pass
        assert running.stop() == 7


@pytest.mark.parametrize("signal", ["SIGNOPE", "SIGRTMIN+40", "TERM+1", "0", "65", "-"])
def test_a_signal_that_is_none_is_said(tmp_path: Path, signal: str) -> None:
    with (
        pytest.raises(UsageError, match=r"the image's stop signal '.+' is none") as caught,
        started(box(tmp_path), "sleep", "1", stop_signal=signal),
    ):
        pass
    assert caught.value.hint == "correct the image's StopSignal"


def test_hints_are_options_of_slim(tmp_path: Path) -> None:
    root = box(tmp_path)
    with pytest.raises(UsageError, match="does not say what to run") as caught, sandbox(root, Runtime()):
        pass
    assert "--cmd" in (caught.value.hint or "")
    with (
        pytest.raises(NotFoundError, match="the image has no program gone") as missing,
        sandbox(root, Runtime(cmd=("gone",), env=("PATH=/usr/bin",))),
    ):
        pass
    assert "--cmd" in (missing.value.hint or "")
    assert "after --" not in (missing.value.hint or "")


@pytest.mark.parametrize("user", ["99999999999999999999", "4294967295", "web:99999999999"])
def test_a_user_beyond_all_numbers_is_none(tmp_path: Path, user: str) -> None:
    with pytest.raises(UsageError, match=f"the image's user '{user}' is none"):
        identity(box(tmp_path).path, user)


def test_ports_that_cannot_be_are_not_waited_for() -> None:
    ports: dict[str, dict[str, str]] = {
        key: {} for key in ("99999/tcp", "0/tcp", "8000/tcp/x", "53/udp", "-1", "443", "٣/tcp")
    }
    assert exposed_ports(Runtime(exposed_ports=ports)) == (443,)


def test_an_image_without_a_program_is_asked_by_commands(store: Store) -> None:
    need_root()
    image = pantries.image(store, cmd=(), expose=None)
    with slimmed(store, image, "- run: cat /usr/share/greetings/hello") as found:
        assert found.passed
        assert found.verified
        assert "usr/share/greetings/hello" in found.selection.kept
        assert "usr/share/unused/big" not in found.selection.kept
    with pytest.raises(UsageError, match="does not say what to run"), slimmed(store, image):
        pass


def test_a_program_that_fails_at_its_start_needs_other_settings(store: Store) -> None:
    need_root()
    image = pantries.image(store, cmd=("sh", "-c", "echo no DATABASE; exit 2"), expose=None)
    with pytest.raises(run.ProbesFailError) as caught, slimmed(store, image):
        pass
    assert "--env" in (caught.value.hint or "")


def test_an_image_of_another_system_is_not_run(store: Store) -> None:
    with slimmed(store, pantries.image(store, architecture="s390x")) as found:
        assert not found.verified
        assert any("linux/s390x and this machine is linux/" in note for note in found.notes)


def test_a_command_that_is_no_text_is_said() -> None:
    with pytest.raises(UsageError, match=r"--run: .* is not UTF-8"):
        words.plan(run=["cat \udcff"])


def test_workdirs_are_made_where_the_image_has_none(tmp_path: Path) -> None:
    root = box(tmp_path)
    for place in ("/new/deep", "/a\nb/c", "/srv/../srv/x"):
        with started(root, "sleep", "1000", wishes=Wishes(workdir=place), user="web") as running:
            done = running.exec(["sh", "-c", "pwd && echo x > here && cat here"])
            assert (done.code, done.stdout.decode().endswith("\nx\n")) == (0, True)


def test_accounts_behind_links_are_those_of_the_image(tmp_path: Path) -> None:
    root = box(tmp_path).path
    (root / "real").mkdir()
    (root / "etc/passwd").rename(root / "real/passwd")
    (root / "etc/passwd").symlink_to("/real/passwd")
    (root / "etc/group").unlink()
    (root / "etc/group").symlink_to("../../../../../../etc/group")
    found = identity(root, "web")
    assert (found.uid, found.gid, found.groups) == (998, 997, ())
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("passwd")
    with pytest.raises(UsageError, match="the image has no user 'web'"):
        identity(root, "web")


def test_a_program_that_ends_though_it_should_serve_is_told_to_stay(store: Store) -> None:
    need_root()
    away = pantries.image(store, cmd=("httpd", "-p", "8000", "-h", "/srv"))
    with slimmed(store, away) as found:
        assert any("exposes port 8000" in note and "foreground" in note for note in found.notes)
    with pytest.raises(run.ProbesFailError) as caught, slimmed(store, away, "- get: /"):
        pass
    assert "has to stay in the foreground" in (caught.value.hint or "")


@pytest.mark.parametrize("probes", ["", "- run: cat /usr/share/greetings/hello"])
def test_a_program_that_listens_a_moment_before_it_goes_to_the_background_has_ended(
    store: Store, probes: str
) -> None:
    need_root()
    image = pantries.image(store, cmd=("sh", "-c", "httpd -p 8000 -h /srv; sleep 0.2"), expose=None)
    with slimmed(store, image, probes) as found:
        assert found.findings.course == "ends"
        assert found.passed


def test_a_program_that_needs_a_terminal_is_told_that_there_is_none(store: Store) -> None:
    need_root()
    image = pantries.image(store, cmd=("sh", "-c", "test -t 0 || { echo no tty here; exit 1; }"), expose=None)
    with pytest.raises(run.ProbesFailError) as caught, slimmed(store, image):
        pass
    assert "there is no terminal here" in (caught.value.hint or "")


@pytest.mark.parametrize("silent", [False, True])
def test_a_program_that_writes_too_much_is_told_so_when_that_ended_it(store: Store, silent: bool) -> None:
    need_root()
    write = "dd if=/dev/zero of=/srv/big bs=1M count=100"
    image = pantries.image(store, cmd=("sh", "-c", write) if silent else ("true",), expose=None)
    with (
        pytest.raises(RamekinError, match="wrote more than 16 MiB to files"),
        slimmed(store, image, "" if silent else f"- run: {write}", limits=Limits(room=16 << 20)),
    ):
        pass


def test_a_program_that_never_gets_ready_is_said_with_the_time_that_it_had(store: Store) -> None:
    need_root()
    script = "head -c 100000 /dev/zero; echo; sleep 100"
    image = pantries.image(store, cmd=("sh", "-c", script))
    with (
        pytest.raises(RamekinError, match=r"was not ready after 1\.5 s") as caught,
        slimmed(store, image, "{ready: {seconds: 1500ms}, probes: [{get: /}]}"),
    ):
        pass
    assert len(caught.value.message) < 2000


def test_what_a_program_that_ends_leaves_behind_is_not_taken_for_it(tmp_path: Path) -> None:
    root = box(tmp_path)
    lingers = Runtime(cmd=("sh", "-c", "httpd -f -p 8000 & sleep 0.5"), env=("PATH=/usr/bin",))
    known = Findings(course="ends", probes=())
    trial = attempt(root, lingers, Plan(), known, watch=QUIET)
    (start,) = trial.answers
    assert start.complaints == ()
    assert start.fields["exit"] == "0"


def test_a_workload_is_told_when_there_is_nothing_to_work_with(store: Store, tmp_path: Path) -> None:
    need_root()
    told: list[str] = []
    away = pantries.image(store, cmd=("httpd", "-p", "8000", "-h", "/srv"))
    with slimmed(store, away) as found:
        shadow.run(found, 5, tmp_path / "record", say=told.append)
    assert any("has ended already" in text for text in told)
    assert not any("runs" in text for text in told)
