"""What the places that speak of an image say together."""

from __future__ import annotations

import os

import pytest

from ramekin.build import fields, request
from ramekin.build.request import Choices, fold
from ramekin.errors import UsageError

REDIS = Choices(packages=("redis-server",), architectures=("amd64",))


def test_a_request_has_every_default_filled_in() -> None:
    made = fold("redis", (Choices(packages=("redis-server",)),), where="build")
    assert made.source == "debian"
    assert made.compression == "gzip"
    assert made.architectures == (request.host_architecture(),)
    assert made.layers == request.LAYERS
    assert made.entrypoint is None


def test_the_first_place_that_says_a_value_has_it() -> None:
    first = Choices(source="debian:trixie", strict=False, entrypoint=())
    second = Choices(source="debian:bookworm", strict=True, entrypoint=("sh",), user="root")
    made = fold("redis", (first, second, REDIS), where="build")
    assert (made.source, made.strict, made.entrypoint, made.user) == ("debian:trixie", False, (), "root")


def test_lists_add_up_and_mappings_merge() -> None:
    first = Choices(packages=("curl",), env=(("A", "1"),), expose=("80/tcp",), leave_out=("tzdata",))
    second = Choices(packages=("redis-server", "curl"), env=(("A", "0"), ("B", "2")), expose=("53/udp",))
    made = fold("redis", (first, second), where="build")
    assert made.packages == ("curl", "redis-server")
    assert made.env == (("A", "1"), ("B", "2"))
    assert made.expose == ("53/udp", "80/tcp")
    assert made.leave_out == ("tzdata",)


def test_the_first_place_decides_whether_a_slice_is_kept() -> None:
    made = fold("redis", (Choices(keep=("docs",)), Choices(drop=("docs", "man")), REDIS), where="build")
    assert (made.keep, made.drop) == (("docs",), ("man",))


def test_one_place_cannot_keep_and_drop_a_slice() -> None:
    with pytest.raises(UsageError, match="keeps and drops the slice docs"):
        fold("redis", (Choices(keep=("docs",), drop=("docs",)), REDIS), where="build")


@pytest.mark.parametrize(
    "said",
    [
        Choices(packages=("r\udcc3dis",)),
        Choices(env=(("A", "\udcff"),)),
        Choices(labels=(("\ud800", "a"),)),
        Choices(cmd=("a", "\udcff")),
        Choices(workdir="/\udcff"),
        Choices(keep=("/\udcff",)),
    ],
)
def test_what_is_no_text_cannot_stand_in_an_image(said: Choices) -> None:
    with pytest.raises(UsageError, match="is no text"):
        fold("redis", (said, REDIS), where="build")


def test_an_image_can_go_to_a_folder_of_any_name() -> None:
    target = os.fsdecode(b"oci:./a\xff")
    assert fold("redis", (Choices(target=target), REDIS), where="build").target == target


def test_a_request_without_packages_is_none() -> None:
    with pytest.raises(UsageError, match=r"images\.redis names no package"):
        fold("redis", (Choices(),), where="images.redis")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("x86_64", "amd64"),
        ("linux/arm64", "arm64"),
        ("arm/v7", "armhf"),
        ("ppc64le", "ppc64el"),
        ("386", "i386"),
    ],
)
def test_architectures_may_be_spelt_as_others_do(spelling: str, name: str) -> None:
    assert request.architecture(spelling) == name


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        request.architectures(["amd64,arm46"])
    assert caught.value.hint == "did you mean arm64?"


def test_this_machine_has_an_architecture() -> None:
    assert request.host_architecture() in request.PLATFORMS
    assert request.architecture(os.uname().machine) == request.host_architecture()


@pytest.mark.parametrize(
    ("text", "name"), [("curl", "curl"), ("curl=7.88", "curl"), ("curl/sid", "curl"), ("g++:amd64", "g++")]
)
def test_a_package_has_a_name_below_its_pin(text: str, name: str) -> None:
    assert fields.package(text, where="build") == text
    assert request.bare_name(text) == name


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (fields.package, "a b"),
        (fields.package, "=1"),
        (fields.package, "-x"),
        (fields.compression, "lzma"),
        (fields.compression, "zstd:23"),
        (fields.compression, "gzip:"),
        (fields.compression, "none:1"),
        (fields.port, "0"),
        (fields.port, "65536"),
        (fields.port, "80/"),
        (fields.port, "80/icmp"),
        (fields.port, "٣"),
        (fields.folder, "data"),
        (fields.folder, "/a/../b"),
        (fields.user, "a b"),
        (fields.tag, "Redis"),
        (fields.tag, "redis:"),
        (fields.tag, "redis:a b"),
        (fields.source, "debian:a:b"),
        (fields.sbom, "pdf"),
        (fields.image_name, "Web"),
        (fields.words, "a 'b"),
        (fields.pair, "=x"),
    ],
)
def test_a_wrong_text_is_refused_in_the_name_of_its_option(read: object, text: str) -> None:
    with pytest.raises(UsageError, match="--option: "):
        read(text, where="--option")  # type: ignore[operator]


def test_texts_get_the_form_that_a_config_has() -> None:
    assert fields.port("8080", where="") == "8080/tcp"
    assert fields.port("53/UDP", where="") == "53/udp"
    assert fields.folder("/var//lib/x/", where="") == "/var/lib/x"
    assert fields.words("sh -c 'a b'", where="") == ("sh", "-c", "a b")
    assert fields.words("", where="") == ()
    assert fields.compression("zstd:019", where="") == "zstd:19"
    assert fields.compression("gzip:6", where="") == "gzip"
    assert fields.tag("host.example:5000/team/redis:7.0", where="") == "host.example:5000/team/redis:7.0"


@pytest.mark.parametrize("text", ["0", "redis", "redis:ssl-cert", "65532:4294967294"])
def test_a_user_is_a_name_or_a_number(text: str) -> None:
    assert fields.user(text, where="--user") == text


@pytest.mark.parametrize("text", ["4294967295", "0:99999999999", "9" * 5000, "a b", "redis:", ""])
def test_what_no_user_can_be_is_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match="--user"):
        fields.user(text, where="--user")
