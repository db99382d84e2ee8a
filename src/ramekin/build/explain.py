"""Why an image holds what it holds: a small JSON artifact beside the image, and answers from it.

The manifest names the artifact's blob in an annotation; the artifact's own manifest refers to the image, so
that registries give it as a referrer (distribution-spec, Listing Referrers).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import msgspec

from ramekin.build.closures import ESSENTIALS, Closed
from ramekin.build.configure import LAYER_PACKAGES
from ramekin.closure import slices, storepaths, why
from ramekin.closure.follow import Followed, Step
from ramekin.closure.model import SliceChoice, SliceTally
from ramekin.errors import FormatError, NotFoundError
from ramekin.image import tar
from ramekin.image.compress import decompress
from ramekin.image.image import Image
from ramekin.image.oci import Descriptor
from ramekin.image.tree import Tree
from ramekin.sources.protocol import Reason, Resolution

MEDIA_TYPE = "application/vnd.ramekin.explanation.v1+json"

ANNOTATION = "io.ramekin.explanation"
"""Annotation of a manifest: the digest of the explanation's JSON."""


class Sliced(msgspec.Struct, frozen=True, array_like=True):
    """What slices took out of one package."""

    package: str
    dropped: tuple[SliceTally, ...]


class Declared(msgspec.Struct, frozen=True, array_like=True):
    """A package that is there because `by` (empty: the user) declares `relation`."""

    package: str
    by: str
    relation: str


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that `ramekin why` needs to know of an image.

    `followed` is the evidence, None where all dependencies were followed; `declared` then says who asked.
    `keep` and `drop` are where the request differs from the default slices.
    """

    version: int
    followed: Followed | None = None
    declared: tuple[Declared, ...] = ()
    sliced: tuple[Sliced, ...] = ()
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(Explanation)


def make(closed: Closed, resolution: Resolution, choice: SliceChoice) -> Explanation:
    """The explanation of a closure."""
    nobody = Reason("", "")
    declared = [
        Declared(package.name, *_reason(resolution.reasons.get(package.name, nobody)))
        for package in (() if closed.followed else closed.packages)
    ]
    return Explanation(
        version=1,
        followed=closed.followed,
        declared=tuple(declared),
        sliced=tuple(Sliced(known.name, known.dropped) for known in closed.facts if known.dropped),
        keep=tuple(sorted(choice.keep)),
        drop=tuple(sorted(choice.drop)),
    )


def _reason(reason: Reason) -> tuple[str, str]:
    return reason.by, reason.relation


def encode(explanation: Explanation) -> bytes:
    """The artifact's bytes: the same for equal explanations."""
    return msgspec.json.encode(explanation)


def of(image: Image) -> Explanation:
    """The explanation that goes with an image (no index); `NotFoundError` when it has none."""
    name = image.name or image.root.digest
    digest = image.manifest().annotations.get(ANNOTATION)
    hint = (
        "images that Ramekin built explain themselves in oci:, oci-archive: and docker://; copies to other "
        "transports leave the explanation behind"
    )
    if digest is None:
        raise NotFoundError(f"{name} brings no explanation", hint=hint)
    for referrer in image.referrers:
        if referrer.artifact_type in ("", MEDIA_TYPE):
            blob = next((b for b in image.manifest(referrer).layers if b.digest == digest), None)
            if blob is not None:
                return _decode(image, blob)
    raise NotFoundError(f"the explanation of {name} is not where the image is", hint=hint)


def _decode(image: Image, blob: Descriptor) -> Explanation:
    try:
        return _DECODER.decode(image.document(blob))
    except msgspec.DecodeError as error:
        raise FormatError(f"the explanation {blob.digest} cannot be read: {error}") from None


def answer(explanation: Explanation, target: str, image: Image, *, spool: Path) -> tuple[str, ...]:
    """Why a package (a name) or a file (an absolute path) is in `image`, or why it is not, a step a line.

    Layers are looked through (with temporary files in `spool`) where the explanation does not know whose a
    file is. `NotFoundError` when the image never had to do with the target.
    """
    target = _store_path(explanation, target)
    lines = _chain(explanation, target)
    if not lines and target.startswith("/"):
        lines = _of_file(explanation, target, image, spool) or tuple(_by_slice(explanation, target))
    elif not lines and "/" not in target:
        # the name of a program, where it is not that of a package
        programs = (f"/usr/{folder}/{target}" for folder in ("bin", "sbin", "games"))
        lines = next(
            (found for path in programs if (found := _of_file(explanation, path, image, spool))), lines
        )
    if lines:
        return lines
    near = get_close_matches(target, sorted(_names(explanation)), 3)
    raise NotFoundError(
        f"{target} has nothing to do with this image",
        hint=f"did you mean {', '.join(near)}?" if near else "name a package, or a file by its whole path",
    )


def _of_file(explanation: Explanation, path: str, image: Image, spool: Path) -> tuple[str, ...]:
    """Why a file is in the image by its package; empty when it is not there."""
    if lines := _chain(explanation, path):
        return lines
    found, owners = owner(image, path, spool=spool)
    lines = ()
    for name in owners:
        lines += (*_chain(explanation, name), f"{name} → {path} is a file of {name}")
    if not owners and (linked := _link(image, path, spool)):
        name = storepaths.owner(linked.lstrip("/"))
        chain = _chain(explanation, linked) or _chain(explanation, name)
        return (*chain, f"{name} → {path} is a link to {linked}") if chain else ()
    if found and not owners:
        return (f"{path} is made for the image by its recipes and essentials",)
    return lines


def _store_path(explanation: Explanation, target: str) -> str:
    """The name of the store path that `target` is a path or a shorter name of, else `target` itself.

    `NotFoundError` when it is short for several.
    """
    inside = target.lstrip("/")
    if inside.startswith(storepaths.STORE):
        base = storepaths.owner(inside)
        return base if inside == storepaths.STORE + base else target
    names = dict.fromkeys(_names(explanation))
    if "/" in target or target in names:
        return target
    titles = {name: storepaths.title(name) for name in names if storepaths.is_base(name)}
    # its name; its name and a version; those and an output
    for ending in ("", r"-[0-9][^-]*", r"-[0-9].*"):
        pattern = re.compile(re.escape(target) + ending, re.DOTALL)
        if found := [name for name, title in titles.items() if pattern.fullmatch(title)]:
            break
    else:
        return target
    if len(found) > 1:
        raise NotFoundError(f"{target} may be any of {', '.join(sorted(found))}", hint="name one of them")
    return found[0]


def _link(image: Image, path: str, spool: Path) -> str:
    """Where a path leads in the store of Nix by a link of the image's own, or ""."""
    for layer in reversed(image.manifest().layers):
        if LAYER_PACKAGES not in layer.annotations:
            entries = _entries(image, layer, spool)
            above, rest = path.lstrip("/"), ""
            while above:
                entry = entries.get(above)
                if entry is not None and entry.target.startswith("/" + storepaths.STORE):
                    return entry.target + rest
                above, slash, last = above.rpartition("/")
                rest = slash + last + rest
    return ""


def owner(image: Image, path: str, *, spool: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether an image (no index) holds a file, and the packages of the uppermost layer that brings it.

    Where several packages share that layer, those whose lists of files name it.
    """
    name = path.lstrip("/")
    places = {name, f"usr/{name}"}
    for layer in reversed(image.manifest().layers):
        packages = [item.partition("=")[0] for item in layer.annotations.get(LAYER_PACKAGES, "").split()]
        entries = _entries(image, layer, spool)
        if places & entries.keys():
            if (base := storepaths.owner(name)) in packages:
                return True, (base,)
            listing = [package for package in packages if _lists(entries, package, name)]
            return True, tuple(listing or packages)
    return False, ()


def _entries(image: Image, layer: Descriptor, spool: Path) -> Tree:
    """All that is in a layer; only lists of checksums with what is in them."""
    with (
        image.blobs.open(layer) as raw,
        decompress(raw, where=f"layer {layer.digest}") as plain,
    ):
        return tar.read_tree(
            plain,
            where=f"layer {layer.digest}",
            spool=spool,
            keep=lambda member: member.endswith(".md5sums"),
            closed=False,
        )


def _lists(entries: Tree, package: str, name: str) -> bool:
    listed = entries.get(f"var/lib/dpkg/status.d/{package}.md5sums")
    lines = listed.read().decode(errors="surrogateescape").splitlines() if listed is not None else []
    return any(line.endswith((f"  {name}", f"  {name.removeprefix('usr/')}")) for line in lines)


def _chain(explanation: Explanation, target: str) -> tuple[str, ...]:
    if explanation.followed is not None:
        return why.chain(explanation.followed, target)
    return tuple(_chain_of_relations(explanation, target))


def dropped(explanation: Explanation) -> tuple[tuple[str, int, str], ...]:
    """All that was left out: packages, files, and what slices took of each package; largest first."""
    found = list(why.dropped(explanation.followed)) if explanation.followed is not None else []
    for sliced in explanation.sliced:
        found += [
            (sliced.package, tally.size, f"the slice {tally.name}, {tally.count} files")
            for tally in sliced.dropped
        ]
    return tuple(sorted(found, key=lambda item: (-item[1], item[0], item[2])))


def graph(explanation: Explanation, form: str) -> str:
    """The graph of packages as `dot` or `svg`; `NotFoundError` where no evidence was followed."""
    if explanation.followed is None:
        raise NotFoundError(
            "this image follows all dependencies: there is no evidence to draw",
            hint="build it by `--closure packages`",
        )
    followed = titled(explanation.followed)
    return why.svg(followed) if form == "svg" else why.dot(followed)


def titled(followed: Followed) -> Followed:
    """The same for people to look at: store paths are called by their names, where those tell them apart."""
    count = Counter(storepaths.title(package.name) for package in followed.kept)
    names = {
        package.name: title
        for package in followed.kept
        if storepaths.is_base(package.name) and count[title := storepaths.title(package.name)] == 1
    }
    if not names:
        return followed

    def renamed(step: Step | None) -> Step | None:
        if step is None:
            return None
        package, provider = (names.get(name, name) for name in (step.package, step.provider))
        return msgspec.structs.replace(step, package=package, provider=provider)

    return msgspec.structs.replace(
        followed,
        kept=tuple(
            msgspec.structs.replace(
                package, name=names.get(package.name, package.name), because=renamed(package.because)
            )
            for package in followed.kept
        ),
        edges=tuple(step for edge in followed.edges if (step := renamed(edge)) is not None),
    )


def _names(explanation: Explanation) -> Iterator[str]:
    yield from (declared.package for declared in explanation.declared)
    if explanation.followed is not None:
        yield from (package.name for package in explanation.followed.kept)
        yield from (package.name for package in explanation.followed.dropped)


def _chain_of_relations(explanation: Explanation, target: str) -> Sequence[str]:
    declared = {item.package: item for item in explanation.declared}
    steps: list[str] = []
    while (item := declared.pop(target, None)) is not None:
        if not item.by:
            always = item.relation == ESSENTIALS
            steps.append(f"{item.package}: {'stands in every image' if always else 'asked for'}")
            break
        if storepaths.is_base(item.package):
            steps.append(f"{item.by} refers to {item.package}")
        else:
            steps.append(f"{item.by} declares that it needs {item.relation} → {item.package}")
        target = item.by
    return steps[::-1]


def _by_slice(explanation: Explanation, path: str) -> Iterator[str]:
    choice = SliceChoice(frozenset(explanation.keep), frozenset(explanation.drop))
    name = slices.matcher(choice).slice_of(path.lstrip("/"))
    if name is not None:
        yield f"{path} is in no image with the slice {name} left out: {slices.rules()[name].reason}"
        yield f"`--keep {name}` keeps it"
