"""Trees of every shape that tar can hold, for property tests."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from ramekin.image.tree import Entry, Inline, Kind, Tree

names = st.one_of(
    st.sampled_from(["a", "b", "c", "a-b", "usr", "bin", " ", "ä", "日本", "x" * 99, "y" * 101, "z" * 200]),
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8),
    st.binary(min_size=1, max_size=6).map(
        lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape")
    ),
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
ids = st.sampled_from([0, 1, 1000, 65534, 0o7777777, 0o10000000, 2**32 - 2])
times = st.sampled_from([0, 1, 1_700_000_000, 0o77777777777, 0o100000000000, -1, -(2**31)])
attributes = st.dictionaries(
    st.sampled_from(["user.a", "user.ü", "security.capability"]),
    st.binary(max_size=20),
    max_size=2,
).map(lambda found: tuple(sorted(found.items())))
contents = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"x" * 511, b"y" * 512, b"z" * 513, b"w" * 300_000])
)


@st.composite
def entries(draw: st.DrawFn, *, special: bool = True) -> Entry:
    kinds = [Kind.FILE, Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK]
    kind = draw(st.sampled_from([*kinds, Kind.FIFO, Kind.CHARACTER, Kind.BLOCK] if special else kinds))
    entry = Entry(
        path=draw(paths),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(ids),
        gid=draw(ids),
        mtime=draw(times),
        xattrs=draw(attributes),
    )
    if kind is Kind.FILE:
        return replace(entry, content=Inline(draw(contents)))
    if kind is Kind.SYMLINK:
        return replace(entry, target=draw(st.one_of(paths, paths.map(lambda path: "/../" + path))))
    if kind in (Kind.CHARACTER, Kind.BLOCK):
        return replace(entry, device=(draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))))
    return entry


@st.composite
def trees(draw: st.DrawFn, *, special: bool = True) -> Tree:
    """Trees in which every parent is a folder and every hard link leads to a file."""
    found: dict[str, Entry] = {}
    for entry in draw(st.lists(entries(special=special), max_size=12)):
        above = entry.path
        while above := above.rpartition("/")[0]:
            if above in found and found[above].kind is not Kind.DIRECTORY:
                break
        below = entry.kind is not Kind.DIRECTORY and any(path.startswith(entry.path + "/") for path in found)
        if not above and not below and entry.path not in found:
            found[entry.path] = entry
    files = sorted(path for path, entry in found.items() if entry.kind is Kind.FILE)
    for path, entry in list(found.items()):
        if entry.kind is Kind.HARDLINK:
            if files:
                found[path] = replace(entry, target=draw(st.sampled_from(files)))
            else:
                del found[path]
    return Tree(found.values())
