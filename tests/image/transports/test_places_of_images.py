"""Which places an image that is written would take from the one that it was made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import samples

from ramekin.image import transports
from ramekin.image.reference import parse
from ramekin.store.store import Store


@pytest.mark.parametrize(
    ("source", "target", "replaced"),
    [
        ("oci:web", "oci:web", True),
        ("oci:web", "oci:./x/../web:1", True),
        ("oci:web:1", "oci:web", True),
        ("oci:web", "oci:web:slim", False),
        ("oci:web:1", "oci:web:same", False),
        ("oci:web", "oci:other", False),
        ("oci:web", "oci-archive:web", False),
        ("oci-archive:web.tar:1", "oci-archive:web.tar:2", True),
        ("dir:web", "dir:other", False),
        ("docker://h:1/web", "docker://h:1/web:latest", True),
        ("docker://h:1/web:1", "docker://h:1/web:2", False),
        ("docker://h:1/web@sha256:" + "0" * 64, "docker://h:1/web", False),
    ],
)
def test_what_is_written_there_takes_the_images_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, replaced: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    image = samples.image(Store.at(tmp_path / "store"), [samples.BASE])
    transports.write(image, parse("oci:web:1"))
    with transports.read(parse("oci:web:1")) as read:
        assert transports.replaces(read, parse(source), parse(target)) is replaced


def test_an_image_named_by_its_digest_has_the_tag_that_its_layout_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = samples.image(Store.at(tmp_path / "store"), [samples.BASE])
    transports.write(image, parse("oci:web:1"))
    source = replace(parse("oci:web"), digest=image.root.digest)
    with transports.read(source) as read:
        assert transports.replaces(read, source, parse("oci:web:1"))
        assert not transports.replaces(read, source, parse("oci:web:2"))
