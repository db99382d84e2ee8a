"""Spec files: what they say, and what they say when they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin import yaml_source
from ramekin.build import schema, spec
from ramekin.build.request import Choices, ImageRequest
from ramekin.errors import NotFoundError, RamekinError, UsageError

DOCS = Path(__file__).parents[2] / "docs"


def read(text: str, path: str = "ramekin.yaml") -> spec.Spec:
    return spec.of(yaml_source.parse(text.encode(), Path(path)))


def one(text: str) -> ImageRequest:
    (request,) = read(f"images:\n  web:\n    packages: [nginx]\n    arch: amd64\n{text}").requests()
    return request


def complaint(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(text)
    return caught.value


def test_a_spec_names_images_and_what_they_have_in_common() -> None:
    found = read(
        """
        defaults: {source: "debian:bookworm", arch: [amd64, arm64], packages: [curl]}
        images:
          redis: {packages: redis-server, expose: 6379}
          web: {packages: [nginx], arch: amd64}
        jobs: 3
        store: /var/cache/ramekin
        lock: pins.json
        plain-http: true
        """
    )
    redis, web = found.requests()
    assert (redis.name, redis.packages, redis.architectures) == (
        "redis",
        ("redis-server", "curl"),
        ("amd64", "arm64"),
    )
    assert (web.source, web.architectures) == ("debian:bookworm", ("amd64",))
    assert (found.jobs, found.store, found.lock.name, found.plain_http) == (
        3,
        "/var/cache/ramekin",
        "pins.json",
        True,
    )


def test_the_command_line_has_the_last_word() -> None:
    (request,) = read("images: {web: {packages: nginx, user: root, arch: amd64}}").requests(
        ["web"], Choices(user="33", architectures=("arm64",))
    )
    assert (request.user, request.architectures) == ("33", ("arm64",))


def test_the_lock_file_stands_beside_the_spec() -> None:
    text = "images: {web: {packages: nginx}}"
    assert read(text, "there/ramekin.yaml").lock == Path("there/ramekin.lock.json")


def test_text_is_what_was_written() -> None:
    request = one("    env: {A: 1.10, B: yes, C: true, D: 010, E: '', F: 22:22, G: 2020-01-01, H: 7}")
    assert dict(request.env) == {
        "A": "1.10",
        "B": "yes",
        "C": "true",
        "D": "010",
        "E": "",
        "F": "22:22",
        "G": "2020-01-01",
        "H": "7",
    }


def test_anchors_and_merges_work() -> None:
    found = read(
        """
        defaults: {env: &common {A: "1", B: "2"}}
        images:
          web: {packages: nginx, env: {<<: *common, B: "3"}}
        """
    )
    assert dict(found.requests()[0].env) == {"A": "1", "B": "3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images:\n  web:\n    packges: [nginx]\n", "ramekin.yaml:3: images.web.packges is not a key"),
        ("images:\n  web:\n    expose:\n    - 80\n    - 99999\n", "ramekin.yaml:5: images.web.expose"),
        ("images:\n  web:\n    layers: many\n", "ramekin.yaml:3: images.web.layers is a whole number"),
        ("images:\n  web:\n    strict: perhaps\n", "ramekin.yaml:3: images.web.strict is true or false"),
        ("images:\n  web:\n    env: [A]\n", "ramekin.yaml:3: images.web.env: 'A' is not NAME=VALUE"),
        ("images:\n  web:\n    user:\n", "ramekin.yaml:3: images.web.user: there is no value"),
        ("images:\n  web:\n    cmd: a 'b\n", "ramekin.yaml:3: images.web.cmd: .* not closed"),
        (
            "images:\n  web:\n    mirrors:\n    - suites: a\n",
            r"ramekin.yaml:4: images.web.mirrors\[0\].uri is missing",
        ),
        ("images:\n  Web: {packages: nginx}\n", "ramekin.yaml:2: images.Web: 'Web' cannot be the name"),
        ("images:\n  web: [nginx]\n", "ramekin.yaml:2: images.web is a mapping"),
        ("images: {}\n", "ramekin.yaml:1: images is empty"),
        ("", "images is missing"),
        ("- a\n", "ramekin.yaml:1: the file is a mapping"),
        ("a: 1\na: 2\n", "ramekin.yaml:2: a stands here again; it is on line 1"),
        ("a: [\n", "ramekin.yaml:2: not YAML"),
        ("a: !!python/object:os.system x\n", "ramekin.yaml:1: "),
        ("a: !secret x\n", "ramekin.yaml:1: the tag !secret means nothing"),
        ("a: 1\n---\nb: 2\n", "ramekin.yaml:2: not YAML"),
        ("&a [*a]\n", "expands to too much"),
        ("a: \x01\n", "ramekin.yaml:1: not YAML"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("output: web", r"ramekin\.yaml:3: images\.web\.output: 'web' names no transport"),
        ("output: oc:./web", r"ramekin\.yaml:3: images\.web\.output: .* there is no transport 'oc'"),
        ("source: debain:sid", r"ramekin\.yaml:3: images\.web\.source: there is no kind of source called"),
        ("leave-out: tzdat", r"ramekin\.yaml:3: images\.web\.leave-out: there are no essentials named"),
        ("mirrors: [{uri: x}]", r"ramekin\.yaml:3: images\.web\.mirrors\[0\]\.uri: 'x' is not the address"),
    ],
)
def test_values_that_other_rooms_judge_are_placed_too(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(f"images:\n  web: {{packages: nginx,\n    {line}}}\n")


def test_the_name_of_an_image_can_stand_in_its_output() -> None:
    spec = read("images: {web: {packages: nginx, output: 'docker://localhost/{name}:1'}}")
    assert spec.images["web"].target == "docker://localhost/{name}:1"


def test_an_unknown_key_is_told_the_nearest() -> None:
    assert "did you mean packages?" in complaint("images:\n  web:\n    packges: [nginx]\n").message
    assert "did you mean defaults?" in complaint("default: {}\nimages: {a: {packages: b}}\n").message


def test_an_unknown_key_far_from_all_is_told_them_all() -> None:
    assert "entrypoint" in str(complaint("images:\n  web: {zzz: 1}\n").hint)


def test_all_errors_are_told_in_the_order_of_the_file() -> None:
    message = complaint("images:\n  web:\n    expose: x\n    user: ''\n  db:\n    layers: 1\n").message
    assert [line.split(":")[1] for line in message.splitlines()] == ["3", "4", "6"]


def test_an_unknown_image_is_told_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        read("images: {redis: {packages: a}}").requests(["rediss"])
    assert caught.value.hint == "did you mean redis?"


def test_an_image_without_packages_is_placed() -> None:
    with pytest.raises(UsageError, match=r"ramekin\.yaml:2: images\.web names no package"):
        read("images:\n  web: {user: root}\n").requests()


def test_aliases_cannot_expand_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "expands to too much" in complaint("\n".join(lines)).message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.yaml"):
        spec.read(tmp_path / "none.yaml")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (yaml_source.FILE_LIMIT + 1))
    with pytest.raises(UsageError, match="more than"):
        spec.read(path)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_bytes_are_a_spec_or_a_clear_error(data: str | bytes) -> None:
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        spec.of(yaml_source.parse(raw, Path("ramekin.yaml")))
    except RamekinError as error:
        assert error.message.startswith("ramekin.yaml")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([info.alias for info in spec.ImageSpec.model_fields.values()]), JUNK))
def test_any_values_of_known_keys_are_a_spec_or_a_clear_error(image: dict[str, object]) -> None:
    text = json.dumps({"images": {"web": image}})
    try:
        spec.of(yaml_source.parse(text.encode(), Path("ramekin.yaml")))
    except RamekinError as error:
        assert error.message.startswith("ramekin.yaml:1")


def test_the_published_schema_is_the_one_of_the_models() -> None:
    assert (DOCS / "ramekin.schema.json").read_text() == schema.text(), (
        "run `ramekin schema > docs/ramekin.schema.json`"
    )


def test_the_schema_describes_every_key() -> None:
    made = schema.schema()
    for definition in (made, *made["$defs"].values()):
        assert all(item.get("description") for item in definition["properties"].values())
        assert definition["additionalProperties"] is False


def test_the_documentation_speaks_of_every_key() -> None:
    text = (DOCS / "spec.md").read_text()
    for model in (spec.SpecFile, spec.ImageSpec, spec.MirrorSpec):
        for name, info in model.model_fields.items():
            assert f"`{info.alias or name}`" in text
