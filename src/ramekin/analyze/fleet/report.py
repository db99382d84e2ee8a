"""A fleet judged: every figure as one value, of manifests alone or of all files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ramekin.analyze.fleet import bases as base_room
from ramekin.analyze.fleet import contents, sharing, whatif
from ramekin.analyze.fleet.bases import Bases, Identity
from ramekin.analyze.fleet.contents import ByFile, ByPackage, Memory
from ramekin.analyze.fleet.sharing import Figures, Payer, SharedLayer
from ramekin.analyze.fleet.whatif import Rates, Scenario
from ramekin.analyze.model import Outline, ReadImage
from ramekin.analyze.owners import owners
from ramekin.analyze.stack import Stack, stack


@dataclass(frozen=True)
class Fleet:
    """What is known of images together. `deep` says that their files were read; `contents` are None if not,
    and `disk` figures then are in stored bytes. `matrix` has stored bytes that two images share, in the order
    of `names`: images on one base stand together.
    """

    deep: bool
    names: tuple[str, ...]
    figures: Figures
    payers: tuple[Payer, ...]
    shared: tuple[SharedLayer, ...]
    matrix: tuple[tuple[int, ...], ...]
    bases: Bases
    scenarios: tuple[Scenario, ...]
    rates: Rates
    packages: ByPackage | None = None
    files: ByFile | None = None
    memory: Memory | None = None
    skipped: tuple[str, ...] = ()


def shallow(outlines: Sequence[Outline], rates: Rates = Rates(), skipped: Sequence[str] = ()) -> Fleet:  # noqa: B008
    """The figures that manifests and configs give."""
    members = [sharing.member(one) for one in outlines]
    identities = [base_room.identity_of_outline(one) for one in outlines]
    found = base_room.find(members, outlines, identities)
    return _fleet(members, outlines, found, rates, skipped)


def deep(images: Sequence[ReadImage], rates: Rates = Rates(), skipped: Sequence[str] = ()) -> Fleet:  # noqa: B008
    """The figures of all files."""
    outlines = [image.outline for image in images]
    members = [sharing.member(image.outline, tuple(layer.size for layer in image.layers)) for image in images]
    # the files of two tags of one image are the same; no more than one image's are held at once
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, image in enumerate(images):
        alike.setdefault(tuple(layer.digest for layer in image.layers), []).append(number)
    bundles: list[tuple[contents.Bundle, ...]] = [()] * len(images)
    identities = [base_room.identity_of_outline(one) for one in outlines]
    mappings = [contents.Mapping(one.name, None) for one in members]
    for numbers in alike.values():
        image = images[numbers[0]]
        merged = stack(image)
        own = contents.bundles(image, merged, owners(merged))
        for number in numbers:
            bundles[number] = own
            identities[number] = _identity(merged, outlines[number])
            mappings[number] = contents.mapping(images[number], merged, members[number])
    files = {
        str(diff_id): {f"{file.path}\0{file.digest.hex()}": file.size for file in layer.files if file.size}
        for image in images
        for diff_id, layer in zip(image.outline.diff_ids, image.layers, strict=True)
    }
    found = base_room.find(members, outlines, identities, files)
    laid_out = whatif.by_package(members, bundles, rates)
    return _fleet(
        members,
        outlines,
        found,
        rates,
        skipped,
        laid_out=laid_out,
        packages=contents.by_package(bundles),
        files=contents.by_file(images),
        memory=contents.memory(mappings),
    )


def _identity(merged: Stack, outline: Outline) -> Identity:
    for path in ("etc/os-release", "usr/lib/os-release"):
        if (release := merged.kept(path)) is not None:
            found = base_room.identity_of_release(release)
            if found.distribution:
                return found
    return base_room.identity_of_outline(outline)


def _fleet(
    members: Sequence[sharing.Member],
    outlines: Sequence[Outline],
    found: Bases,
    rates: Rates,
    skipped: Sequence[str],
    *,
    laid_out: Scenario | None = None,
    packages: ByPackage | None = None,
    files: ByFile | None = None,
    memory: Memory | None = None,
) -> Fleet:
    made_by = {
        str(layer.digest): command
        for one in outlines
        for layer, command in zip(one.layers, one.commands, strict=True)
        if command
    }
    order = {base.key: number for number, base in enumerate(found.bases)}
    placed = sorted(members, key=lambda one: (order.get(found.of[one.name], len(order)), one.name))
    scenarios = (
        whatif.as_is(members, found, rates),
        whatif.one_build(members, found, rates),
        whatif.one_base(members, found, rates),
        laid_out,
    )
    return Fleet(
        deep=files is not None,
        names=tuple(one.name for one in placed),
        figures=sharing.figures(members),
        payers=sharing.payers(members),
        shared=sharing.shared_layers(members, made_by),
        matrix=sharing.matrix(placed),
        bases=found,
        scenarios=tuple(one for one in scenarios if one is not None),
        rates=rates,
        packages=packages,
        files=files,
        memory=memory,
        skipped=tuple(skipped),
    )
