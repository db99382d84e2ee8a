"""The configuration of an image: how it starts and what it says of itself (config.md, annotations.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from types import MappingProxyType

from ramekin.build.layers import MadeLayer
from ramekin.build.request import PLATFORMS, ImageRequest, bare_name, split_kind
from ramekin.closure.model import Hints, PackageFacts
from ramekin.errors import UsageError
from ramekin.image.oci import Config, History, Platform, RootFS, Runtime
from ramekin.image.running.container import PATH
from ramekin.sources.protocol import Package

LAYER_PACKAGES = "io.ramekin.layer.packages"
"""Annotation of a layer's descriptor: the packages in it, as `name=version`, separated by spaces."""


def platform(architecture: str) -> Platform:
    """The platform of a Debian architecture."""
    name, variant = PLATFORMS[architecture]
    return Platform(name, "linux", variant=variant)


def rfc3339(seconds: int) -> str:
    """A time in UTC, as the specification writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def program(requested: str, facts: Sequence[PackageFacts]) -> str | None:
    """The absolute path of the program named like the package `requested`, its own before others'."""
    own = [known for known in facts if known.name == requested]
    names = [f"{folder}/{requested}" for folder in ("usr/bin", "usr/sbin", "usr/games", "bin", "sbin")]
    for known in [*own, *(other for other in facts if other.name != requested)]:
        claimed = {path for path, _ in known.claimed()}
        for name in names:
            if name in claimed:
                return "/" + name
    return None


_SAYINGS = ("usr/share/doc/", "usr/share/lintian/", "usr/share/bug/")


def stands_for(
    name: str,
    facts: Sequence[PackageFacts],
    edges: Mapping[str, Sequence[str]],
    origins: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The package that starts an image of `name`: itself, or for a metapackage the one that it stands for.

    A metapackage has no files and no recipe. Of what it depends on it stands for the only one with a recipe
    that says how to start, else the only one of its own source package, else the only one there is; and so
    on. Where that is not one, it stands for nothing else. `edges` and `origins` give for a package's name
    those of its dependencies and of its source package.
    """
    by_name = {known.name: known for known in facts}
    seen = {name}
    while (known := by_name.get(name)) is not None:
        if known.hints != Hints() or any(not path.startswith(_SAYINGS) for path, _ in known.claimed()):
            break
        needed = [other for other in dict.fromkeys(edges.get(name, ())) if other in by_name]
        choices = (
            [other for other in needed if by_name[other].hints.entrypoint or by_name[other].hints.cmd],
            [other for other in needed if origins.get(other) == origins.get(name, "")],
            needed,
        )
        found = next((choice[0] for choice in choices if len(choice) == 1), name)
        if found in seen:
            break
        seen.add(found)
        name = found
    return name


@dataclass(frozen=True, slots=True)
class Start:
    """How an image of store paths starts: its program (an absolute path), and variables that it needs.

    `paths` are the base names of the store paths that were asked for.
    """

    program: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounts:
    """The texts of an image's /etc/passwd and /etc/group."""

    passwd: str
    group: str

    def numbers(self, user: str) -> str:
        """`user` (`NAME`, `UID`, either with `:GROUP`) with names replaced by their numbers.

        Orchestrators can check only numbers to be other than root. `UsageError` when a name is not known.
        """
        name, colon, group = user.partition(":")
        uid, own = (name, "") if name.isdecimal() else self._find(name, "user", self.passwd)
        gid = group if not colon or group.isdecimal() else self._find(group, "group", self.group)[0]
        return ":".join(filter(None, (uid, gid or own)))

    def _find(self, name: str, what: str, text: str) -> tuple[str, str]:
        known = {fields[0]: (fields[2], fields[3]) for fields in map(_fields, text.splitlines())}
        if name not in known:
            near = get_close_matches(name, known, 3)
            raise UsageError(
                f"the image has no {what} {name!r}",
                hint=f"did you mean {', '.join(near)}?" if near else "use a number, or nonroot (65532)",
            )
        return known[name]


def _fields(line: str) -> list[str]:
    return [*line.split(":"), "", "", "", ""]


def runtime(
    request: ImageRequest,
    hints: Hints,
    facts: Sequence[PackageFacts],
    *,
    accounts: Accounts | None,
    started: str | None = None,
    leading: str = "",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Runtime:
    """How a container is started: what the request says, else a recipe, else the first package's program.

    `started` is that program, if it is known already, `leading` the package that the first one stands for,
    `environment` what the image's files ask for.
    """
    entrypoint, cmd = request.entrypoint, request.cmd
    if entrypoint is None:
        if hints.entrypoint or hints.cmd:
            entrypoint = hints.entrypoint
            cmd = hints.cmd if cmd is None else cmd
        else:
            found = started or program(bare_name(request.packages[0]), facts)
            if found is None and leading:
                found = program(leading, facts)
            entrypoint = (found,) if found else ()
    env = {"PATH": PATH, **environment}
    env.update(item.partition("=")[::2] for item in hints.env)
    env.update(request.env)
    user = request.user or hints.user
    return Runtime(
        user=accounts.numbers(user) if user and accounts is not None else user,
        exposed_ports=_set((*hints.ports, *request.expose)),
        env=tuple(f"{name}={value}" for name, value in env.items()),
        entrypoint=entrypoint or None,
        cmd=cmd or None,
        volumes=_set((*hints.volumes, *request.volumes)),
        working_dir=request.workdir or hints.workdir,
        labels={},
        stop_signal=hints.stop_signal,
    )


def _set(items: Sequence[str]) -> dict[str, dict[str, str]] | None:
    return {item: {} for item in sorted(set(items))} or None


def labels(
    request: ImageRequest, packages: Sequence[Package], *, created: int, paths: Sequence[str] = ()
) -> dict[str, str]:
    """Labels of the configuration, which are the annotations of the manifest too.

    The image's version is that of the first package asked for. `paths` are the base names of the store paths
    that were asked for.
    """
    texts = [text for text in request.packages if (split_kind(text)[0] or request.kind) != "nix"]
    names = {*map(bare_name, texts), *paths}
    asked = [package for package in packages if package.name in names]
    leading = bare_name(texts[0]) if texts and texts[0] == request.packages[0] else next(iter(paths), "")
    first = next((p for p in asked if p.name == leading), None)
    said = {
        "org.opencontainers.image.created": rfc3339(created),
        "org.opencontainers.image.title": request.name,
        # wherever store paths come from, they are the same
        "io.ramekin.source": request.source if request.kind != "nix" else "nix",
        "io.ramekin.requested": " ".join(f"{package.name}={package.version}" for package in asked),
        "io.ramekin.source-packages": " ".join(sorted({f"{p.origin}={p.origin_version}" for p in packages})),
    }
    if first is not None:
        said["org.opencontainers.image.version"] = first.version
        if first.description:
            said["org.opencontainers.image.description"] = first.description
    said.update(request.labels)
    return dict(sorted(said.items()))


def history(layer: MadeLayer, packages: Sequence[Package], *, created: int) -> History:
    """The line of a layer: its packages, each with the source package that it was built from."""
    lines = [
        p.location if p.kind == "nix" else f"{p.name} {p.version} (source: {p.origin} {p.origin_version})"
        for p in packages
    ]
    return History(created=rfc3339(created), created_by="ramekin: " + (", ".join(lines) or layer.name))


def config(
    architecture: str,
    layers: Sequence[MadeLayer],
    started: Runtime,
    packages_of: Sequence[Sequence[Package]],
    *,
    created: int,
) -> Config:
    """The whole configuration; `packages_of` gives the packages of each layer."""
    where = platform(architecture)
    return Config(
        created=rfc3339(created),
        architecture=where.architecture,
        variant=where.variant,
        os=where.os,
        config=started,
        rootfs=RootFS("layers", tuple(layer.diff_id for layer in layers)),
        history=tuple(
            history(layer, packages, created=created)
            for layer, packages in zip(layers, packages_of, strict=True)
        ),
    )
