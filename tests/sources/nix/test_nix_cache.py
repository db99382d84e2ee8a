"""Binary caches: closures of what is believed, NARs verified into the store, and caches that lie."""

from __future__ import annotations

import io
import random
import secrets
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from support.archive import Fault, Server
from support.binary_cache import Shelf, SigningKey, compressed, nar_of, tree_of

from ramekin.errors import (
    DigestMismatchError,
    FormatError,
    NetworkError,
    NotFoundError,
    RamekinError,
    UsageError,
)
from ramekin.image.tree import Kind
from ramekin.progress import SILENT, Silent
from ramekin.sources.nix import compression, nar, paths
from ramekin.sources.nix.narinfo import NarInfo
from ramekin.sources.nix.places import Connections
from ramekin.sources.nix.source import NixSettings, NixSource, open_source
from ramekin.sources.nix.trust import SignatureError
from ramekin.store import digest as digests
from ramekin.store.store import Store

KEY, OTHER = SigningKey("good-1"), SigningKey("other-1")
FORMS = ("none", "xz", "zstd", "bzip2", "br", "gzip")


@dataclass
class Bench:
    """A store, and a shelf with lib ← app."""

    folder: Path
    store: Store
    shelf: Shelf
    lib: NarInfo
    app: NarInfo

    def source(self, *caches: str, store: Store | None = None, **settings: object) -> NixSource:
        chosen = NixSettings(
            caches=caches or (self.shelf.url,),
            **{"trusted_keys": (KEY.public,), "retries": 0, "timeout": 5.0, "max_age": 0.0, **settings},  # type: ignore[arg-type]
        )
        return NixSource("", store or self.store, chosen)

    def fetched(self, *caches: str, wanted: NarInfo | None = None) -> Mapping[str, bytes]:
        """The contents of the files of all that is resolved, by their paths."""
        source = self.source(*caches)
        found = source.resolve([(wanted or self.app).path], "amd64")
        source.fetch(found.packages, SILENT)
        return {
            entry.path: entry.read()
            for package in found.packages
            for entry in source.open(package).tree.entries()
            if entry.kind is Kind.FILE
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    shelf = Shelf(tmp_path / "cache", KEY)
    lib = shelf.add("lib-1.0", {"lib/lib.so": b"library" * 10_000}, itself=True)
    app = shelf.add("app-2.0", {"bin/app": lib.path.encode()}, references=[lib], compression="zstd")
    return Bench(tmp_path, Store.at(tmp_path / "store"), shelf, lib, app)


class Warnings(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


# --- closures and their files ----------------------------------------------------------------------------


def test_a_closure_is_what_is_referred_to_with_reasons(bench: Bench) -> None:
    found = bench.source().resolve([bench.app.path], "amd64")
    assert [package.name for package in found.packages] == [bench.lib.base, bench.app.base]
    assert found.edges == {bench.lib.base: (), bench.app.base: (bench.lib.base,)}
    assert [(r.by, r.relation) for r in found.reasons.values()] == [
        (bench.app.base, "refers to it"),
        ("", bench.app.path),
    ]
    app = found.packages[1]
    assert (app.origin, app.version, app.kind, app.location) == ("app", "2.0", "nix", bench.app.path)
    assert (app.digest, app.size) == (bench.app.nar_hash, bench.app.nar_size)


def test_the_files_of_a_path_stand_where_the_store_is(bench: Bench) -> None:
    assert bench.fetched() == {
        f"nix/store/{bench.lib.base}/lib/lib.so": b"library" * 10_000,
        f"nix/store/{bench.app.base}/bin/app": bench.lib.path.encode(),
    }


def test_files_are_read_within_the_archive_that_the_store_holds(bench: Bench) -> None:
    source = bench.source()
    package = source.resolve([bench.lib.path], "amd64").packages[0]
    source.fetch([package], SILENT)
    content = source.open(package).tree[f"nix/store/{bench.lib.base}/lib/lib.so"].content
    assert content is not None
    assert getattr(content, "path", None) == bench.store.path(bench.lib.nar_hash)


@pytest.mark.parametrize("form", FORMS)
def test_every_compression_gives_the_same_package(bench: Bench, form: str) -> None:
    shelf = Shelf(bench.folder / form, KEY)
    lib = shelf.add("lib-1.0", {"lib/lib.so": b"library" * 10_000}, itself=True, compression=form)
    source = bench.source(shelf.url)
    package = source.resolve([lib.base], "amd64").packages[0]
    assert package.digest == bench.lib.nar_hash
    source.fetch([package], SILENT)
    assert bench.store.size(package.digest) == package.size


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 1 << 17, (1 << 20) + 1, 3_000_000])
def test_compressed_streams_are_read_to_their_end_and_no_further(form: str, size: int) -> None:
    for data in (bytes(size), random.Random(size).randbytes(size)):
        packed = compressed(data, form)
        with compression.decompress(io.BytesIO(packed), form, where="it") as plain:
            assert plain.read() == data
        if form != "none" and size:
            with pytest.raises(FormatError, match="truncated"):
                compression.decompress(io.BytesIO(packed[:-1]), form, where="it").read()


def test_a_store_that_is_no_folder_does_as_well(bench: Bench) -> None:
    source = bench.source(store=Store.at(f"memory://{secrets.token_hex(8)}"))
    package = source.resolve([bench.lib.path], "amd64").packages[0]
    source.fetch([package], SILENT)
    tree = source.open(package).tree
    assert nar.digest_of(tree, root=package.location[1:]) == (package.digest, package.size)


def test_resolving_again_asks_nobody(bench: Bench) -> None:
    first = bench.source().resolve([bench.app.path], "amd64")
    shutil.rmtree(bench.shelf.folder)
    assert bench.source().resolve([bench.app.path], "amd64") == first
    # a part of it that was never asked for alone is known as well
    assert bench.source().resolve([bench.lib.path], "amd64").packages == first.packages[:1]


def test_what_one_key_was_believed_by_is_not_what_another_is(bench: Bench) -> None:
    bench.source().resolve([bench.app.path], "amd64")
    with pytest.raises(SignatureError):
        bench.source(trusted_keys=(OTHER.public,)).resolve([bench.app.path], "amd64")


def test_each_package_is_told_of_once_even_if_two_are_alike(bench: Bench) -> None:
    twins = [bench.shelf.add(f"twin{number}-1", {"same": b"x"}) for number in (1, 2)]
    top = bench.shelf.add("top-1", {}, references=twins)
    source = bench.source()
    found = source.resolve([top.path], "amd64")
    assert found.packages[0].digest == found.packages[1].digest
    for _ in range(2):
        told: list[str] = []
        source.fetch(found.packages, SILENT, arrived=lambda package: told.append(package.name))  # noqa: B023
        assert sorted(told) == sorted(package.name for package in found.packages)


def test_a_store_may_be_in_another_folder(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "cache", KEY, store_dir="/opt/pkgs")
    lib = shelf.add("lib-1.0", {"x": b"1"})
    source = NixSource(
        "", Store.at(tmp_path / "store"), NixSettings(caches=(shelf.url,), trusted_keys=(KEY.public,))
    )
    package = source.resolve([lib.path], "amd64").packages[0]
    source.fetch([package], SILENT)
    assert list(source.open(package).tree) == [f"opt/pkgs/{lib.base}", f"opt/pkgs/{lib.base}/x"]
    with pytest.raises(UsageError, match="not a path of the store /opt/pkgs"):
        source.resolve([lib.path.replace("/opt/pkgs", "/nix/store")], "amd64")


def test_contents_prove_themselves_without_a_signature(bench: Bench) -> None:
    data = nar_of(tree_of({"x": b"plain"}))
    address = paths.content_address(f"fixed:r:{digests.of(data)}", where="here")
    assert address is not None
    base = paths.made_path(f"{'0' * 32}-self-1", address, (), "/nix/store")
    assert base is not None
    shelf = Shelf(bench.folder / "unsigned", None)
    info = shelf.add("", {"x": b"plain"}, base=base, ca=f"fixed:r:{digests.of(data)}")
    assert list(bench.fetched(shelf.url, wanted=info)) == [f"nix/store/{base}/x"]


# --- places ----------------------------------------------------------------------------------------------


@pytest.fixture
def server(bench: Bench) -> Iterator[Server]:
    with Server(bench.shelf.folder) as server:
        yield server


def test_a_cache_may_be_a_folder_a_file_url_or_a_server(bench: Bench, server: Server) -> None:
    expected = bench.fetched()
    for cache in (
        str(bench.shelf.folder),
        bench.shelf.url,
        server.url,
        f"{server.url}/",
        f"{server.url}?priority=3",
    ):
        found = Store.at(bench.folder / f"other-{secrets.token_hex(4)}")
        other = Bench(bench.folder, found, bench.shelf, bench.lib, bench.app)
        assert other.fetched(cache) == expected


def test_a_cache_may_be_a_bucket(bench: Bench) -> None:
    import obstore

    from ramekin.store.objects import Objects

    url = f"memory://{secrets.token_hex(8)}"
    bucket = Objects.at(url)._bucket
    for file in bench.shelf.folder.rglob("*"):
        if file.is_file():
            obstore.put(bucket, str(file.relative_to(bench.shelf.folder)), file.read_bytes())
    assert len(bench.fetched(url)) == 2
    missing = bench.app.path.replace(bench.app.base[:32], "0" * 32)
    with pytest.raises(NotFoundError, match="has no 0000"):
        bench.source(url).resolve([missing], "amd64")


def test_a_download_that_breaks_off_goes_on(bench: Bench, server: Server) -> None:
    server.faults.append(Fault(r"nar/", cut=50, times=1))
    source = bench.source(server.url, retries=2)
    found = source.resolve([bench.app.path], "amd64")
    source.fetch(found.packages, SILENT)
    assert all(bench.store.has(package.digest) for package in found.packages)


def test_a_cache_may_be_a_bucket_of_an_s3_server(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore
    from moto.server import ThreadedMotoServer
    from obstore.store import S3Store

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "two")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/cache", method="PUT")).close()
        bucket = S3Store(
            "cache", endpoint=f"http://{host}:{port}", region="us-east-1", client_options={"allow_http": True}
        )
        for file in bench.shelf.folder.rglob("*"):
            if file.is_file():
                obstore.put(bucket, str(file.relative_to(bench.shelf.folder)), file.read_bytes())
        # as Nix itself writes it
        url = f"s3://cache?endpoint={host}:{port}&scheme=http&region=us-east-1&priority=3"
        assert len(bench.fetched(url)) == 2
    finally:
        server.stop()


def test_credentials_are_those_of_the_url_or_of_the_netrc_file(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine cache.example login me password secret\n")
    known = Connections(netrc=netrc)
    basic = {"Authorization": "Basic bWU6c2VjcmV0"}
    assert known.headers("https://cache.example/x") == basic
    assert known.headers("https://other.example/x") == {}
    assert Connections().headers("https://me:secret@other.example/x") == basic
    with pytest.raises(UsageError, match="cannot be read"):
        netrc.write_text("nonsense\n")
        known.headers("https://cache.example/x")


def test_what_is_no_cache_is_said(bench: Bench, server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a Nix binary cache"):
        bench.source(str(tmp_path)).resolve([bench.app.path], "amd64")
    with pytest.raises(NotFoundError, match="is not a Nix binary cache"):
        bench.source(f"{server.url}/nar").resolve([bench.app.path], "amd64")
    with pytest.raises(UsageError, match="not a place that can be read"):
        bench.source("ftp://x/").resolve([bench.app.path], "amd64")
    with pytest.raises(UsageError, match="is not a number"):
        bench.source(f"{bench.shelf.url}?priority=high").resolve([bench.app.path], "amd64")
    server.close()
    with pytest.raises(NetworkError):
        bench.source(server.url).resolve([bench.app.path], "amd64")


def test_names_of_sources(bench: Bench) -> None:
    opened = open_source(f"nix:{bench.shelf.folder}", bench.store, NixSettings(trusted_keys=(KEY.public,)))
    assert opened.name == f"nix:{bench.shelf.folder}"
    assert open_source("nix:https://user:secret@h.example/x", bench.store).name == "nix:https://h.example/x"
    none = bench.folder / "no-configuration"
    with pytest.raises(UsageError, match="no Nix binary cache is known"):
        open_source("nix", bench.store, NixSettings(nix_dir=none))
    for name in ("nix:", "debian"):
        with pytest.raises(UsageError, match="is not a Nix source"):
            open_source(name, bench.store)
    none.mkdir()
    (none / "nix.conf").write_text(f"substituters = {bench.shelf.url}\ntrusted-public-keys = {KEY.public}\n")
    by_machine = open_source("nix", bench.store, NixSettings(nix_dir=none))
    assert by_machine.resolve([bench.lib.base], "amd64").packages


# --- several caches --------------------------------------------------------------------------------------


@dataclass
class Two:
    """The shelf of the bench, and one that is asked before it; both have `lib`, of other files each."""

    bench: Bench
    first: Shelf
    lib: NarInfo
    warnings: Warnings = field(default_factory=Warnings)

    def resolve(self, *caches: str, wanted: str = "") -> NarInfo:
        source = self.bench.source(*(caches or (self.bench.shelf.url, self.first.url)))
        found = source.caches.closure([wanted or self.lib.base], self.warnings)
        return found[wanted or self.lib.base]


@pytest.fixture
def two(bench: Bench) -> Two:
    first = Shelf(bench.folder / "first", KEY, priority=10)
    return Two(bench, first, first.add("lib-1.0", {"lib/lib.so": b"another build"}))


def test_the_cache_of_the_best_priority_is_asked_first(two: Two) -> None:
    assert two.resolve().nar_hash == two.lib.nar_hash
    assert two.resolve(f"{two.bench.shelf.url}?priority=1", two.first.url).nar_hash == two.bench.lib.nar_hash
    # of equals, the one that was named first
    assert two.resolve(f"{two.bench.shelf.url}?priority=10", two.first.url).nar_hash == two.bench.lib.nar_hash


def test_what_the_first_has_not_comes_from_the_second(two: Two) -> None:
    assert two.resolve(wanted=two.bench.app.base).nar_hash == two.bench.app.nar_hash
    assert not two.warnings.texts


@pytest.mark.parametrize(
    ("fault", "warning"),
    [
        ({"NarSize": "1"}, "the signature of"),
        ({"Sig": None}, "is not signed"),
        ({"NarHash": None}, "no field NarHash"),
        ({"StorePath": f"/nix/store/{'0' * 32}-lib-1.0"}, "which was not asked for"),
    ],
)
def test_a_cache_that_is_not_believed_is_passed_over_with_a_warning(
    two: Two, fault: dict[str, str | None], warning: str
) -> None:
    two.first.change(two.lib, **fault)
    assert two.resolve().nar_hash == two.bench.lib.nar_hash
    assert len(two.warnings.texts) == 1 and warning in two.warnings.texts[0]
    with pytest.raises((SignatureError, FormatError), match=warning):
        two.resolve(two.first.url)


def test_a_cache_that_is_down_is_passed_over_and_not_asked_again(two: Two) -> None:
    with Server(two.first.folder) as server:
        server.faults.append(Fault("narinfo", status=500))
        source = two.bench.source(server.url, two.bench.shelf.url, jobs=1)
        found = source.caches.closure([two.bench.app.base], two.warnings)
        assert set(found) == {two.bench.app.base, two.bench.lib.base}
        assert len(server.paths(500)) == 1
        assert len(two.warnings.texts) == 1 and "answered 500" in two.warnings.texts[0]


def test_a_cache_that_was_never_there_is_passed_over_with_a_warning(two: Two) -> None:
    with Server(two.first.folder) as server:
        url = server.url
    source = two.bench.source(url, two.bench.shelf.url)
    source.refresh(["amd64"], two.warnings)
    assert source.resolve([two.bench.app.path], "amd64").packages
    assert len(two.warnings.texts) == 1 and "another cache was taken" in two.warnings.texts[0]
    with pytest.raises(NetworkError):
        source.resolve([f"{'0' * 32}-gone-1"], "amd64")


def test_an_archive_comes_from_any_cache_that_has_the_same(two: Two) -> None:
    package = two.bench.source().resolve([two.bench.lib.path], "amd64").packages[0]
    two.bench.shelf.nar(two.bench.lib).unlink()
    source = two.bench.source(two.first.url, two.bench.shelf.url)
    with pytest.raises(NotFoundError, match="no cache has the NAR of"):
        source.fetch([package], SILENT)
    third = Shelf(two.bench.folder / "third", OTHER)
    third.add("lib-1.0", {"lib/lib.so": b"library" * 10_000}, itself=True, compression="br")
    # the hash of its NAR is known, so nobody need sign it again
    two.bench.source(two.first.url, two.bench.shelf.url, third.url).fetch([package], SILENT)
    assert two.bench.store.has(package.digest)


def test_caches_of_another_store_are_left_out(two: Two) -> None:
    other = Shelf(two.bench.folder / "gnu", KEY, store_dir="/gnu/store", priority=99)
    other.add("lib-9", {"x": b""})
    assert two.resolve(two.first.url, other.url).nar_hash == two.lib.nar_hash


# --- lies and damage -------------------------------------------------------------------------------------


def test_a_path_that_nobody_has_is_named(bench: Bench) -> None:
    base = f"{'0' * 32}-gone-1"
    for words in (base, f"/nix/store/{base}", "0" * 32):
        with pytest.raises(NotFoundError, match="0000"):
            bench.source().resolve([words], "amd64")
    bench.shelf.file(bench.lib).unlink()
    with pytest.raises(NotFoundError, match=r"has no .*-lib-1.0"):
        bench.source().resolve([bench.app.path], "amd64")


def test_a_hash_under_another_name_is_refused(bench: Bench) -> None:
    with pytest.raises(FormatError, match=r"stands where .*-other-9 should"):
        bench.source().resolve([f"{bench.app.base[:32]}-other-9"], "amd64")
    wrong = bench.shelf.add("wrong-1", {}, references=[f"{bench.lib.base[:32]}-libb-1.0"])
    with pytest.raises(FormatError, match=r"stands where .*-libb-1.0 should"):
        bench.source().resolve([wrong.path], "amd64")
    both = bench.shelf.add("both-1", {}, references=[f"{bench.lib.base[:32]}-libb-1.0", bench.lib])
    with pytest.raises(FormatError, match="have one hash"):
        bench.source().resolve([both.path], "amd64")


def test_paths_that_refer_to_each_other_in_a_loop_are_refused(bench: Bench) -> None:
    names = [f"{digit * 32}-loop{digit}" for digit in "123"]
    for name, following in zip(names, (*names[1:], names[0]), strict=True):
        bench.shelf.add("", {}, base=name, references=[following])
    start = bench.shelf.add("start-1", {}, references=[names[1]])
    with pytest.raises(FormatError, match=r"in a loop: .*loop1 → .*loop2 → .*loop3 → .*loop1"):
        bench.source().resolve([start.path], "amd64")


def test_a_path_may_refer_to_itself(bench: Bench) -> None:
    assert bench.lib.base in bench.lib.references
    assert len(bench.source().resolve([bench.lib.path], "amd64").packages) == 1


def changed_nar(bench: Bench, data: bytes, **fields: object) -> None:
    """Another file in place of the library's archive, of which the narinfo says what is true of the file."""
    bench.shelf.nar(bench.lib).write_bytes(data)
    info = msgspec.structs.replace(
        bench.lib, **{"file_hash": digests.of(data), "file_size": len(data), **fields}
    )
    bench.shelf.put(info)


def lib_nar() -> bytes:
    return nar_of(tree_of({"lib/lib.so": b"library" * 10_000}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (compressed(nar_of(tree_of({"lib/lib.so": b"LIBRARY" * 10_000})), "xz"), "has digest"),
        (compressed(lib_nar()[:-8], "xz"), "bytes instead of"),
        (compressed(lib_nar() + bytes(8), "xz"), "has more than its"),
        (compressed(bytes(64 << 20), "xz"), "has more than its"),
        (compressed(lib_nar(), "xz")[:-20], "truncated"),
        (compressed(lib_nar(), "zstd"), "damaged"),
        (b"", "truncated"),
    ],
)
def test_an_archive_that_is_not_the_one_that_was_signed_never_reaches_the_store(
    bench: Bench, data: bytes, message: str
) -> None:
    changed_nar(bench, data)
    with pytest.raises((DigestMismatchError, FormatError), match=message) as caught:
        bench.fetched()
    assert bench.lib.base in caught.value.message or bench.shelf.url in caught.value.message
    assert not bench.store.has(bench.lib.nar_hash)


@pytest.mark.parametrize(
    ("form", "message"), [("xz", "the xz stream is damaged|truncated"), ("br", "br stream"), ("bzip2", "bz2")]
)
def test_damage_in_the_compression_is_said(bench: Bench, form: str, message: str) -> None:
    data = compressed(lib_nar(), form)
    for bad in (data[: len(data) // 2], data[:10] + bytes(10) + data[20:]):
        changed_nar(bench, bad, compression=form)
        with pytest.raises((FormatError, DigestMismatchError)):
            bench.fetched()
    changed_nar(bench, data[: len(data) // 2], compression=form)
    with pytest.raises(FormatError, match=message):
        bench.fetched()


def test_what_a_narinfo_says_of_the_file_is_checked_too(bench: Bench) -> None:
    good = bench.shelf.nar(bench.lib).read_bytes()
    for fields, message in (
        ({"file_hash": digests.of(b"")}, "its file does not have the hash"),
        ({"file_size": len(good) - 1}, "its file has more than its"),
        ({"file_size": len(good) + 1}, "its file has .* bytes instead of"),
    ):
        changed_nar(bench, good, **fields)
        with pytest.raises(DigestMismatchError, match=message):
            Bench(
                bench.folder, Store.at(bench.folder / message[:20]), bench.shelf, bench.lib, bench.app
            ).fetched()
    changed_nar(bench, good + b"more", file_hash=None, file_size=None)
    with pytest.raises((DigestMismatchError, FormatError)):
        bench.fetched()
    changed_nar(bench, good, file_hash=None, file_size=None)
    assert bench.fetched()


def test_a_lie_of_one_cache_does_no_harm_where_another_tells_the_truth(bench: Bench) -> None:
    liar = Shelf(bench.folder / "liar", KEY, priority=1)
    info = liar.add("lib-1.0", {"lib/lib.so": b"library" * 10_000}, itself=True)
    liar.nar(info).write_bytes(compressed(bytes(1000), "xz"))
    assert len(bench.fetched(liar.url, bench.shelf.url)) == 2


def test_an_archive_that_is_too_large_is_not_even_fetched(bench: Bench) -> None:
    source = bench.source(nar_limit=1000)
    found = source.resolve([bench.app.path], "amd64")
    with pytest.raises(FormatError, match="more than the 1000 that are taken"):
        source.fetch(found.packages, SILENT)


def test_an_archive_that_is_malformed_though_signed_is_refused_by_name(bench: Bench) -> None:
    bad = bench.shelf.add("bad-1", {}, archive=lib_nar().replace(b"lib.so", b"a/b.so"))
    with pytest.raises(FormatError, match=r"-bad-1: 'a/b.so' below 'nix/store/.*-bad-1/lib/'"):
        bench.fetched(wanted=bad)


def test_a_content_that_only_claims_its_address_is_refused(bench: Bench) -> None:
    shelf = Shelf(bench.folder / "unsigned", None)
    text = digests.of(b"the text")
    address = paths.content_address(f"text:{text}", where="here")
    assert address is not None
    base = paths.made_path(f"{'0' * 32}-t", address, (), "/nix/store")
    assert base is not None
    lie = nar_of(tree_of({"x": b"something else"}))
    info = shelf.add("", {}, base=base, ca=f"text:{text}", archive=lie)
    with pytest.raises(DigestMismatchError, match="is not one plain file"):
        bench.fetched(shelf.url, wanted=info)
    assert not bench.store.has(info.nar_hash)


def test_a_file_url_cannot_lead_out_of_its_cache(bench: Bench) -> None:
    (bench.folder / "secret.nar").write_bytes(lib_nar())
    bench.shelf.change(bench.lib, URL="../secret.nar", Compression="none")
    with pytest.raises(FormatError, match="leads out of the cache"):
        bench.fetched()


def test_damage_to_what_is_kept_costs_questions_only(bench: Bench) -> None:
    bench.source().resolve([bench.app.path], "amd64")
    for file in (bench.folder / "store" / "indexes" / "nix").glob("narinfos-*"):
        file.write_bytes(b"not a database, and longer than a header of one would be" * 10)
    assert bench.source().resolve([bench.lib.path], "amd64").packages
    assert bench.source().resolve([bench.lib.path], "amd64").packages


def test_every_failure_is_an_expected_one(bench: Bench) -> None:
    for text in ("", "/", "/nix/store", "^", "=", "a^", "a=", "a/b", "\udcff", "#", "x" * 5000):
        with pytest.raises(RamekinError):
            bench.source(nix="").resolve([text], "amd64")
