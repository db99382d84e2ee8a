"""Narinfos: read, believed by a signature or by their content, and refused by name otherwise."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.binary_cache import SigningKey, nar_of, tree_of

from ramekin.errors import DigestMismatchError, FormatError, UsageError
from ramekin.image import tree
from ramekin.image.tree import Tree
from ramekin.sources.nix import base32, content, hashes, narinfo, paths, trust, versions
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.nix.trust import Keys, SignatureError
from ramekin.store import digest as digests

needs_nix = pytest.mark.skipif(shutil.which("nix-store") is None, reason="nix-store is not installed")

KEY, OTHER = SigningKey("one-1"), SigningKey("other-1")
STORE = "/nix/store"
HASH = "rcfpw4d3lizlfq7nd37z7glwfzmwp0x4"
TEXT = f"""\
StorePath: {STORE}/{HASH}-app-2.0
URL: nar/1d99x4kzn1yjpg01ya8cdbl8h9k2r7jywnnqffj2iabamgkm7gfx.nar.xz
Compression: xz
FileHash: sha256:1d99x4kzn1yjpg01ya8cdbl8h9k2r7jywnnqffj2iabamgkm7gfx
FileSize: 420
NarHash: sha256:0n910idrjxqwxgr4hh1gc86md8z6n8g8kx78larmwi15p0yac688
NarSize: 300808
References: 2ks0dz3spmb74gdhy15srcaxbpngl31m-config.txt 5bafq7hlk4567gnmbmisbgyx42lfzdbm-libdemo-1.2
Deriver: kbfwylvj9pwsrdnyhji54b45clh8jfaf-app-2.0.drv
Sig: demo-1:D+C6FqyPj4xq/t5dnKmdZocXoxFIMYc39XqhVziWt0UV9GIxuizkZT2CJow/2WYzLHK8MFwWGHi4skMM8vIoBw==
"""


def parsed(text: str, *, asked: str = HASH, cache: str = "https://cache.example") -> NarInfo:
    return narinfo.parse(text.encode(), asked=asked, store_dir=STORE, cache=cache)


def without(*names: str) -> str:
    return "".join(line for line in TEXT.splitlines(True) if line.partition(":")[0] not in names)


def test_a_narinfo_is_read_and_written_as_nix_writes_it() -> None:
    info = parsed(TEXT)
    assert info.path == f"{STORE}/{HASH}-app-2.0"
    assert info.url.startswith("nar/1d99") and info.compression == "xz"
    assert info.nar_hash == "sha256:0819a63cb825445eb3a2e8f4891eb2e6a3560d622f4048f2eb1c77995b042159"
    assert (info.nar_size, info.file_size) == (300808, 420)
    assert [reference[33:] for reference in info.references] == ["config.txt", "libdemo-1.2"]
    assert info.deriver.endswith("-app-2.0.drv")
    assert narinfo.write(info).decode() == TEXT


def test_what_nix_signed_is_believed() -> None:
    info = parsed(TEXT)
    trust.check(info, Keys.of(["demo-1:3e7iV6jl5JRsjUjoEIPal11QMZfE40ipOZGHo+uc1S8="]))
    assert info.fingerprint().decode() == (
        f"1;{STORE}/{HASH}-app-2.0;sha256:0n910idrjxqwxgr4hh1gc86md8z6n8g8kx78larmwi15p0yac688;300808;"
        f"{STORE}/2ks0dz3spmb74gdhy15srcaxbpngl31m-config.txt,{STORE}/5bafq7hlk4567gnmbmisbgyx42lfzdbm-libdemo-1.2"
    )


def test_fields_may_be_missing_that_not_all_caches_write() -> None:
    info = parsed(without("FileHash", "FileSize", "Deriver", "Compression", "Sig", "References"))
    assert (info.file_hash, info.file_size, info.deriver) == (None, None, "")
    assert (info.compression, info.signatures, info.references) == ("bzip2", (), ())
    assert parsed(TEXT + "Deriver2: x\nNew: field\n").base == info.base
    assert parsed(without("Deriver") + "Deriver: unknown-deriver\n").deriver == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(f"{HASH}-app", f"{'2' * 32}-app"), "which was not asked for"),
        (lambda text: text.replace("/nix/store/", "/gnu/store/", 1), "StorePath"),
        (lambda text: text.replace("-app-2.0\nURL", "-a/pp\nURL"), "StorePath"),
        (lambda text: text.replace("-app-2.0\nURL", "-.app\nURL"), "StorePath"),
        (lambda text: without("StorePath"), "no field StorePath"),
        (lambda text: without("URL"), "no field URL"),
        (lambda text: without("NarHash"), "no field NarHash"),
        (lambda text: without("NarSize"), "no field NarSize"),
        (lambda text: text + "NarSize: 4\n", "NarSize is there twice"),
        (lambda text: text + "References: \n", "References is there twice"),
        (lambda text: text + "no field\n", "line 11"),
        (lambda text: text.replace("NarSize: 300808", "NarSize: -1"), "NarSize: '-1'"),
        (lambda text: text.replace("NarSize: 300808", f"NarSize: {'9' * 30}"), "not a number of bytes"),
        (lambda text: text.replace("FileSize: 420", "FileSize: ٣"), "FileSize"),
        (lambda text: text.replace("NarHash: sha256:0n", "NarHash: sha256:en"), "NarHash"),
        (lambda text: text.replace("NarHash: sha256:0n", "NarHash: sha256:zn"), "NarHash"),
        (lambda text: text.replace("NarHash: sha256:", "NarHash: sha1:"), "NarHash"),
        (lambda text: text.replace("NarHash: sha256:", "NarHash: "), "is not a hash"),
        (lambda text: text.replace("References: 2ks", "References: ../2ks"), "References"),
        (lambda text: text.replace("References: 2ks", "References: /nix/store/2ks"), "References"),
        (lambda text: text.replace("Compression: xz", "Compression: lrzip"), "'lrzip' is not one"),
        (lambda text: text.replace("URL: nar/", "URL: ../nar/"), "leads out of the cache"),
        (lambda text: text.replace("URL: nar/", "URL: nar/../../"), "leads out of the cache"),
        (lambda text: text.replace("URL: nar/", "URL: /etc/"), "leads out of the cache"),
        (lambda text: text.replace("URL: nar/", "URL: file:///etc/"), "leads out of the cache"),
        (lambda text: text.replace("StorePath", "\udcffStorePath"), "is not text"),
    ],
)
def test_a_malformed_narinfo_is_refused_by_name(change: Callable[[str], str], message: str) -> None:
    data = change(TEXT).encode("utf-8", "surrogateescape")
    with pytest.raises(FormatError) as caught:
        narinfo.parse(data, asked=HASH, store_dir=STORE, cache="https://cache.example")
    assert message in caught.value.message
    assert caught.value.message.startswith(f"https://cache.example/{HASH}.narinfo")


def test_only_a_web_cache_may_have_its_archives_elsewhere() -> None:
    elsewhere = TEXT.replace("URL: nar/", "URL: https://files.example/nar/")
    assert parsed(elsewhere).url.startswith("https://files.example/")
    with pytest.raises(FormatError, match="leads out"):
        parsed(elsewhere, cache="file:///srv/cache")


# --- signatures ------------------------------------------------------------------------------------------


def signed(key: SigningKey = KEY, **changes: object) -> NarInfo:
    info = msgspec.structs.replace(parsed(without("Sig")), signatures=(), **changes)
    return msgspec.structs.replace(info, signatures=(key.sign(info),))


def test_a_trusted_signature_is_believed_among_others() -> None:
    info = signed()
    trust.check(info, Keys.of([KEY.public]))
    more = msgspec.structs.replace(info, signatures=("x:AAAA", "broken", OTHER.sign(info), *info.signatures))
    trust.check(more, Keys.of([KEY.public]))
    assert Keys.of([KEY.public, OTHER.public]).signer(more) == "other-1"


@pytest.mark.parametrize(
    "change",
    [
        {"base": f"{HASH}-app-2.1"},
        {"nar_hash": digests.of(b"")},
        {"nar_size": 300807},
        {"references": ("2ks0dz3spmb74gdhy15srcaxbpngl31m-config.txt",)},
        {"store_dir": "/nix/other"},
    ],
)
def test_whatever_is_signed_cannot_be_changed(change: dict[str, object]) -> None:
    with pytest.raises(SignatureError, match=r"the signature of .* by one-1 is wrong"):
        trust.check(msgspec.structs.replace(signed(), **change), Keys.of([KEY.public]))


def test_nothing_is_believed_without_a_trusted_signature() -> None:
    with pytest.raises(SignatureError, match="is signed by one-1, which is not trusted"):
        trust.check(signed(), Keys.of([OTHER.public]))
    with pytest.raises(SignatureError, match="is not signed"):
        trust.check(parsed(without("Sig")), Keys.of([OTHER.public]))
    renamed = signed(OTHER)
    forged = msgspec.structs.replace(
        renamed, signatures=("one-1:" + renamed.signatures[0].partition(":")[2],)
    )
    with pytest.raises(SignatureError, match="is wrong"):
        trust.check(forged, Keys.of([KEY.public]))
    short = msgspec.structs.replace(renamed, signatures=("one-1:" + base64.b64encode(b"x" * 63).decode(),))
    with pytest.raises(SignatureError, match="is wrong"):
        trust.check(short, Keys.of([KEY.public]))


def test_two_keys_may_have_one_name() -> None:
    other = SigningKey("two")
    text = f"one-1:{other.public.partition(':')[2]}"
    trust.check(signed(), Keys.of([text, KEY.public]))
    trust.check(signed(), Keys.of([KEY.public, text]))


def test_a_key_that_is_none_is_refused_and_a_secret_one_not_shown() -> None:
    for text in ("one-1", "one-1:AAAA", ":" + KEY.public.partition(":")[2], "one-1:not base 64"):
        with pytest.raises(UsageError, match="is not a trusted key"):
            Keys.of([text])
    secret = "one-1:" + base64.b64encode(b"s" * 64).decode()
    with pytest.raises(UsageError) as caught:
        Keys.of([secret])
    assert caught.value.hint == "this is a secret key; give the public one"
    assert secret not in caught.value.message


# --- base 32, hashes, paths ------------------------------------------------------------------------------


@given(st.binary(max_size=70))
def test_base_32_goes_both_ways(data: bytes) -> None:
    text = base32.encode(data)
    assert base32.decode(text, len(data)) == data
    number = int.from_bytes(data, "little")
    digits = [base32.ALPHABET[number >> 5 * place & 31] for place in range(base32.length(len(data)))]
    assert text == "".join(reversed(digits))


def test_all_forms_of_a_hash_are_one() -> None:
    value = hashlib.sha256(b"").digest()
    known = digests.of(b"")
    assert hashes.nix_form(known) == "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
    for text in (
        known,
        hashes.nix_form(known),
        "sha256:" + base64.b64encode(value).decode(),
        "sha256-" + base64.b64encode(value).decode(),
    ):
        assert hashes.digest(text, where="here") == known
    for text in (
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        f"sha512:{value.hex()}",
        "sha3:x",
        f"sha256-{value.hex()}",
    ):
        with pytest.raises(FormatError, match="here"):
            hashes.digest(text, where="here")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("redis-7.2.4", ("redis", "7.2.4")),
        ("redis-7.2.4-man", ("redis", "7.2.4-man")),
        ("python3.11-numpy-1.26.4", ("python3.11-numpy", "1.26.4")),
        ("gcc-wrapper", ("gcc-wrapper", "")),
        ("glibc-2.38-44", ("glibc", "2.38-44")),
        ("acl-2.3.1", ("acl", "2.3.1")),
        ("config.txt", ("config.txt", "")),
    ],
)
def test_names_are_split_as_nix_splits_them(name: str, parts: tuple[str, str]) -> None:
    assert paths.split(name) == parts


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "2.3"), ("2.1", "2.3"), ("2.3", "2.5"), ("2.3", "3.1"), ("2.3", "2.3.1"), ("2.3a", "2.3.1"),
        ("2.3pre1", "2.3"), ("2.3pre3", "2.3pre12"), ("2.3a", "2.3c"), ("2.3pre1", "2.3c"),
        ("2.3pre1", "2.3q"), ("1.0", "1.0-1"), ("9", "10"), ("1.0", "1.0b"),
    ],
)  # fmt: skip
def test_versions_are_ordered_as_nix_orders_them(older: str, newer: str) -> None:
    assert versions.compare(older, newer) == -1
    assert versions.compare(newer, older) == 1
    assert versions.compare(newer, newer) == 0


# --- content addresses -----------------------------------------------------------------------------------


def nix(*words: str) -> str:
    environment = {**os.environ, "NIX_REMOTE": "dummy://", "NIX_PATH": ""}
    return subprocess.run(words, capture_output=True, check=True, text=True, env=environment).stdout.strip()


def addressed(name: str, address: str, data: bytes, references: tuple[str, ...] = ()) -> NarInfo:
    """The narinfo that a content with this address has; nobody signs it."""
    read = paths.content_address(address, where="here")
    assert read is not None
    base = f"{'0' * 32}-{name}"
    own = tuple(base if reference == "self" else reference for reference in references)
    made = paths.made_path(base, read, own, STORE)
    assert made is not None
    return NarInfo(
        base=made,
        store_dir=STORE,
        url="nar/x.nar",
        compression="none",
        nar_hash=digests.of(data),
        nar_size=len(data),
        references=tuple(sorted(made if reference == "self" else reference for reference in references)),
        ca=address,
        cache="file:///cache",
    )


def proved(info: NarInfo, data: bytes, step: int = 1 << 20) -> None:
    trust.check(info, Keys.of([]))
    proof = content.addressed(info)
    if proof is not None:
        for start in range(0, len(data), step):
            proof.update(data[start : start + step])
        proof.check()


@needs_nix
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("recursive", [True, False])
def test_fixed_paths_are_those_of_nix(algorithm: str, recursive: bool) -> None:
    value = hashlib.new(algorithm, b"some content").hexdigest()
    option = ["--recursive"] if recursive else []
    expected = nix("nix-store", "--print-fixed-path", *option, algorithm, value, "name-1.0")
    found = addressed("name-1.0", f"fixed:{'r:' * recursive}{algorithm}:{value}", b"")
    assert found.path == expected


@needs_nix
def test_texts_with_references_are_those_of_nix() -> None:
    inner = nix("nix-instantiate", "--eval", "-E", 'builtins.toFile "a" "inner"').strip('"')
    outer = nix(
        "nix-instantiate", "--eval", "-E", 'builtins.toFile "b" "outer ${builtins.toFile "a" "inner"}"'
    ).strip('"')
    first = addressed("a", f"text:{hashes.nix_form(digests.of(b'inner'))}", b"")
    second = addressed(
        "b", f"text:{hashes.nix_form(digests.of(f'outer {inner}'.encode()))}", b"", (first.base,)
    )
    assert (first.path, second.path) == (inner, outer)


def test_contents_prove_their_own_paths() -> None:
    file = nar_of(Tree([tree.file("", b"text", mode=0o444)]))
    for address in (
        f"text:{digests.of(b'text')}",
        f"fixed:{digests.of(b'text')}",
        f"fixed:sha1:{hashlib.sha1(b'text').hexdigest()}",
        f"fixed:r:{digests.of(file)}",
        f"fixed:r:sha512:{hashlib.sha512(file).hexdigest()}",
    ):
        for step in (1, 5, 1000):
            proved(addressed("x", address, file), file, step)


def test_a_path_that_names_itself_is_addressed_with_zeros_in_place_of_its_hash() -> None:
    def archive(own: bytes) -> bytes:
        return nar_of(tree_of({"bin/a": b"I am /nix/store/" + own + b"-x", "b": own * 2}))

    # the hash stands twice on end in the first file, and once in the second
    marked = archive(b"?" * 32)
    first = marked.index(b"?" * 64)
    places = [first, first + 32, marked.rindex(b"?" * 32)]
    state = archive(bytes(32)) + b"".join(b"|%d" % place for place in places)
    info = addressed("x", f"fixed:r:{digests.of(state)}", b"", ("self",))
    data = archive(info.base[:32].encode())
    info = msgspec.structs.replace(info, nar_hash=digests.of(data), nar_size=len(data))
    for step in (1, 31, 33, 100, 1 << 20):
        proved(info, data, step)
    with pytest.raises(DigestMismatchError, match="does not have its content address"):
        proved(info, data.replace(b"I am", b"I'm "))
    # zeros in place of one of them are another content
    with pytest.raises(DigestMismatchError):
        proved(info, data[:first] + bytes(32) + data[first + 32 :])


def test_a_content_address_cannot_be_another_ones() -> None:
    file = nar_of(Tree([tree.file("", b"text", mode=0o444)]))
    good = addressed("x", f"fixed:r:{digests.of(file)}", file)
    for change in (
        {"base": f"{'1' * 32}-x"},
        {"base": good.base.replace("-x", "-y")},
        {"references": (f"{'1' * 32}-y",)},
        {"ca": f"fixed:r:{digests.of(b'')}"},
        {"ca": f"text:{digests.of(b'text')}"},
        {"nar_hash": digests.of(b"other")},
    ):
        with pytest.raises(SignatureError, match="content address"):
            trust.check(msgspec.structs.replace(good, **change), Keys.of([]))


@pytest.mark.parametrize(
    "data",
    [
        nar_of(Tree([tree.file("", b"other", mode=0o444)])),
        nar_of(Tree([tree.file("", b"text", mode=0o555)])),
        nar_of(Tree([tree.symlink("", "text")])),
        nar_of(Tree([tree.file("text", b"text")])),
        nar_of(Tree([tree.file("", b"text", mode=0o444)]))[:98],
        b"",
    ],
)
def test_a_file_by_its_content_is_that_file_and_nothing_else(data: bytes) -> None:
    info = addressed("x", f"text:{digests.of(b'text')}", data)
    with pytest.raises(DigestMismatchError):
        proved(info, data)


def test_an_unknown_kind_of_content_address_needs_a_signature() -> None:
    info = msgspec.structs.replace(parsed(without("Sig")), ca="fixed:git:sha1:abc")
    with pytest.raises(SignatureError, match="is not signed"):
        trust.check(info, Keys.of([]))
    trust.check(msgspec.structs.replace(info, signatures=(KEY.sign(info),)), Keys.of([KEY.public]))


def test_the_machines_own_configuration_is_read_as_nix_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ramekin.sources.nix import configuration

    system, own = tmp_path / "system", tmp_path / "own"
    system.mkdir()
    (own / "nix").mkdir(parents=True)
    (system / "nix.conf").write_text(
        "substituters = https://a.example https://b.example # comment\ninclude more.conf\n!include none\n"
        "netrc-file = /none\n"
    )
    (system / "more.conf").write_text("trusted-public-keys = a:1\n")
    (own / "nix" / "nix.conf").write_text(
        "extra-substituters = https://c.example\nextra-trusted-public-keys = c:3\n"
    )
    monkeypatch.setenv("NIX_CONF_DIR", str(system))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own))
    monkeypatch.delenv("NIX_USER_CONF_FILES", raising=False)
    monkeypatch.setenv("NIX_CONFIG", "extra-trusted-public-keys = d:4\nfoo = bar")
    found = configuration.read()
    assert found.substituters == ("https://a.example", "https://b.example", "https://c.example")
    assert found.trusted_keys == ("a:1", "c:3", "d:4")
    assert found.netrc is None
    assert configuration.read(system).trusted_keys == ("a:1",)
    monkeypatch.setenv("NIX_CONFIG", "substituters = file:///only")
    assert configuration.read().substituters == ("file:///only",)
    assert configuration.read(tmp_path / "none") == configuration.Configuration()
