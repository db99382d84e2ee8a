"""Probes put to a small site: requests, sessions, crawls, logs and commands."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import Site, site

from ramekin import yaml_source
from ramekin.errors import FormatError, NotFoundError, RamekinError, UsageError
from ramekin.slim.probes import accesslog, asking, commands, compare, form, health, model, words
from ramekin.slim.probes.answer import Answer


@pytest.fixture
def served() -> Iterator[Site]:
    with site() as found:
        yield found


def plan(text: str, folder: Path = Path()) -> model.Plan:
    return form.of(yaml_source.parse(text.encode(), folder / "probes.yaml"))


def ask(served: Site, asked: model.Plan, memory: asking.Memory | None = None) -> list[Answer]:
    probes = model.united([asked]).probes
    port = asked.port if asked.port is not None else served.inside
    return list(asking.ask(probes, served, memory or asking.Memory(), port=port, ports=(served.inside,)))


def one(served: Site, text: str) -> Answer:
    (answer,) = ask(served, plan(text))
    return answer


def test_a_request_has_status_type_and_body(served: Site) -> None:
    answer = one(served, "- get: /about\n  text: About\n  without: Error")
    assert answer.complaints == ()
    assert answer.fields["status"] == "200"
    assert answer.fields["content-type"] == "text/html"
    assert answer.fields["body"].startswith("<h1>About</h1>")


def test_the_host_header_is_the_plans_and_not_this_machines_way_in(served: Site) -> None:
    one(served, "- get: /about")
    one(served, "- get: http://shop.test:8000/about")
    one(served, "- get: /about\n  host: shop.test")
    assert [line.split()[2] for line in served.requests] == ["localhost:8000", "shop.test:8000", "shop.test"]


def test_expectations_that_fail_say_what_came_instead(served: Site) -> None:
    assert one(served, "- get: /nowhere").complaints == (
        "the status is 404; `status: 404` says that this is right",
    )
    assert one(served, "- get: /nowhere\n  status: 404").complaints == ()
    assert one(served, "- get: /about\n  status: [201, 204]").complaints == (
        "the status is 200, not 201 or 204",
    )
    assert one(served, "- get: /about\n  text: Contact").complaints == ("the answer has no 'Contact'",)
    assert one(served, "- get: /about\n  without: About").complaints == ("the answer has 'About'",)
    assert one(served, "- get: /logo.png\n  text: PNG\n  header: {content-type: png}").complaints == ()
    assert one(served, "- get: /about\n  header: {Server: nginx, X-More: a}").complaints[1:] == (
        "the header X-More is not there; it should have 'a'",
    )


def test_what_happens_in_the_background_is_asked_for_until_it_is_right(served: Site, tmp_path: Path) -> None:
    assert one(served, "- {get: /queue, text: done, within: 1m}").complaints == ()
    assert len(served.requests) == 3
    for kind in ("run", "host"):
        count = f"echo >>{tmp_path}/{kind}; test 3 -le $(wc -l <{tmp_path}/{kind})"
        words = f'[sh, -c, "{count}"]' if kind == "run" else f'"{count}"'
        assert one(served, f"- {kind}: {words}\n  within: 1m").complaints == ()
        assert (tmp_path / kind).read_text() == "\n" * 3
    assert one(served, "- {get: /about, text: Contact, within: 300ms}").complaints == (
        "the answer has no 'Contact'",
    )
    assert served.requests[-1] == served.requests[-2] == "GET /about localhost:8000"


def test_what_has_ended_is_not_asked_again(served: Site) -> None:
    served.up = False
    assert one(served, "- {run: 'true', within: 1h}").complaints == (commands.ENDED,)


def test_a_login_keeps_its_session_and_takes_its_token(served: Site) -> None:
    answers = ask(
        served,
        plan(
            """
            - get: /login
              take: {token: {field: csrf}}
            - post: /login
              form: {name: ann, password: se cret, csrf: "${token}"}
            - get: /me
              text: Hello ann
            - get: /me
              session: other
              text: Hello nobody
            """
        ),
    )
    assert [answer.complaints for answer in answers] == [()] * 4
    assert answers[1].fields["redirects"] == "302 /me"
    assert answers[1].fields["cookies"] == "session"
    assert answers[1].fields["body"] == "Hello ann"


def test_a_redirect_that_is_expected_is_not_followed(served: Site) -> None:
    answer = one(served, "- get: /old\n  status: 302")
    assert answer.complaints == ()
    assert answer.fields["location"] == "/about"
    assert one(served, "- get: /old").fields["status"] == "200"
    assert one(served, "- get: /old\n  follow: false").fields["status"] == "302"


def test_redirects_do_not_leave_the_container_and_do_not_go_on_for_ever(served: Site) -> None:
    assert one(served, "- get: /away").fields["location"] == "http://elsewhere.test/"
    one(served, "- get: /loop")
    assert len([line for line in served.requests if "/loop" in line]) == 11


def test_bodies_are_sent_as_forms_json_text_and_files(served: Site, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\x00\x01binary")
    answers = ask(
        served,
        plan(
            """
            - {post: /echo, form: {a: [1, 2], b: x y}}
            - {post: /echo, json: {list: [1, true, "ü"]}}
            - {post: /echo, body: plain, headers: {Content-Type: text/plain}}
            - {post: /echo, file: data.bin}
            """,
            tmp_path,
        ),
    )
    assert answers[0].fields["body"] == "a=1&a=2&b=x+y"
    assert '"ü"' in answers[1].fields["body"]
    assert answers[2].fields["body"] == "plain"
    assert answers[3].fields["body"].startswith("8-bytes:sha256:")
    assert [answer.probe for answer in answers] == [
        "POST /echo",
        "POST /echo (2)",
        "POST /echo (3)",
        "POST /echo (4)",
    ]


def test_files_are_uploaded_with_the_fields_of_a_form(served: Site, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\x00\xff${token}")
    ask(
        served,
        plan(
            """
            - get: /login
              take: {token: {field: csrf}}
            - post: /echo
              form: {csrf: "${token}", name: ü}
              upload: {file: data.bin}
            """,
            tmp_path,
        ),
    )
    sent = served.requests[-1].encode("latin-1")
    assert b'form-data; name="file"; filename="data.bin"\r\nContent-Type: application/octet-stream' in sent
    assert b"\r\n\r\n\x00\xff${token}\r\n--" in sent
    assert 'name="name"\r\n\r\nü\r\n'.encode() in sent
    assert b'name="csrf"\r\n\r\n${' not in sent


def test_values_are_taken_from_json_headers_cookies_and_patterns(served: Site) -> None:
    answers = ask(
        served,
        plan(
            """
            - get: /data.json
              take: {id: {json: b.1.id}, type: {header: Content-Type}}
            - get: /login
              take: {seen: {cookie: seen}, csrf: {pattern: 'value="([0-9a-f]+)"'}}
            - post: /echo
              json: {id: "${id}", type: "${type}", seen: "${seen}"}
            """
        ),
    )
    assert '"x7"' in answers[2].fields["body"]
    assert '"application/json"' in answers[2].fields["body"]
    missing = one(served, "- get: /about\n  take: {a: {field: csrf}}")
    assert missing.complaints == ("the answer has no field 'csrf' to take a from",)


def test_json_is_compared_without_its_order_and_zipped_bodies_unzipped(served: Site) -> None:
    assert one(served, "- get: /data.json").fields["body"].startswith('{\n "a": 2,')
    assert one(served, "- get: /zipped").fields["body"] == "zipped text"


def test_the_order_of_methods_is_none_and_what_is_no_text_may_vary_in_size_too(served: Site) -> None:
    asked = plan("- {get: /methods, status: 405}\n- get: /archive")
    runs = [ask(served, asked) for _ in range(3)]
    assert {run[0].fields["allow"] for run in runs} == {"GET, POST"}
    expected = compare.learn(runs[:2])
    assert [name for name, one in expected.items() if one.masked] == ["GET /archive"]
    assert compare.compare(expected, runs[2]) == []
    served.requests.append("")
    assert {ask(served, asked)[0].fields["allow"] for _ in range(2)} == {"GET, POST"}


def test_what_is_no_answer_is_said_in_words_that_stay_the_same(served: Site) -> None:
    broken = one(served, "- get: /broken")
    assert broken.fields == {"error": "the connection was closed before the answer's end"}
    slow = one(served, "- get: /slow\n  seconds: 200ms")
    assert slow.fields == {"error": "no answer in 0.2 s"}
    assert one(served, "- {get: /, port: 9}").fields == {"error": "the image's program has ended"}


def test_only_the_status_is_compared_when_that_is_said(served: Site) -> None:
    assert one(served, "- get: /about\n  compare: status").fields == {"status": "200"}
    assert one(served, "- run: date\n  compare: status").fields == {"exit": "0"}


def test_a_crawl_follows_links_assets_and_forms_and_nothing_else(served: Site) -> None:
    memory = asking.Memory()
    answers = ask(served, plan("- {crawl: /, depth: 30}"), memory)
    found = set(memory.crawled["crawl /"])
    assert {"/", "/about", "/logo.png", "/static/site.css", "/static/more.css", "/bg.png"} <= found
    assert "/search?q=tea" in found
    assert "/logout" not in found
    assert not any("elsewhere" in address for address in found)
    assert len([address for address in found if address.startswith("/day")]) == 12
    assert {answer.kind for answer in answers} == {"crawl"}
    assert all(answer.complaints == () for answer in answers)


def test_a_crawl_is_bounded_and_repeats_what_it_found_first(served: Site) -> None:
    memory = asking.Memory()
    assert len(ask(served, plan("- {crawl: /, pages: 3}"), memory)) == 3
    assert len(ask(served, plan("- {crawl: [/, /about], depth: 0}"))) == 2
    served.without = {"/about"}
    again = ask(served, plan("- {crawl: /, pages: 3}"), memory)
    assert [answer.fields["status"] for answer in again if "/about" in answer.probe] == ["404"]


LOG = """\
10.0.0.1 - - [10/Oct/2025:13:55:36 +0000] "GET /about?x=1 HTTP/1.1" 200 2326 "-" "agent"
10.0.0.1 - - [10/Oct/2025:13:55:37 +0000] "GET /about?x=1 HTTP/1.1" 200 2326 "-" "agent"
10.0.0.1 - - [10/Oct/2025:13:55:37 +0000] "POST /login HTTP/1.1" 302 0
{"request": {"method": "HEAD", "uri": "/"}, "status": 200}
{"time": 1, "request": "GET /me HTTP/2.0"}
{"request_method": "GET", "request_uri": "/data.json"}
GET /zipped
no request at all
"""


def test_access_logs_of_several_kinds_are_replayed(served: Site, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text(LOG)
    requests, left_out = accesslog.read(tmp_path / "access.log", 1000)
    assert requests == (
        ("GET", "/about?x=1"),
        ("HEAD", "/"),
        ("GET", "/me"),
        ("GET", "/data.json"),
        ("GET", "/zipped"),
    )
    assert left_out == 1
    answers = ask(served, plan("- replay: access.log", tmp_path))
    assert [answer.kind for answer in answers] == ["replay"] * 5
    assert len(accesslog.read(tmp_path / "access.log", 2)[0]) == 2


def test_a_log_without_requests_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("hello\nworld\n")
    with pytest.raises(FormatError, match="no line of it holds a request"):
        accesslog.read(tmp_path / "x.log", 10)
    with pytest.raises(NotFoundError):
        accesslog.read(tmp_path / "y.log", 10)


def test_commands_inside_are_judged_by_exit_code_and_output(served: Site) -> None:
    answers = ask(
        served,
        plan(
            """
            - run: [sh, -c, 'cat; echo $GREETING; echo oops >&2']
              stdin: from stdin
              env: {GREETING: hello}
              text: hello
            - {run: "sh -c 'exit 3'", exit: 3}
            - {run: "sh -c 'echo bad >&2; exit 4'"}
            - {run: sleep 5, seconds: 100ms}
            """
        ),
    )
    assert answers[0].fields == {"exit": "0", "output": "from stdinhello\n", "errors": "oops\n"}
    assert answers[1].complaints == ()
    assert answers[2].complaints == ("the exit code is 4, not 0: bad",)
    assert answers[3].fields == {"error": "the command did not end in 0.1 s"}


def test_commands_of_this_machine_know_the_address(served: Site, tmp_path: Path) -> None:
    answers = ask(
        served,
        plan(
            """
            - host: |-
                echo $RAMEKIN_URL $RAMEKIN_ADDRESS $RAMEKIN_HOST $RAMEKIN_PORT $RAMEKIN_PORT_8000 $MORE
                pwd
              env: {MORE: more}
            - {host: sleep 30 & sleep 30, seconds: 200ms}
            """,
            tmp_path,
        ),
    )
    at = f"127.0.0.1:{served.port}"
    told = f"http://{at} {at} 127.0.0.1 {served.port} {served.port} more\n{tmp_path}\n"
    assert answers[0].fields["output"] == told
    assert answers[1].fields == {"error": "the command did not end in 0.2 s"}


def test_a_container_that_has_ended_gives_no_answers(served: Site) -> None:
    served.up = False
    assert one(served, "- run: 'true'").fields == {"error": "the image's program has ended"}


def test_the_health_check_is_the_images_own(served: Site) -> None:
    def probe(check: object, **more: object) -> model.Health | None:
        return health.of({"config": {"Healthcheck": check, **more}})

    shell = probe({"Test": ["CMD-SHELL", "exit 0"], "StartPeriod": 5_000_000_000})
    assert shell is not None
    assert (shell.command, shell.seconds) == (("/bin/sh", "-c", "exit 0"), 65.0)
    assert health.ask(shell, served).fields == {"exit": "0"}
    assert probe({"Test": ["NONE"]}) is None
    assert probe({"Test": []}) is None
    assert health.of({}) is None
    bad = model.Health(name="health check", command=("sh", "-c", "echo ill; exit 1"), seconds=0.1)
    assert health.ask(bad, served).complaints == ("the image is not healthy: its check ends with 1: ill",)


def test_two_runs_of_the_original_mask_what_differs(served: Site) -> None:
    asked = plan("- get: /\n- get: /login\n- run: date +%N")
    expected = compare.learn([ask(served, asked), ask(served, asked)])
    assert [name for name, wanted in expected.items() if wanted.masked] == [
        "GET /",
        "GET /login",
        "run date +%N",
    ]
    assert compare.compare(expected, ask(served, asked)) == []


def test_a_page_that_is_gone_is_a_difference_and_so_is_one_that_reads_otherwise(served: Site) -> None:
    asked = plan("- get: /about\n- get: /")
    expected = compare.learn([ask(served, asked), ask(served, asked)])
    served.without = {"/about"}
    (found,) = compare.compare(expected, ask(served, asked))
    assert str(found) == "GET /about: status: '404', not '200'"
    answers = ask(served, plan("- get: /"))
    (missing,) = compare.compare(expected, answers)
    assert str(missing) == "GET /about: no answer"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- gte: /", "probes.yaml:1: probes[0]: this is no probe, which has one of"),
        ("- gte: /", "did you mean get?"),
        (
            "- get: /\n  stauts: 200",
            "probes.yaml:2: probes[0].stauts is not a key of probes[0]; did you mean status?",
        ),
        ("- run: ls\n  status: 200", "probes.yaml:2: probes[0].status is not a key"),
        ("- get: about", "probes.yaml:1: probes[0].get: 'about' is not a path"),
        ("- get: /\n  status: 700", "probes[0].status: 700 is no HTTP status"),
        ("- get: /\n  post: /x", "a probe is one request"),
        ("- post: /\n  body: a\n  json: 1", "a request has one body, not json and body"),
        ("- get: /\n  take: {a: {feild: x}}", "did you mean field?"),
        ("- get: /\n  take: {a: {}}", "a value is taken from one of"),
        ("- get: /\n  take: {a: {pattern: abc}}", "has no group"),
        ("- post: /\n  form: {t: '${token}'}", "no earlier probe takes ${token}"),
        ("- run: 'echo \"'", "a quotation that is not closed"),
        ("- get: /\n  seconds: soon", "'soon' is not a time"),
        ("- replay: nowhere.log", "there is no access log"),
        ("- just text", "a probe is a mapping"),
        ("ready: {port: 1, run: x}", "a program is ready by a port or by a command"),
        ("ready: {prot: 1}", "did you mean port?"),
        ("port: 70000", "70000 is not a port"),
        ("probse: []", "did you mean probes?"),
        ("- get: /\n  headers: {'a b': x}", "'a b' cannot be the name of a header"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(text: str, complaint: str) -> None:
    with pytest.raises((UsageError, NotFoundError)) as caught:
        plan(text)
    assert complaint in f"{caught.value.message}\n{caught.value.hint}"


def test_a_file_says_when_the_program_is_ready_and_how_it_starts() -> None:
    found = plan("{port: 8000, ready: 8001, env: {DEBUG: true}, args: serve --now, probes: [{get: /}]}")
    assert (found.port, found.ready.port, found.env, found.arguments) == (
        8000,
        8001,
        (("DEBUG", "true"),),
        ("serve", "--now"),
    )
    assert plan("ready: redis-cli ping").ready.command == ("redis-cli", "ping")
    assert plan("ready: {run: x, seconds: 2m}").ready.seconds == 120
    assert plan("ready: unix:/run/app.sock").ready.port == "unix:/run/app.sock"


def test_the_command_line_has_probes_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("port: 9000\nprobes: [{get: /}]")
    (tmp_path / "access.log").write_text("GET /x\n")
    found = words.plan(
        probe=["a.yaml", "http://localhost:8000/a?b=c", "/d", ":81/e", ":82"],
        run=["ls -l"],
        host=["pytest 'tests e2e'"],
        crawl=True,
        replay=["access.log"],
        ready="8000",
        folder=tmp_path,
    )
    assert [probe.name for probe in found.probes] == [
        "GET /",
        "GET http://localhost:8000/a?b=c",
        "GET /d",
        "GET :81/e",
        "GET :82",
        "replay access.log",
        "crawl /a?b=c",
        "run ls -l",
        "host pytest 'tests e2e'",
    ]
    assert [probe.port for probe in found.probes if isinstance(probe, model.Http)] == [
        None,
        8000,
        None,
        81,
        82,
    ]
    assert (found.port, found.ready.port) == (9000, 8000)
    with pytest.raises(NotFoundError, match=r"there is no file .*b.yaml"):
        words.plan(probe=["b.yaml"], folder=tmp_path)
    with pytest.raises(UsageError, match="is not a port"):
        words.plan(ready="99999")


@contextmanager
def saying(data: bytes) -> Iterator[Site]:
    """A server that answers everything with the same bytes, whatever they are."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Site(listener.getsockname()[1])
        # wakes who waits for a connection, which closing does not
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the connection was closed before the answer's end"),
        (b"-ERR unknown command\r\n", "the answer is no HTTP: BadStatusLine"),
        (b"HTTP/1.1 99999 x\r\n\r\n", "the answer is no HTTP: BadStatusLine"),
        (OK + b"A" * 70_000, "the answer is no HTTP: LineTooLong"),
        (OK + b"a: b\r\n" * 200, "the answer is no HTTP: HTTPException"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            "the connection was closed before the answer's end",
        ),
        (OK + b"Content-Encoding: gzip\r\n\r\nnot gzip", "the body is not gzip"),
        (OK + b"Content-Encoding: br\r\n\r\nx", "the body is in the coding br, which was not asked for"),
        (
            OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(65 << 20), 1),
            "the body unpacks to more than 64 MiB",
        ),
    ],
)
def test_a_server_that_speaks_no_http_is_said_so(data: bytes, error: str) -> None:
    with saying(data) as served:
        assert one(served, "- get: /").fields == {"error": error}


def test_pages_of_any_markup_are_crawled() -> None:
    page = b"<![if x]><a href=/one><form><select name=a><option value=b selected><textarea name=t>\xff<a"
    with saying(OK + b"Content-Type: text/html\r\n\r\n" + page) as served:
        answers = ask(served, plan("- {crawl: /, pages: 4}"))
    assert len(answers) >= 1


KEYS = st.sampled_from(
    ["get", "post", "run", "host", "crawl", "take", "status", "json", "port", "ready", "probes"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_whatever_is_written_is_probes_or_an_error_of_ours(value: object) -> None:
    with suppress(RamekinError):
        plan(json.dumps(value))
