"""The order in which packages of an image stand, where what they refer to is known exactly.

In: packages, and which of the others each refers to. Out: the same packages, lowest first.

Engines share a layer on disk only where all the layers below it are the same too. So what stands lowest has
to be what the most images have, in an order that does not follow from what else an image holds:

1. what nearly everybody has, by a list (`POPULAR`), each right after what it refers to;
2. what at least half of the image refers to, directly or not, by how much that reaches itself;
3. the others by how many of the image refer to them, most first: what few need changes and comes and goes
   without anything above it.

Ties go to what reaches less, then by name without hash. Every package stands above all that it refers to:
who refers to a package reaches more than it does, and is referred to by fewer. (Where packages refer to each
other in a circle there is no such order.)

Of 63 MB that two images of a stand-in for nixpkgs have in common on average, 32 MB stand below all that
differs with a list of the 60 most wanted names, 5 MB without one, and 39 MB if the order came from all the
images to be (`bench/nix_images.py --only share`). An order that looks at one image alone cannot know what
others hold, hence the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ramekin.sources.protocol import Package

Some = TypeVar("Some", bound=Package)

_POPULAR = """
    libunistring libidn2 xgcc glibc gcc bash zlib ncurses readline attr acl gmp coreutils openssl bzip2 xz
    zstd pcre2 libxcrypt tzdata mailcap libffi expat gdbm sqlite mpdecimal python3 gnugrep gnused gawk
    findutils diffutils gnutar gzip patch which file perl brotli libssh2 nghttp2 libpsl keyutils libkrb5 krb5
    c-ares curl libcap util-linux-minimal util-linux libxml2 libgpg-error libgcrypt lz4 kmod libseccomp
    systemd-minimal-libs systemd-minimal systemd dbus glib nettle gnutls libtasn1 p11-kit libpng freetype
    fontconfig libjpeg-turbo libX11 libxcb icu4c cacert iana-etc git nodejs ruby procps less iproute2 shadow
    linux-pam audit
"""
POPULAR = tuple(_POPULAR.split())
"""Names of packages of nixpkgs that many closures hold, by how many; versions and outputs do not count."""


def by_reach(
    packages: Sequence[Some], edges: Mapping[str, Sequence[str]], *, popular: Sequence[str] = POPULAR
) -> tuple[Some, ...]:
    """`packages` in the order above; `edges` give for each name those that it refers to."""
    place = {package.name: number for number, package in enumerate(packages)}
    after = [[place[other] for other in edges.get(p.name, ()) if other in place] for p in packages]
    before: list[list[int]] = [[] for _ in packages]
    for number, others in enumerate(after):
        for other in others:
            before[other].append(number)
    reach, reached_by = _reach(after), _reach(before)
    ranks = _ranks(packages, reach, popular)
    half = (len(packages) + 1) // 2

    def rank(number: int) -> tuple[int, int, int, str, str]:
        package, count = packages[number], reached_by[number].bit_count()
        group = ranks.get(number, len(popular) + (0 if count >= half else 1))
        return (
            group,
            -count if group > len(popular) else 0,
            reach[number].bit_count(),
            package.origin,
            package.name,
        )

    return tuple(packages[number] for number in sorted(range(len(packages)), key=rank))


def _ranks(packages: Sequence[Package], reach: Sequence[int], popular: Sequence[str]) -> dict[int, int]:
    """The places in `popular` of packages, and of what these refer to where that is not there before."""
    known = {name: number for number, name in enumerate(popular)}
    listed = sorted(
        (known[package.origin], number) for number, package in enumerate(packages) if package.origin in known
    )
    ranks: dict[int, int] = {}
    done = 0
    for rank, number in listed:
        left = reach[number] & ~done
        done |= reach[number]
        while left:
            low = left & -left
            ranks[low.bit_length() - 1] = rank
            left ^= low
    return ranks


def _reach(after: Sequence[Sequence[int]]) -> list[int]:
    """For each node a set, as bits, of all that it reaches and itself (Tarjan's components, lowest first)."""
    reach = [0] * len(after)
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    standing: set[int] = set()
    for start in range(len(after)):
        if start in index:
            continue
        work = [(start, 0)]
        while work:
            node, step = work.pop()
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                standing.add(node)
            for turn in range(step, len(after[node])):
                other = after[node][turn]
                if other not in index:
                    work += [(node, turn), (other, 0)]
                    break
                if other in standing:
                    low[node] = min(low[node], low[other])
            else:
                if low[node] == index[node]:
                    _close(node, after, reach, stack, standing)
    return reach


def _close(
    node: int, after: Sequence[Sequence[int]], reach: list[int], stack: list[int], standing: set[int]
) -> None:
    """Take a whole circle, or a single node, off the stack."""
    members = []
    while True:
        member = stack.pop()
        standing.discard(member)
        members.append(member)
        if member == node:
            break
    bits = 0
    for member in members:
        bits |= 1 << member
        for other in after[member]:
            bits |= reach[other]
    for member in members:
        reach[member] = bits
