"""The whole road on a small image: observed, completed, rebuilt, verified, healed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pantries
import pytest
from boxes import need_root

from ramekin import yaml_source
from ramekin.errors import RamekinError, UsageError
from ramekin.image.image import Image
from ramekin.image.oci import Platform
from ramekin.image.tree import file
from ramekin.slim import observation, report, run, scratch, shadow
from ramekin.slim.probes import form, model
from ramekin.slim.slimmed import Slimmed, SlimRequest
from ramekin.slim.units import Choice
from ramekin.slim.verify import GIVEN_UP, LISTING, OPENED, TESTED
from ramekin.store.store import Store

pytestmark = pytest.mark.runtime


@pytest.fixture
def store(tmp_path: Path) -> Store:
    need_root()
    return Store.at(tmp_path / "store")


def plan(text: str = "") -> model.Plan:
    return form.of(yaml_source.parse(text.encode(), Path("probes.yaml")))


@contextmanager
def slimmed(store: Store, image: Image, text: str = "", **settings: object) -> Iterator[Slimmed]:
    request = SlimRequest(name="the image", plan=plan(text), **settings)  # type: ignore[arg-type]
    with run.slim(image, request, store) as found:
        yield found


def digest(store: Store, image: Image, text: str = "", **settings: object) -> str:
    with slimmed(store, image, text, **settings) as found:
        assert found.passed
        return found.image.root.digest


def kept(found: Slimmed) -> set[str]:
    return {path for path in found.selection.kept if path.startswith("usr/share/")}


def test_without_probes_the_page_is_asked_for_and_what_nothing_used_goes(store: Store) -> None:
    with slimmed(store, pantries.image(store)) as found:
        assert found.verified
        assert found.passed
        assert [answer.probe for answer in found.originals[0].answers] == ["start", "GET /"]
        assert (found.findings.course, found.findings.port) == ("listens", 8000)
        assert kept(found) == set()
        assert {"usr/bin/busybox", "srv/about.html", "srv/cgi-bin/show"} <= set(found.selection.kept)
        assert found.rebuilt.size < found.selection.size - 1_000_000
        assert len(found.rounds) == 1


def test_the_same_image_and_observation_give_the_same_digest_and_need_not_run_again(store: Store) -> None:
    image = pantries.image(store)
    text = "- get: /cgi-bin/show?greetings/hello"
    with slimmed(store, image, text) as found:
        first, seen = found.image.root.digest, found.observation
        assert seen is not None
        assert "usr/share/greetings/later" in found.selection.kept
    assert digest(store, image, text) == first
    kept_file = observation.decode(observation.encode(seen), "x")
    with slimmed(store, image, observation=kept_file) as found:
        assert found.image.root.digest == first
        assert not found.verified
        assert not found.originals
        assert any("the observation is taken as it is" in note for note in found.notes)
    assert digest(store, image, text, observation=kept_file) == first


def test_probes_that_fail_on_the_original_are_said_before_anything_is_slimmed(store: Store) -> None:
    with (
        pytest.raises(run.ProbesFailError) as caught,
        slimmed(store, pantries.image(store), "- get: /nowhere\n- run: 'false'\n- get: /"),
    ):
        pass
    assert "2 of 3 probes fail on the image itself; nothing was slimmed" in caught.value.message
    assert "GET /nowhere: the status is 404" in caught.value.message
    assert "run false: the exit code is 1, not 0" in caught.value.message


def test_answers_that_differ_each_time_are_masked(store: Store) -> None:
    with slimmed(store, pantries.image(store), "- get: /cgi-bin/now") as found:
        assert found.passed
        assert found.expected["GET /cgi-bin/now"].masked == ("body",)


def test_a_file_that_is_only_asked_about_comes_back_alone(store: Store) -> None:
    with slimmed(store, pantries.image(store), "- get: /cgi-bin/there?greetings/hello") as found:
        assert found.passed
        first, second = found.rounds
        (difference,) = first.differences
        assert (difference.field, difference.expected, difference.found) == ("body", "yes", "no")
        assert [(one.path, one.judgement, one.unit) for one in first.lookups] == [
            ("usr/share/greetings/hello", TESTED, "dpkg:greetings")
        ]
        assert first.healed == ("usr/share/greetings/hello",)
        assert second.clean
        assert kept(found) == {"usr/share/greetings/hello"}
        seen = found.observation
        first_digest = found.image.root.digest
    assert digest(store, pantries.image(store), observation=seen) == first_digest


def test_a_file_that_was_to_be_opened_brings_its_unit_back(store: Store) -> None:
    image = pantries.image(store)
    with slimmed(store, image, "- get: /") as found:
        poor = found.observation
    with slimmed(store, image, "- get: /cgi-bin/show?greetings/hello", observation=poor) as found:
        assert found.passed
        assert [one.judgement for one in found.rounds[0].lookups] == [OPENED]
        assert [one.path for one in found.healed] == ["usr/share/greetings/hello"]
        assert kept(found) == {"usr/share/greetings/hello", "usr/share/greetings/later"}
        healed, again = found.observation, found.image.root.digest
    assert digest(store, image, observation=healed) == again


def test_without_healing_the_difference_stays_and_what_was_missed_is_named(store: Store) -> None:
    text = "- get: /cgi-bin/there?greetings/hello"
    with slimmed(store, pantries.image(store), text, heal=False) as found:
        assert not found.passed
        assert [one.path for one in found.missed] == ["usr/share/greetings/hello"]
        assert len(found.rounds) == 1
    with slimmed(store, pantries.image(store), text, rounds=1) as found:
        assert not found.passed


def test_folders_that_are_listed_are_filled_again_only_when_that_explains_a_difference(store: Store) -> None:
    image = pantries.image(store)
    with slimmed(store, image, "- get: /cgi-bin/list?plugins") as found:
        assert found.passed
        assert {one.judgement for one in found.healed} >= {LISTING}
        assert {"usr/share/plugins/one.so", "usr/share/plugins/two.so"} <= kept(found)
        assert "usr/share/unused/big" not in kept(found)


def test_what_the_user_gives_up_is_shown_and_not_put_back(store: Store) -> None:
    choice = Choice(drop=("/usr/share/told/locale-file",))
    text = "- {get: '/cgi-bin/show?told/other'}\n- {get: '/cgi-bin/there?told/locale-file', compare: status}"
    with slimmed(store, pantries.image(store), text, choice=choice) as found:
        assert found.passed
        assert [(one.path, one.judgement) for one in found.rounds[0].lookups] == [
            ("usr/share/told/locale-file", GIVEN_UP)
        ]
        assert kept(found) == {"usr/share/told/other"}
    text = "- {get: '/cgi-bin/there?told/locale-file'}"
    with slimmed(store, pantries.image(store), text, choice=choice) as found:
        assert not found.passed
        assert len(found.rounds) == 1


def test_a_program_that_the_user_gave_up_is_named_when_it_cannot_be_started(store: Store) -> None:
    files = [file("opt/start", b"#!/bin/sh\ntest $1 || exec httpd -f -p 8000 -h /srv\n", mode=0o755)]
    for command, text in ((("/opt/start",), "- get: /"), (("true",), "- run: /opt/start --help")):
        image = pantries.image(store, cmd=command, files=files)
        with slimmed(store, image, text, choice=Choice(drop=("/opt/start",))) as found:
            assert not found.passed
            assert [(one.path, one.judgement) for one in found.rounds[0].lookups] == [("opt/start", GIVEN_UP)]
            assert report.missing(found) == [
                "/opt/start of files:/opt, given up on purpose, looked for by the sandbox (execve)"
            ]
            assert "was given up by --drop" in report.advice(found, healed=True)


def test_where_what_was_given_up_was_looked_for_nothing_is_put_back_instead(store: Store) -> None:
    choice = Choice(drop=("/usr/share/told/locale-file",))
    text = "- get: /cgi-bin/list?plugins\n- {get: '/cgi-bin/there?told/locale-file', compare: status}"
    with slimmed(store, pantries.image(store), text, choice=choice) as found:
        assert not found.passed
        assert not found.healed
        assert [one.judgement for one in found.missed] == []
        assert len(found.rounds) == 1


def test_words_that_name_nothing_and_the_wrong_machine_are_said_before_anything_is_run(store: Store) -> None:
    image = pantries.image(store)
    for choice in (Choice(keep=("python:nothing",)), Choice(drop=("/no/such/**",))):
        with (
            pytest.raises(UsageError, match=r"no unit|matches no file"),
            slimmed(store, image, "- get: /nowhere", choice=choice),
        ):
            pass
    with (
        pytest.raises(UsageError, match="an image for amd64, not for riscv64"),
        slimmed(store, image, platform=Platform(architecture="riscv64", os="linux")),
    ):
        pass


def test_a_program_that_comes_to_its_end_is_a_job_and_its_output_is_compared(store: Store) -> None:
    job = pantries.image(store, cmd=("cat", "/usr/share/greetings/hello"), expose=None)
    with slimmed(store, job) as found:
        assert found.passed
        assert found.findings.course == "ends"
        (answer,) = found.originals[0].answers
        assert answer.fields == {"exit": "0", "output": "hello from a package\n"}
        assert "usr/share/greetings/hello" in kept(found)


def test_commands_have_containers_of_their_own_when_the_program_ends(store: Store) -> None:
    image = pantries.image(store, cmd=("true",), expose=None)
    text = "- run: cat /usr/share/greetings/hello\n  text: hello\n- {run: \"sh -c 'exit 3'\", exit: 3}"
    with slimmed(store, image, text) as found:
        assert found.passed
        assert [answer.brief for answer in found.originals[0].answers] == ["exit 0", "exit 0", "exit 3"]
        assert "usr/share/greetings/hello" in kept(found)
    with (
        pytest.raises(run.ProbesFailError) as caught,
        slimmed(store, image, "- run: pidof httpd"),
    ):
        pass
    assert "each command had a container of its own" in str(caught.value.hint)


def test_commands_run_beside_a_program_that_keeps_running(store: Store) -> None:
    text = '- run: cat /usr/share/greetings/hello\n- host: test -n "$RAMEKIN_URL"'
    with slimmed(store, pantries.image(store), text) as found:
        assert found.passed
        assert "usr/share/greetings/hello" in kept(found)
        assert [answer.kind for answer in found.originals[0].answers] == ["start", "run", "host"]


def test_the_images_own_health_check_is_a_probe(store: Store) -> None:
    image = pantries.image(store, health=("CMD", "cat", "/usr/share/greetings/hello"))
    with slimmed(store, image) as found:
        assert found.passed
        assert [answer.probe for answer in found.originals[0].answers] == ["start", "health check", "GET /"]
        assert "usr/share/greetings/hello" in kept(found)
    ill = pantries.image(store, cmd=("sh", "-c", "sleep 1; exit 4"), health=("CMD", "false"), expose=None)
    with pytest.raises(RamekinError), slimmed(store, ill):
        pass


def test_a_crawl_is_repeated_in_the_slim_image(store: Store) -> None:
    with slimmed(store, pantries.image(store), "- crawl: /") as found:
        assert found.passed
        assert {answer.probe for answer in found.originals[0].answers} == {
            "start",
            "crawl /: GET /",
            "crawl /: GET /about.html",
            "crawl /: GET /cgi-bin/show?greetings/hello",
        }
        assert "usr/share/greetings/hello" in kept(found)


TWO_PORTS = ("sh", "-c", "httpd -p 9000 -h /usr/share/greetings; exec httpd -f -p 8000 -h /srv")


def test_requests_that_name_no_port_go_to_the_images_whatever_port_others_name(store: Store) -> None:
    text = """
    - {get: /later, port: 9000, text: hello again}
    - {get: /about.html, text: about}
    - {get: /hello, port: 9000, text: hello from a package}
    """
    with slimmed(store, pantries.image(store, cmd=TWO_PORTS), text) as found:
        assert found.passed
        assert found.findings.port == 8000
        assert found.findings.ports == (8000, 9000)
        assert {"srv/about.html", "usr/share/greetings/later"} <= found.selection.kept.keys()


def test_where_every_request_names_a_port_or_the_image_says_none_theirs_is_waited_for(store: Store) -> None:
    text = "- {get: /later, port: 9000, text: hello again}"
    with slimmed(store, pantries.image(store, cmd=TWO_PORTS), text) as found:
        assert found.passed
        assert found.findings.port == 9000
    mixed = text + "\n- {get: /hello, text: hello from a package}"
    with slimmed(store, pantries.image(store, cmd=TWO_PORTS, expose=None), mixed) as found:
        assert found.passed
        assert found.findings.port == 9000


def test_a_port_of_the_plan_is_every_requests_that_names_none(store: Store) -> None:
    text = "port: 9000\nprobes:\n- {get: /hello, text: hello}\n- {get: /about.html, port: 8000}\n"
    with slimmed(store, pantries.image(store, cmd=TWO_PORTS), text) as found:
        assert found.passed
        assert found.findings.port == 9000


def test_a_program_that_never_gets_ready_is_said_with_its_log(store: Store) -> None:
    silent = pantries.image(store, cmd=("sh", "-c", "echo starting; sleep 100"))
    with (
        pytest.raises(RamekinError, match="was not ready after 1 s") as caught,
        slimmed(store, silent, "{ready: {port: 8000, seconds: 1s}, probes: [{get: /}]}"),
    ):
        pass
    assert "starting" in caught.value.message


def test_a_program_that_goes_to_the_background_or_fails_is_said_so(store: Store) -> None:
    away = pantries.image(store, cmd=("httpd", "-p", "8000", "-h", "/srv"))
    with pytest.raises(RamekinError) as caught, slimmed(store, away, "- get: /"):
        pass
    assert "has ended with 0 and can be asked nothing" in caught.value.message
    broken = pantries.image(store, cmd=("sh", "-c", "echo no database; exit 3"), expose=None)
    with (
        pytest.raises(RamekinError, match="the image's program ends with 3: no database"),
        slimmed(store, broken),
    ):
        pass


def test_a_program_that_works_in_silence_can_be_asked_by_commands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ramekin.slim.trial.SILENCE", 0.3)
    worker = pantries.image(store, cmd=("sleep", "1000"), expose=None)
    with slimmed(store, worker, "- run: cat /usr/share/greetings/hello") as found:
        assert found.passed
        assert found.findings.course == "silent"


def test_an_image_of_another_architecture_is_completed_by_its_configuration_alone(store: Store) -> None:
    with slimmed(store, pantries.image(store, architecture="riscv64")) as found:
        assert not found.verified
        assert found.passed
        assert any("the image is for linux/riscv64" in note for note in found.notes)
        assert {"usr/bin/busybox", "usr/bin/httpd"} <= set(found.selection.kept)
        assert kept(found) == set()


def test_an_observation_of_another_image_is_used_and_that_is_said(store: Store) -> None:
    with slimmed(store, pantries.image(store), "- get: /cgi-bin/show?greetings/hello") as found:
        seen = found.observation
    newer = pantries.image(store, files=[file("srv/new.html", b"new")])
    with slimmed(store, newer, observation=seen) as found:
        assert "usr/share/greetings/hello" in kept(found)
        assert any("the observation is of another image" in note for note in found.notes)
        assert not any("are not in the image" in note for note in found.notes)
    edited = observation.Observation(opened=("srv/gone.html", "usr/bin/nothing", "srv/index.html"))
    with slimmed(store, newer, observation=edited) as found:
        said = "2 paths of the observation are not in the image, such as /srv/gone.html"
        assert said in found.notes


def test_a_slim_image_that_does_not_start_is_a_difference_and_its_reason_is_found(store: Store) -> None:
    script = b"#!/bin/sh\nname=greetings\n. /usr/share/$name/hello\nexec httpd -f -p 8000 -h /srv\n"
    image = pantries.image(
        store,
        cmd=("/start",),
        files=[file("start", script, mode=0o755), file("usr/share/greetings/hello", b"a=1\n")],
    )
    poor = observation.Observation()
    with slimmed(store, image, "- get: /", observation=poor) as found:
        assert found.passed
        (answer, *_) = found.rounds[0].trial.answers
        assert "error" in answer.fields
        assert "usr/share/greetings/hello" in kept(found)


def test_the_real_workload_is_recorded_and_fails_nothing(store: Store, tmp_path: Path) -> None:
    import urllib.request

    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        if text.startswith("port 8000"):
            address = text.rpartition(" ")[2]
            urllib.request.urlopen(f"http://{address}/cgi-bin/there?greetings/hello", timeout=60).read()

    with slimmed(store, pantries.image(store)) as found:
        lookups = shadow.run(found, 1.5, tmp_path / "record", say=say)
    assert [(one.path, one.judgement) for one in lookups] == [("usr/share/greetings/hello", TESTED)]
    assert "greetings/hello" in (tmp_path / "record" / shadow.MISSES).read_text()
    wider = observation.decode((tmp_path / "record" / shadow.OBSERVATION).read_bytes(), "x")
    assert "usr/share/greetings/hello" in wider.tested
    assert told[0].startswith("port 8000 of the slim image is 127.0.0.1:")


def test_nothing_is_left_behind(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(scratch, "MEMORY", memory)
    with slimmed(store, pantries.image(store)) as found:
        assert found.folder.parent == memory
        assert list(memory.iterdir()) == [found.folder]
    assert list(memory.iterdir()) == []
