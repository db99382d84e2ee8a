"""Bytes that do nothing: lost, kept for no one, or in a form that costs more than it saves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ramekin.analyze import loading
from ramekin.analyze.checks.model import Found, Subject
from ramekin.analyze.examine import kin, script
from ramekin.analyze.stack import DELETED
from ramekin.image.tree import Kind

SMALLEST = 4096
"""Bytes below which waste is not worth a line."""
_KB = 1 << 10
_CACHES = {
    "var/lib/apt/lists": "package lists of apt",
    "var/cache/apt": "downloads and indexes of apt",
    "var/cache/debconf": "what debconf keeps from before",
    "var/cache/apk": "downloads of apk",
    "etc/apk/cache": "downloads of apk",
    "var/cache/dnf": "downloads and metadata of dnf",
    "var/cache/yum": "downloads and metadata of yum",
    "var/cache/libdnf5": "downloads and metadata of dnf",
    "var/lib/dnf": "history of dnf",
    "var/cache/zypp": "downloads and metadata of zypper",
    "var/cache/pacman": "downloads of pacman",
    "root/.cache/pip": "downloads of pip",
    "root/.cache/uv": "downloads of uv",
    "root/.cache/pypoetry": "downloads of Poetry",
    "root/.cache/go-build": "what go has built",
    "root/.npm": "downloads of npm",
    "root/.cache/yarn": "downloads of yarn",
    "usr/local/share/.cache/yarn": "downloads of yarn",
    "root/.local/share/pnpm/store": "downloads of pnpm",
    "root/.cargo/registry": "downloads of cargo",
    "usr/local/cargo/registry": "downloads of cargo",
    "root/.m2/repository": "downloads of Maven",
    "root/.gradle/caches": "downloads of Gradle",
    "go/pkg/mod/cache": "downloads of go",
    "root/go/pkg/mod/cache": "downloads of go",
    "root/.gem": "downloads of gem",
    "usr/local/bundle/cache": "downloads of bundler",
    "root/.composer/cache": "downloads of Composer",
    "root/.nuget/packages": "downloads of NuGet",
}


def deleted(subject: Subject) -> Iterator[Found]:
    """Files that a later layer deletes: they are shipped all the same."""
    yield from _lost(subject, lambda how: how == DELETED, "is deleted")


def overwritten(subject: Subject) -> Iterator[Found]:
    """Files that a later layer, or the same one once more, has again."""
    yield from _lost(subject, lambda how: how != DELETED, "is shipped again")


def _lost(subject: Subject, chosen: Callable[[str], bool], what: str) -> Iterator[Found]:
    groups: dict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)
    for lost in subject.stack.lost:
        if chosen(lost.how) and lost.size:
            groups[lost.layer, lost.by].append((lost.size, lost.path))
    for (layer, by), files in sorted(groups.items()):
        total = sum(size for size, _ in files)
        if total < SMALLEST:
            continue
        largest = max(files, key=lambda file: (file[0], file[1]))[1]
        more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        where = f"in layer {by + 1}" if by != layer else "in the same layer"
        yield Found(f"/{largest}{more} of layer {layer + 1} {what} {where}", largest, total)


def caches(subject: Subject) -> Iterator[Found]:
    """Folders that package managers fill and only they read."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for path, placed in subject.stack.files.items():
        if placed.file.kind is Kind.FILE and placed.file.size:
            parts = path.split("/")
            for depth in range(2, min(len(parts), 6)):
                folder = "/".join(parts[:depth])
                if folder in _CACHES:
                    sizes[folder].append(placed.file.size)
                    break
    for folder, found in sorted(sizes.items()):
        if sum(found) >= SMALLEST:
            yield Found(f"/{folder} has {_CACHES[folder]}: {len(found):,} files", folder, sum(found))


def debug_files(subject: Subject) -> Iterator[Found]:
    """Debugging information in files of its own."""
    sizes: dict[str, int] = defaultdict(int)
    for path, placed in subject.stack.files.items():
        if placed.file.kind is not Kind.FILE:
            continue
        if path.startswith("usr/lib/debug/"):
            sizes["usr/lib/debug"] += placed.file.size
        elif path.endswith((".debug", ".dwp", ".dwo", ".pdb")):
            sizes[path] += placed.file.size
    for path, size in sorted(sizes.items()):
        if size >= SMALLEST:
            yield Found(f"/{path} has debugging information only", path, size)


def unstripped(subject: Subject) -> Iterator[Found]:
    """Sections of programs and libraries that running them does not need."""
    for path, placed in subject.stack.files.items():
        if placed.file.kind is not Kind.FILE or path.startswith("usr/lib/debug/") or path.endswith(".debug"):
            continue
        facts = subject.stack.traits(path).get("elf")
        if (
            not facts
            or facts.get("kind") not in ("program", "library")
            or ("go" in facts and "debug" not in facts)
        ):
            continue
        debug, symbols = facts.get("debug", 0), facts.get("symbols", 0)
        if debug + symbols >= 64 * _KB:
            parts = [
                f"{size:,} bytes of {name}"
                for size, name in ((debug, "debug data"), (symbols, "symbols"))
                if size
            ]
            yield Found(f"/{path} has {' and '.join(parts)} that stripping removes", path, debug + symbols)


def packed(subject: Subject) -> Iterator[Found]:
    """Programs that unpack themselves into memory of their own."""
    for path, facts in _with(subject, "packed"):
        size = facts["unpacked"]
        yield Found(
            f"/{path} is packed by UPX ({facts['form']}): each process that runs it has {size:,} bytes "
            "of its own, neither shared with others nor loaded on demand",
            path,
            size,
        )


def unpacked_at_start(subject: Subject) -> Iterator[Found]:
    """Archives in the image that its own start unpacks."""
    line = loading.words(subject.outline.config)
    names = [(name, "the command") for name in script.unpacked(" ".join(line))]
    for word in line[:3]:
        found = loading.find_command(subject.stack, subject.outline.config, word) if word else None
        if found is not None:
            facts = subject.stack.traits(found).get("script", {})
            names += [(name, f"/{found}") for name in facts.get("unpacks", ())]
    seen = set()
    for name, who in names:
        path = _meant(subject, name)
        if path is not None and path not in seen:
            seen.add(path)
            size = subject.stack.files[path].size
            yield Found(f"/{path} is unpacked by {who} at every start", path, size)


def _meant(subject: Subject, name: str) -> str | None:
    """The file that a script's word means: absolute, in the working folder, or the one of that name."""
    files = subject.stack.files
    if name.startswith("/"):
        found = subject.stack.resolve(name.strip("/"))
        return found if found in files else None
    folder = (subject.outline.config.config.working_dir if subject.outline.config.config else "") or "/"
    found = subject.stack.resolve(f"{folder.strip('/')}/{name}".strip("/"))
    if found is not None and found in files:
        return found
    last = "/" + name.rpartition("/")[2]
    if "$" in last or "*" in last:
        return None
    same = [path for path in files if path.endswith(last)]
    return same[0] if len(same) == 1 else None


def squeezed(subject: Subject) -> Iterator[Found]:
    """Formats that are compressed already, where they are much of the image."""
    groups: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path, form in _with(subject, "squeezed"):
        groups[form].append((subject.stack.files[path].size, path))
    for form, files in sorted(groups.items()):
        total = sum(size for size, _ in files)
        if total >= 1 << 20 or total >= max(SMALLEST, subject.stack.size // 10):
            largest = max(files)[1]
            more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
            yield Found(f"/{largest}{more}: {form} compresses no further in a layer", largest, total)


def media(subject: Subject) -> Iterator[Found]:
    """Pictures, by what a better codec made of a sample of them."""
    groups: dict[str, list[tuple[str, int, int | None]]] = defaultdict(list)
    for path, facts in _with(subject, "media"):
        groups[facts["form"]].append((path, subject.stack.files[path].size, facts.get("smaller")))
    for form, files in sorted(groups.items()):
        tried = [(path, size, smaller) for path, size, smaller in files if smaller is not None]
        before = sum(size for _, size, _ in tried)
        if not before:
            continue
        share = 1 - sum(smaller for _, _, smaller in tried) / before
        total = sum(size for _, size, _ in files)
        saved = int(total * share)
        if saved >= SMALLEST and share >= 0.05:
            worst = max(tried, key=lambda file: (file[1] - file[2], file[0]))[0]
            codec = {"JPEG": "JPEG with better tables", "PNG": "PNG by a better encoder"}.get(form, "PNG")
            yield Found(
                f"{len(files):,} {form} files (/{worst} is one) would be {share:.0%} smaller as {codec}: "
                f"estimated on {len(tried):,} of them",
                worst,
                saved,
            )


def static(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Found]]:
    """Static programs of several images that have much in common, by the texts in them."""
    programs: dict[bytes, tuple[int, str, Subject, list[int]]] = {}
    for subject in subjects:
        for path, sketch in _with(subject, "kin"):
            placed = subject.stack.files[path]
            if subject.stack.traits(path).get("elf", {}).get("static") and placed.inode is not None:
                file = placed.inode.file
                programs.setdefault(file.digest, (file.size, path, subject, sketch))
    ranked = sorted(programs.values(), key=lambda one: (-one[0], one[2].name, one[1]))
    while len(ranked) > 1:
        size, path, subject, sketch = ranked.pop(0)
        group, saved, rest = 1, 0, []
        for other in ranked:
            alike = kin.common(sketch, other[3])
            if alike < 0.2:
                rest.append(other)
                continue
            group += 1
            saved += min(other[0], int(alike / (1 + alike) * (size + other[0])))
        if group > 1 and saved >= 1 << 20:
            yield (
                subject,
                Found(
                    f"{group} static programs of these images (/{path} is one) have much the same inside: "
                    "shared libraries in a common layer would hold it once",
                    path,
                    saved,
                ),
            )
        ranked = rest


def _with(subject: Subject, trait: str) -> Iterator[tuple[str, Any]]:
    """Files about which something is known, each once for all its names."""
    for path, placed in subject.stack.files.items():
        if placed.file.kind is Kind.FILE and (found := subject.stack.traits(path).get(trait)) is not None:
            yield path, found
