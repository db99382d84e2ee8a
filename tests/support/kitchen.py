"""A tiny Debian archive with something of everything that decides an image's bytes.

    kitchen = Kitchen.open(tmp_path, SigningKey.generate())
    ramekin("build", "gratin", "-o", …, env=kitchen.env)

Its packages are equal bytes on any machine: they are not compressed, so no library's version tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.archive import Archive, Deb, SigningKey, Suite

from ramekin.image.tree import Entry, Kind, directory, file, symlink

SUITE = "bookworm"


def prose(words: int, seed: int) -> bytes:
    """Bytes that compress as text does, the same always."""
    state, out = seed, []
    for _ in range(words):
        state = (state * 1_103_515_245 + 12_345) % (1 << 31)
        out.append(b"onion potato cream thyme salt butter cheese nutmeg".split()[state >> 16 & 7])
    return b" ".join(out)


def packages() -> list[Deb]:
    """`gratin` and what it needs, `dash` (its shell) unsaid as of all Essential packages; `leek`, which it
    does not need; `stew`, which needs what nobody has; `souffle`, whose script does what nothing stands in
    for."""
    mtime = 1_700_000_000
    files: dict[str, Mapping[str, bytes | Entry]] = {
        "gratin": {
            "usr/bin/gratin": b"#!/bin/sh\n. /usr/share/potato/peel\n. /usr/share/cream/jug\necho gratin\n",
            "usr/bin/dauphinois": Entry(
                path="", kind=Kind.HARDLINK, mode=0o755, mtime=mtime, target="usr/bin/gratin"
            ),
            "usr/sbin/bake": file("", prose(20_000, 1), mode=0o4755, mtime=mtime),
            "etc/gratin.conf": b"cheese = yes\n",
            "usr/share/gratin/Grat\u00edn-\u0130": "caf\u00e9\n".encode(),
            f"usr/share/gratin/{'deep/' * 40}dish": b"far down\n",
            "usr/share/gratin/empty": directory("", mode=0o2775, mtime=mtime),
            "usr/share/gratin/link": symlink("", "../../../etc/gratin.conf", mtime=mtime),
            "usr/share/man/man1/gratin.1.gz": prose(200, 2),
            "usr/share/locale/fr/LC_MESSAGES/gratin.mo": prose(200, 3),
            "usr/share/doc/gratin/copyright": b"Copyright: none\n",
            "usr/share/doc/gratin/changelog.gz": prose(200, 4),
        },
        "potato": {
            "lib/potato/starch": prose(60_000, 5),
            "usr/share/potato/peel": prose(2_000, 6),
            "usr/share/doc/potato/copyright": b"Copyright: none\n",
        },
        "cream": {
            "usr/share/cream/jug": prose(30_000, 7),
            "usr/share/doc/cream/copyright": b"Copyright: none\n",
        },
        # Essential, so that nobody declares it
        "dash": {"usr/bin/dash": prose(5_000, 11), "usr/bin/sh": symlink("", "dash", mtime=mtime)},
        "leek": {"usr/share/leek/green": prose(50, 8)},
        "souffle": {"usr/share/souffle/oven": prose(50, 9)},
        "stew": {"usr/share/stew/pot": prose(50, 10)},
    }
    depends = {
        "gratin": "potato (>= 1.0), cream",
        "potato": "cream",
        "cream": "potato",
        "stew": "rabbit (>= 3)",
    }
    scripts = {"souffle": {"postinst": "#!/bin/sh\nset -e\nmount --bind /oven /usr/share/souffle\n"}}
    return [
        Deb(
            name,
            files=content,
            depends=depends.get(name, ""),
            scripts=scripts.get(name, {}),
            fields={"Essential": "yes"} if name == "dash" else {},
            compression="none",
            mtime=mtime,
        )
        for name, content in files.items()
    ]


@dataclass(frozen=True)
class Kitchen:
    """The archive, published, and the environment that points ramekin's Debian source to it."""

    archive: Archive
    folder: Path

    @classmethod
    def open(cls, folder: Path, key: SigningKey) -> Kitchen:
        archive = Archive(folder / "archive", key)
        archive.publish(Suite(SUITE, packages()))
        return cls(archive, folder)

    def env(self, uri: str | None = None, keyring: Path | None = None) -> dict[str, str]:
        """Variables for `ramekin`, with the archive at `uri` (default: its folder)."""
        apt = self.archive.configure(self.folder / "apt", uri=uri)
        if keyring is not None:
            entry = apt / "sources.list.d" / "test.sources"
            entry.write_text(entry.read_text().replace(str(self.archive.keyring), str(keyring)))
        settings = self.folder / "apt.conf"
        settings.write_text(f'Dir::Etc "{apt}";\n')
        return {"APT_CONFIG": str(settings)}
