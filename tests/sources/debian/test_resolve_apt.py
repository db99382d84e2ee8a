"""The resolver's answers beside apt's, on the machine's own archive.

apt is asked as on an empty machine, without Recommends. Where the two differ, each package that only one of
them chose must have one of the reasons below; a difference without a reason, an answer that breaks a relation
and one that is larger than the rules allow are failures. The counts go to `.cache/resolve-apt.txt`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import pytest
from memory_index import MemoryIndex, machine_index
from support.apt import uris

from ramekin.sources.debian import relations
from ramekin.sources.debian.model import DebianPackage
from ramekin.sources.debian.relations import Group
from ramekin.sources.debian.resolve import ResolutionError, resolve

pytestmark = pytest.mark.archive

Chosen = Mapping[str, DebianPackage]

KNOWN = (
    "redis-server", "nginx", "memcached", "python3", "curl", "nodejs", "openjdk-17-jre-headless",
    "postgresql-15", "ruby", "php-cli", "sqlite3", "git", "busybox",
)  # fmt: skip
REQUESTS = 200
MARGIN = 1 << 20  # bytes that an option may weigh more and still be taken, see the weigher
UNKNOWN = "UNKNOWN"


@pytest.fixture(scope="module")
def archive() -> MemoryIndex:
    return machine_index()


def requests(archive: MemoryIndex) -> list[tuple[str, ...]]:
    """The acceptance images' packages, and then random ones, one to three at a time; always the same."""
    draw = random.Random(20241)
    names = sorted(archive.by_name)
    drawn = [(name,) for name in KNOWN]
    while len(drawn) < REQUESTS:
        drawn.append(tuple(draw.sample(names, draw.choice((1, 1, 1, 2, 3)))))
    return drawn


def apt(folder: Path, names: tuple[str, ...], archive: MemoryIndex) -> dict[str, DebianPackage] | None:
    """What apt would install for `names` on an empty machine; None where it finds no way."""
    done = uris(folder, names, archive.architecture)
    if done.returncode:
        return None
    found: dict[str, DebianPackage] = {}
    for line in done.stdout.splitlines():
        name, version, _architecture = line.split()[1].split("_")
        found[name] = next(one for one in archive.versions(name) if one.version == unquote(version))
    return found


def apts_answers(
    archive: MemoryIndex, asked: list[tuple[str, ...]], folder: Path, cache: Path
) -> dict[tuple[str, ...], dict[str, DebianPackage] | None]:
    """apt's answers, kept from one run of the tests to the next for as long as the archive is the same."""
    state = sorted((name, one.version, one.digest) for name, ones in archive.by_name.items() for one in ones)
    kept = cache / f"apt-{sha256(repr((state, asked)).encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        apt(folder, ("busybox",), archive)  # builds the cache that the others share
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda names: apt(folder, names, archive), asked)
            versions = [one and {name: package.version for name, package in one.items()} for one in found]
        cache.mkdir(exist_ok=True)
        kept.write_text(json.dumps(versions))
    return {
        names: answer
        and {
            name: next(one for one in archive.versions(name) if one.version == version)
            for name, version in answer.items()
        }
        for names, answer in zip(asked, json.loads(kept.read_text()), strict=True)
    }


def groups(one: DebianPackage) -> tuple[Group, ...]:
    return relations.parse(one.pre_depends) + relations.parse(one.depends)


def fulfilling(there: Chosen, provided: Mapping[str, set[str]], group: Group, besides: str = "") -> set[str]:
    """The packages of `there` that are or provide what `group` asks for; `provided` speeds it up."""
    found: set[str] = set()
    for one in group:
        if one.name in there and one.admits(there[one.name].version):
            found.add(one.name)
        for name in provided.get(one.name, ()):
            for (words,) in relations.parse(there[name].provides):
                fits = not one.operator or (words.version and one.admits(words.version))
                if words.name == one.name and fits:
                    found.add(name)
    return found - {besides}


def providing(there: Chosen) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, one in there.items():
        for (words,) in relations.parse(one.provides):
            found.setdefault(words.name, set()).add(name)
    return found


def broken(there: Chosen) -> list[str]:
    """The relations that a set of packages does not keep."""
    provided = providing(there)
    lines = [
        f"{name} needs {relations.words(group)}"
        for name, one in there.items()
        for group in groups(one)
        if not fulfilling(there, provided, group)
    ]
    lines += [
        f"{name} excludes {relations.words(group)}"
        for name, one in there.items()
        for field in (one.conflicts, one.breaks)
        for group in relations.parse(field)
        if fulfilling(there, provided, group, besides=name)
    ]
    return lines


def size(there: Chosen) -> int:
    return sum(one.installed_size for one in there.values())


def reasons(ours: Chosen, apts: Chosen) -> Iterator[tuple[str, str]]:
    """A reason for each package that only one of the two chose, or in another version."""
    yield from one_sided(apts, ours, "apt")
    yield from one_sided(ours, apts, "ours")
    for name in sorted(ours.keys() & apts.keys()):
        if ours[name] != apts[name]:
            yield name, UNKNOWN


def one_sided(these: Chosen, others: Chosen, whose: str) -> Iterator[tuple[str, str]]:
    """A reason for each package that is only in `these`."""
    provided, others_provided = providing(these), providing(others)
    users: dict[str, list[tuple[str, Group]]] = {name: [] for name in these.keys() - others.keys()}
    for user, one in these.items() if users else ():
        for group in groups(one):
            for name in fulfilling(these, provided, group) & users.keys():
                users[name].append((user, group))
    for name in sorted(users):
        # the relations of packages that both have: there the two part
        parting = [group for user, group in users[name] if others.get(user) == these[user]]
        options = [fulfilling(others, others_provided, group) for group in parting]
        if options and all(found & these.keys() for found in options):
            yield name, f"{whose}: a second option, though both have another that will do"
        elif options:
            yield name, f"{whose}: the other option of a choice"
        elif any(user not in others for user, _group in users[name]):
            yield name, f"{whose}: needed only by what only this side has"
        else:
            yield name, UNKNOWN


def test_answers_beside_those_of_apt(
    archive: MemoryIndex, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    asked = requests(archive)
    answers = apts_answers(archive, asked, tmp_path, pytestconfig.rootpath / ".cache")

    verdicts: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    saved = apts_size = 0
    unexplained: list[str] = []
    for names in asked:
        apts = answers[names]
        try:
            ours = {one.name: one for one in resolve(archive, names).packages}
        except ResolutionError as error:
            verdicts["neither finds an answer" if apts is None else "only apt finds an answer"] += 1
            if apts is not None:
                unexplained.append(f"{names}: {error}")
            continue
        unexplained.extend(f"{names}: {line}" for line in broken(ours))
        if apts is None:
            # apt looks at one version of each package and does not try all combinations
            verdicts["only ours finds an answer"] += 1
            continue
        found = list(reasons(ours, apts))
        packages.update(reason for _name, reason in found)
        unexplained.extend(f"{names}: {name}" for name, reason in found if reason == UNKNOWN)
        # where options differ, it must be for the bytes, but for what the margin and handicap allow
        excess = size(ours) - size(apts)
        if excess > MARGIN * sum(reason.startswith("ours: the other option") for _name, reason in found):
            unexplained.append(f"{names}: {excess} bytes more than apt's answer")
        verdicts["the same packages" if not found else "smaller" if excess < 0 else "as large or larger"] += 1
        saved, apts_size = saved - excess, apts_size + size(apts)

    lines = [f"{count:5} requests: {verdict}" for verdict, count in verdicts.most_common()]
    lines += [f"{count:5} packages: {reason}" for reason, count in packages.most_common()]
    lines.append(f"{saved / 1e6:.0f} MB of {apts_size / 1e6:.0f} MB installed size saved")
    report = pytestconfig.rootpath / ".cache" / "resolve-apt.txt"
    report.parent.mkdir(exist_ok=True)
    report.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    assert not unexplained, "\n".join(unexplained)


def test_redis_server_comes_without_perl(archive: MemoryIndex) -> None:
    chosen = {one.name for one in resolve(archive, ["redis-server"]).packages}
    assert {"usr-is-merged", "libsystemd0", "adduser"} <= chosen
    assert not chosen & {"usrmerge", "perl", "perl-base", "dpkg", "lsb-base", "libelogind0"}
    assert len(chosen) < 52


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("base-files", "mawk"),
        ("ca-certificates", "debconf"),
        ("default-jre-headless", "openjdk-17-jre-headless"),
        ("libpam0g", "debconf"),
        ("postgresql-15", "perl"),
        ("build-essential", "libc6-dev"),
        ("libsystemd-dev", "libsystemd0"),
    ],
)
def test_choices_are_those_that_a_debian_user_expects(
    archive: MemoryIndex, request_: str, expected: str
) -> None:
    assert expected in {one.name for one in resolve(archive, [request_]).packages}
