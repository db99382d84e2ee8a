"""Every rule has an image that trips it, and one that does not."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from shelves import (
    LOADER,
    findings,
    program,
    renamed,
    subject,
    upx_elf,
    upx_pe,
    whiteout,
    with_referrer,
    with_sections,
)
from support.elves import elf
from support.samples import noise

from ramekin.analyze.checks.model import Subject
from ramekin.analyze.checks.table import RULES
from ramekin.image.oci import History, Runtime
from ramekin.image.tree import Entry, directory, file, symlink
from ramekin.store.store import Store

Make = Callable[[Store], Sequence[Subject]]

KEY_LINES = "\n".join(
    "MIIEpAIBAAKCAQEA" + "".join(random.Random(n).choices("ABCDEFGHIJKLMNOPqrstuvwxyz0123456789+/", k=48))
    for n in range(8)
)
# put together here, so that no scanner takes the test for a leak
KEY = f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{KEY_LINES}\n-----END RSA {'PRIVATE'} KEY-----\n"
TOKEN = "ghp_" + "".join(random.Random(5).choices("ABCDEFGHIJKLMNOPqrstuvwxyz0123456789", k=36))
RANDOM = "".join(random.Random(6).choices("ABCDEFGHJKLMNPQRSUVWXYZabcdefghijkmnopqrstuvwxyz23456789", k=40))

LIBC = elf(soname="libc.so.6", strings=["/etc/nsswitch.conf"])
SSL = elf(soname="libssl.so.3", needed=["libcrypto.so.3"])
CRYPTO = elf(
    soname="libcrypto.so.3", strings=["/usr/lib/ssl/certs", "/usr/lib/ssl/cert.pem", "SSL_CERT_FILE"]
)
LD = elf(soname="ld-linux-x86-64.so.2")


def system(*more: Entry) -> list[Entry]:
    """A loader and a C library, and `more`."""
    return [program("lib64/ld-linux-x86-64.so.2", LD), file("usr/lib/libc.so.6", LIBC), *more]


def dynamic(*needed: str, strings: Sequence[str] = ()) -> bytes:
    return elf(program=True, interpreter=LOADER, needed=[*needed, "libc.so.6"], strings=strings)


def one(*layers: Sequence[Entry], **said: object) -> Make:
    return lambda store: [subject(store, *layers, **said)]  # type: ignore[arg-type]


def step(command: str, created: str = "") -> History:
    return History(created_by=command, created=created)


def status(name: str, paths: Sequence[str]) -> list[Entry]:
    """What dpkg knows of an installed package."""
    paragraph = f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
    listed = "".join(f"/{path}\n" for path in paths)
    return [
        file("var/lib/dpkg/status", paragraph.encode()),
        file(f"var/lib/dpkg/info/{name}.list", listed.encode()),
    ]


TLS = [
    program("usr/bin/get", dynamic("libssl.so.3")),
    file("usr/lib/libssl.so.3", SSL),
    file("usr/lib/libcrypto.so.3", CRYPTO),
]
CONFIGURED = file("etc/nsswitch.conf", b"hosts: files dns\n")
NOW = "2024-05-01T10:00:00.123456789Z"
THEN = 1714557590


def picture(level: int) -> bytes:
    """A PNG of a few colours, compressed as said."""
    width = height = 300
    rows = b"".join(
        b"\0" + b"".join(bytes((x // 50 * 40, y // 50 * 40, 90)) for x in range(width)) for y in range(height)
    )

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, level)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def static_program(seed: int) -> bytes:
    """A static program of 2 MB whose library part is the same for all seeds."""
    common = [f"a text of the common library, number {n:06}" for n in range(30_000)]
    own = [f"a text that only program {seed} has, {n:06}" for n in range(3_000)]
    return elf(program=True, strings=[*common, *own])


def several(*made: tuple[str, Sequence[Sequence[Entry]]], **said: object) -> Make:
    return lambda store: [subject(store, *layers, name=name, **said) for name, layers in made]  # type: ignore[arg-type]


def base(build: int, *, history: Sequence[History] = ()) -> list[Entry]:
    return [
        file("etc/os-release", b"ID=debian\nVERSION_ID=12\n"),
        file("usr/lib/big", noise(200_000, seed=build)),
    ]


def user(name: str) -> Runtime:
    return Runtime(user=name)


CASES: dict[str, tuple[Make, Make]] = {
    "R101": (
        one([file("tmp/download", noise(9000))], [whiteout("tmp/download")]),
        one([file("srv/wanted", noise(9000))], [file("srv/other", b"x")]),
    ),
    "R102": (
        one([file("srv/app", noise(9000))], [file("srv/app", noise(9000), mode=0o755)]),
        one([file("srv/app", noise(9000))], [file("srv/other", noise(9000))]),
    ),
    "R103": (
        one([file("var/lib/apt/lists/x_Packages", noise(9000))]),
        one([file("var/lib/app/lists/x", noise(9000))]),
    ),
    "R104": (
        one([file("usr/lib/debug/.build-id/00/11.debug", noise(9000))]),
        one([file("usr/lib/app/data", noise(9000))]),
    ),
    "R105": (
        one([file("usr/lib/liba.so", with_sections({".debug_info": noise(80_000), ".symtab": noise(2000)}))]),
        one([file("usr/lib/liba.so", with_sections({".rodata": noise(80_000)}))]),
    ),
    "R106": (
        one([program("bin/tool", upx_elf(5_000_000)), file("bin/tool.exe", upx_pe(6_000_000))]),
        one([program("bin/tool", elf(program=True, strings=["UPX! is a name"]))]),
    ),
    "R107": (
        one(
            [
                program("start.sh", b"#!/bin/sh\ntar -xzf /opt/app.tar.gz -C /srv\nexec /srv/app\n"),
                file("opt/app.tar.gz", gzip.compress(noise(9000))),
            ],
            runtime=Runtime(entrypoint=("/start.sh",), user="1"),
        ),
        one(
            [
                program("start.sh", b"#!/bin/sh\n# tar -xzf /opt/app.tar.gz\nexec /srv/app\n"),
                file("opt/app.tar.gz", gzip.compress(noise(9000))),
            ],
            runtime=Runtime(entrypoint=("/start.sh",), user="1"),
        ),
    ),
    "R108": (
        one([file("srv/data.gz", gzip.compress(noise(50_000), mtime=0))]),
        one([file("srv/data.gz", gzip.compress(noise(5000), mtime=0)), file("srv/text", b"text" * 50_000)]),
    ),
    "R109": (
        one([file("srv/a.png", picture(0))]),
        one([file("srv/a.png", picture(9))]),
    ),
    "R110": (
        several(*((f"oci:./{n}", [[program("app", static_program(n))]]) for n in range(3))),
        several(
            ("oci:./a", [[program("app", static_program(1))]]),
            (
                "oci:./b",
                [[program("app", elf(program=True, strings=[f"otherwise {n:09}" for n in range(80_000)]))]],
            ),
        ),
    ),
    "R201": (
        one(system(*TLS)),
        one(system(*TLS, file("etc/ssl/certs/ca.crt", b"x"), symlink("usr/lib/ssl/certs", "/etc/ssl/certs"))),
    ),
    "R202": (
        one(system(program("usr/bin/when", dynamic(strings=["/usr/share/zoneinfo"])))),
        one(
            system(
                program("usr/bin/when", dynamic(strings=["/usr/share/zoneinfo"])),
                file("usr/share/zoneinfo/UTC", b"TZif"),
            )
        ),
    ),
    "R203": (
        one([file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")], runtime=user("app")),
        one([file("etc/passwd", b"app:x:9:9::/:/bin/sh\n")], runtime=user("app")),
    ),
    "R204": (
        one(system(program("usr/bin/sort", dynamic(strings=["/tmp"])))),
        one(system(program("usr/bin/sort", dynamic(strings=["/tmp"])), directory("tmp", mode=0o1777))),
    ),
    "R205": (
        one(system(program("usr/bin/get", dynamic()))),
        one(system(program("usr/bin/get", dynamic()), CONFIGURED)),
    ),
    "R206": (
        one([program("usr/bin/tool", dynamic()), file("usr/lib/libc.so.6", LIBC)]),
        one(system(program("usr/bin/tool", dynamic()))),
    ),
    "R207": (
        one(system(program("usr/bin/tool", dynamic("libgone.so.1")))),
        one(system(program("usr/bin/tool", dynamic("libhere.so.1")), file("usr/lib/libhere.so.1", elf()))),
    ),
    "R301": (one([program("usr/bin/su", b"x", mode=0o4755)]), one([program("usr/bin/ls", b"x")])),
    "R302": (
        one([file("srv/shared", b"x", mode=0o666), directory("srv/open", mode=0o777)]),
        one([directory("tmp", mode=0o1777), symlink("srv", "tmp")]),
    ),
    "R303": (
        one([file("root/.ssh/id_rsa", KEY.encode())], [whiteout("root/.ssh/id_rsa")]),
        one([file("root/.ssh/id_rsa.pub", b"ssh-rsa AAAAB3NzaC1yc2E me\n")]),
    ),
    "R304": (
        one([file("root/.git-credentials", f"https://me:{TOKEN}@example.org\n".encode())]),
        one([file("root/.git-credentials", b"https://me:${TOKEN}@example.org\n")]),
    ),
    "R305": (
        one([file("srv/settings.py", f'API_KEY = "{RANDOM}"\n'.encode())]),
        one([file("srv/settings.py", b'API_KEY = os.environ["SOME_API_KEY_FOR_THIS"]\n')]),
    ),
    "R306": (one(runtime=Runtime()), one(runtime=user("1000:1000"))),
    "R307": (
        one(runtime=Runtime(user="1", env=(f"DB_PASSWORD={RANDOM[:12]}",))),
        one(runtime=Runtime(user="1", env=("DB_PASSWORD_FILE=/run/secrets/db", "PATH=/bin"))),
    ),
    "R308": (
        one(history=[step(f"RUN |1 NPM_TOKEN={RANDOM} /bin/sh -c npm ci")]),
        one(history=[step("RUN --mount=type=secret,id=npm /bin/sh -c npm ci")]),
    ),
    "R309": (one(), one(change=with_referrer)),
    "R401": (
        one(annotations={"org.opencontainers.image.base.name": "registry.example/debian:stable"}),
        one(annotations={"org.opencontainers.image.base.name": "registry.example/debian@sha256:" + "0" * 64}),
    ),
    "R402": (
        one(
            [file("srv/a", b"1", mtime=THEN), file("srv/b", b"2", mtime=THEN + 3)],
            history=[step("COPY . .", NOW)],
            created=NOW,
        ),
        one(
            [file("srv/a", b"1", mtime=THEN), file("srv/b", b"2", mtime=THEN)],
            history=[step("COPY . .", "2024-05-01T09:59:50Z")],
            created="2024-05-01T09:59:50Z",
        ),
    ),
    "R403": (
        one(*([file(f"srv/{n}", str(n).encode())] for n in range(101))),
        one(*([file(f"srv/{n}", str(n).encode())] for n in range(3))),
    ),
    "R404": (
        one(
            [file("a", b"a")],
            [file("b", b"b")],
            [file("c", b"c")],
            history=[
                step("FROM"),
                step("COPY . /srv # buildkit"),
                step("RUN /bin/sh -c pip install -r r.txt"),
            ],
        ),
        one(
            [file("a", b"a")],
            [file("b", b"b")],
            [file("c", b"c")],
            history=[
                step("FROM"),
                step("RUN /bin/sh -c pip install -r r.txt"),
                step("COPY . /srv # buildkit"),
            ],
        ),
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def test_every_rule_has_its_two_images() -> None:
    assert set(CASES) == {rule.code for rule in RULES}


@pytest.mark.parametrize("code", CASES)
def test_a_rule_finds_what_it_is_for(code: str, store: Store) -> None:
    found = findings(code, *CASES[code][0](store))
    assert found
    assert all(finding.message and finding.code == code for finding in found)


@pytest.mark.parametrize("code", CASES)
def test_a_rule_finds_nothing_where_all_is_well(code: str, store: Store) -> None:
    assert findings(code, *CASES[code][1](store)) == []


def test_bytes_at_stake_are_those_of_the_files(store: Store) -> None:
    for code in ("R101", "R102", "R103", "R104"):
        assert [finding.size for finding in findings(code, *CASES[code][0](store))] == [9000]
    (unstripped,) = findings("R105", *CASES["R105"][0](store))
    assert unstripped.size == 82_000
    packed = findings("R106", *CASES["R106"][0](store))
    assert {finding.path: finding.size for finding in packed} == {
        "bin/tool": 5_000_000,
        "bin/tool.exe": 6_000_000 + 0x3000,
    }


def test_no_finding_has_any_part_of_a_secret(store: Store) -> None:
    image = subject(
        store,
        [
            file("root/.ssh/id_rsa", KEY.encode()),
            file("etc/token.conf", f"token = {TOKEN}\nkey_secret: {RANDOM}\n".encode()),
        ],
        runtime=Runtime(env=(f"API_TOKEN={RANDOM}",)),
        history=[step(f"ARG SECRET={RANDOM}"), step(f"RUN curl -H {TOKEN}")],
    )
    from ramekin.analyze.checks import sarif
    from ramekin.analyze.checks.judge import judge

    report = judge([image])
    assert {finding.code for finding in report.findings} >= {"R303", "R304", "R305", "R307", "R308"}
    shown = repr(report) + repr(sarif.document(report))
    kept = b"".join(path.read_bytes() for path in Path(store.location).rglob("*") if path.is_file())
    for hidden in (TOKEN, RANDOM, KEY_LINES.split("\n")[0]):
        for start in range(len(hidden) - 12):
            assert hidden[start : start + 12] not in shown
    # nor is it in what the store keeps about the layer, unlike the layer itself
    assert kept.count(TOKEN.encode()) <= 1


def test_a_key_among_tests_or_of_a_package_is_only_worth_knowing(store: Store) -> None:
    owned = subject(
        store, [file("usr/lib/app/server.key", KEY.encode()), *status("app", ["usr/lib/app/server.key"])]
    )
    sample = subject(store, [file("srv/tests/server.key", KEY.encode())])
    real = subject(store, [file("srv/server.key", KEY.encode())])
    assert [findings("R303", one)[0].severity for one in (owned, sample, real)] == ["note", "note", "error"]


def test_images_on_two_builds_of_a_base_are_told_to_share_none_of_it(store: Store) -> None:
    apart = several(*((f"oci:./{n}", [base(n % 2), [file("app", str(n).encode())]]) for n in range(4)))(store)
    (found,) = findings("R401", *apart)
    assert "debian 12" in found.message
    assert found.size > 190_000
    together = several(*((f"oci:./{n}", [base(0), [file("app", str(n).encode())]]) for n in range(4)))(store)
    assert findings("R401", *together) == []


def test_layers_with_the_same_files_at_other_times_are_named(store: Store) -> None:
    made = several(*((f"oci:./{n}", [[file("lib", noise(9000), mtime=n)]]) for n in range(2)))(store)
    (found,) = findings("R402", *made)
    assert found.image == "oci:./1"
    assert "oci:./0" in found.message


def test_a_layer_above_others_in_each_image_is_named(store: Store) -> None:
    tool = [file("usr/bin/tool", noise(100_000))]
    apart = several(*((f"oci:./{n}", [[file("app", str(n).encode())], tool]) for n in range(2)))(store)
    (found,) = findings("R404", *apart)
    assert found.size > 100_000
    together = several(*((f"oci:./{n}", [tool, [file("app", str(n).encode())]]) for n in range(2)))(store)
    assert findings("R404", *together) == []


def test_a_layer_of_packages_and_other_files_is_named(store: Store) -> None:
    mixed = subject(
        store,
        [
            file("usr/lib/owned", noise(12 << 20)),
            file("srv/app", noise(12 << 20, seed=2)),
            *status("app", ["usr/lib/owned"]),
        ],
    )
    (found,) = findings("R403", mixed)
    assert "layer 1" in found.message


def test_the_time_zone_that_env_names_is_looked_for(store: Store) -> None:
    image = subject(store, [file("a", b"a")], runtime=Runtime(user="1", env=("TZ=Europe/Berlin",)))
    (found,) = findings("R202", image)
    assert found.severity == "warning"
    assert findings("R202", subject(store, [file("a", b"a")], runtime=Runtime(env=("TZ=UTC",)))) == []


def test_libraries_are_found_by_origin_links_and_configuration(store: Store) -> None:
    inside = elf(program=True, interpreter=LOADER, needed=["liba.so", "libb.so"], runpath="$ORIGIN/../own")
    image = subject(
        store,
        system(
            program("opt/app/bin/tool", inside),
            file("opt/app/own/liba.so", elf()),
            symlink("opt/other/libb.so", "libb.so.1"),
            file("opt/other/libb.so.1", elf()),
            file("etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n"),
            file("etc/ld.so.conf.d/other.conf", b"# ours\n/opt/other\n"),
        ),
    )
    assert findings("R207", image) == []
    assert findings("R206", image) == []


def test_two_tags_of_one_image_are_no_fleet_of_static_programs(store: Store) -> None:
    made = subject(store, [program("app", static_program(1))])
    assert findings("R110", made, renamed(made, "oci:./again")) == []
