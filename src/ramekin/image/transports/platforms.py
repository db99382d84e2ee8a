"""Which image of an index a place gets that can hold only one."""

from __future__ import annotations

import os

from ramekin.errors import NotFoundError
from ramekin.image.image import Image
from ramekin.image.oci import Platform

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "mips64": ("mips64le", ""),
    "loongarch64": ("loong64", ""),
}
"""GOARCH and GOARM, which image-spec takes for its platforms, by uname's machine."""


ATTESTED = "vnd.docker.reference.digest"
"""Says in an index of BuildKit's which image an entry attests something of; it is no image itself."""


def this_machine() -> Platform:
    """The platform of the machine that this runs on."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(architecture=architecture, os="linux", variant=variant)


def single(image: Image, platform: Platform | None) -> Image:
    """`image` itself or, of an index, its image for `platform` (default: this machine's).

    An index that holds one image only needs no choice. `NotFoundError` names what there is.
    """
    if not image.is_index:
        return image
    if platform is None:
        entries = [entry for entry in image.manifests() if ATTESTED not in entry.annotations]
        if len(entries) == 1:
            return Image(entries[0], image.blobs, image.name, image.referrers)
    try:
        return image.choose(platform or this_machine())
    except NotFoundError as error:
        raise NotFoundError(error.message, hint="choose one with --arch") from None
