"""References name one image in one place, or say how they would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramekin.errors import UsageError
from ramekin.image import reference
from ramekin.image.reference import Reference

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:web", Reference("oci", "web")),
        ("oci:./out/web:1.2", Reference("oci", "./out/web", tag="1.2")),
        ("oci:/srv/web:team/web:1", Reference("oci", "/srv/web", tag="team/web:1")),
        (f"oci:web@sha256:{HEX}", Reference("oci", "web", digest=f"sha256:{HEX}")),
        ("oci:a@b:1", Reference("oci", "a@b", tag="1")),
        ("oci-archive:web.tar", Reference("oci-archive", "web.tar")),
        ("oci-archive:web.tar:1", Reference("oci-archive", "web.tar", tag="1")),
        ("docker-archive:web.tar", Reference("docker-archive", "web.tar")),
        ("docker-archive:web.tar:web", Reference("docker-archive", "web.tar", name="web")),
        (
            "docker-archive:web.tar:team/web:1",
            Reference("docker-archive", "web.tar", name="team/web", tag="1"),
        ),
        ("docker://localhost/web", Reference("docker", "localhost/web")),
        ("docker://127.0.0.1:5000/team/web:1", Reference("docker", "127.0.0.1:5000/team/web", tag="1")),
        ("docker://[::1]:5000/web", Reference("docker", "[::1]:5000/web")),
        (
            f"docker://r.example/web:1@sha256:{HEX}",
            Reference("docker", "r.example/web", tag="1", digest=f"sha256:{HEX}"),
        ),
        ("rootfs:/srv/root", Reference("rootfs", "/srv/root")),
        ("dir:flat", Reference("dir", "flat")),
    ],
)
def test_a_reference_is_read_and_written_back(text: str, expected: Reference) -> None:
    assert reference.parse(text) == expected
    assert reference.parse(str(expected)) == expected


def test_host_and_repository_are_parts_of_the_location() -> None:
    found = reference.parse("docker://r.example:5000/a/b:1")
    assert (found.host, found.repository) == ("r.example:5000", "a/b")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("redis", "oci:redis"),
        ("", "oci:DIR"),
        ("./web", "oci:./web"),
        ("/srv/web.tar", "oci-archive:/srv/web.tar"),
        ("web.tar.gz", "docker-archive:web.tar.gz"),
        ("r.example/web", "docker://r.example/web"),
        ("localhost:5000/web:1", "docker://localhost:5000/web:1"),
        ("https://r.example/web", "docker://r.example/web"),
        ("docker:r.example/web", "docker://r.example/web"),
        ("docker://redis", "docker://HOST/redis"),
        ("docker://team/redis", "docker://HOST/team/redis"),
        ("oic:web", "oci:"),
        ("oci-archiv:web.tar", "oci-archive:"),
        ("docker-deamon:web", "docker-daemon"),
        ("docker://r.example/Web", "web"),
        ("docker://r.example/web:-1", "128"),
        (f"docker://r.example/web:{'x' * 129}", "128"),
        ("docker://r.example/web@sha256:abc", "64"),
        ("docker://r.example/a//b", "joined by /"),
        ("docker://r.example/a___b", "joined by /"),
        ("docker://r.example:99999/web", "HOST:PORT"),
        ("docker-archive:web.tar:Web", "web"),
        ("oci:", "oci:PATH"),
        ("oci::1", "oci:PATH"),
        ("oci:web:", "first colon"),
        ("oci:web:a b", "first colon"),
    ],
)
def test_a_wrong_reference_says_how_it_would_be_right(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        reference.parse(text)
    assert hint in (caught.value.hint or "")


component = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda s: len(s) < 40)
repositories = st.lists(component, min_size=1, max_size=4).map("/".join)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True)
digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}")
hosts = st.sampled_from(["localhost", "r.example", "127.0.0.1:5000", "[::1]:80", "a-b.c:65535"])


@settings(max_examples=80, deadline=None)
@given(hosts, repositories, st.one_of(st.just(""), tags), st.one_of(st.none(), digests))
def test_whatever_the_grammar_allows_survives(
    host: str, repository: str, tag: str, digest: str | None
) -> None:
    text = f"docker://{host}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    found = reference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == (host, repository, tag, digest)
    assert str(found) == text


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40), st.text(":/@.-_aA0", max_size=40), st.text().map("docker://r.example/".__add__)
    )
)
def test_any_text_is_a_reference_or_an_error_with_a_hint(text: str) -> None:
    try:
        found = reference.parse(text)
    except UsageError:
        return
    assert reference.parse(str(found)) == found
