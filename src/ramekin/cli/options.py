"""Options that several commands have, and those of `build` as `Choices`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Group, Parameter

from ramekin.build import fields, request
from ramekin.build.request import Choices, NixChoices
from ramekin.cli.working import WORK
from ramekin.cli.working import JobsOption as JobsOption
from ramekin.cli.working import JsonOption as JsonOption
from ramekin.cli.working import PlainHttpOption as PlainHttpOption
from ramekin.cli.working import StoreOption as StoreOption
from ramekin.cli.working import jobs as jobs
from ramekin.cli.working import open_store as open_store

_RESULT = Group("Where it goes", sort_key=1)
_INSIDE = Group("What is inside", sort_key=2)
_START = Group("How it starts", sort_key=3)
_NIX = Group("Store paths of Nix", sort_key=4)

RefreshOption = Annotated[
    bool,
    Parameter(name="--refresh", group=WORK, help="Ask the mirrors for news even if that was done just now."),
]
SourceOption = Annotated[
    str | None,
    Parameter(
        name=["--source", "-s"],
        group=_INSIDE,
        help="Where packages come from, as in debian:bookworm or nix:CACHE. Default: the machine's suite.",
    ),
]
ArchOption = Annotated[
    list[str],
    Parameter(
        name=["--arch", "-a"],
        group=_INSIDE,
        help="Architectures, as in amd64,arm64. Default: this machine's own.",
    ),
]

NixCacheOption = Annotated[
    list[str],
    Parameter(
        name="--nix-cache",
        group=_NIX,
        help="A binary cache: a URL or a folder. Default: those of nix.conf.",
    ),
]
NixKeyOption = Annotated[
    list[str],
    Parameter(
        name="--nix-key",
        group=_NIX,
        help="A public key of caches that is believed, as NAME:KEY. Default: those of nix.conf.",
    ),
]
NixChannelOption = Annotated[
    str | None,
    Parameter(
        name="--nix-channel",
        group=_NIX,
        help="What names store paths: the URL or folder with store-paths.xz and packages.json.br.",
    ),
]

Value = TypeVar("Value")
Read = TypeVar("Read")


def _option(
    name: str | list[str],
    group: Group,
    text: str,
    *,
    metavar: str | None = None,
    negative: str | tuple[()] = (),
) -> Parameter:
    return Parameter(
        name=name,
        group=group,
        help=text,
        metavar=(metavar or "").replace("[", r"\[") or None,
        negative=negative,
    )


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """The options of `ramekin build` that say what an image shall be; each has its key in a spec."""

    output: Annotated[
        str | None,
        _option(
            ["--output", "-o"],
            _RESULT,
            "Where the image goes: oci:DIR, oci-archive:FILE, docker-archive:FILE, docker://HOST/REPO[:TAG], "
            "dir:DIR or rootfs:DIR; {name} stands for the image's name. Default: oci:./NAME.",
            metavar="TARGET",
        ),
    ] = None
    tag: Annotated[
        str | None, _option(["--tag", "-t"], _RESULT, "The image's name and tag.", metavar="NAME[:TAG]")
    ] = None
    source: SourceOption = None
    arch: ArchOption = ()  # type: ignore[assignment]
    keep: Annotated[
        list[str],
        _option(
            "--keep",
            _INSIDE,
            "A slice to keep that is left out by default (docs), or a package or path that evidence misses.",
            metavar="SLICE|PACKAGE|PATH",
        ),
    ] = ()  # type: ignore[assignment]
    drop: Annotated[
        list[str],
        _option(
            "--drop",
            _INSIDE,
            "A slice to leave out that is kept by default, or a package or path.",
            metavar="SLICE|PACKAGE|PATH",
        ),
    ] = ()  # type: ignore[assignment]
    leave_out: Annotated[
        list[str],
        _option("--leave-out", _INSIDE, "An essential to leave out, as in tzdata.", metavar="NAME"),
    ] = ()  # type: ignore[assignment]
    recommends: Annotated[
        bool | None,
        _option("--recommends", _INSIDE, "Take recommended packages too.", negative="--no-recommends"),
    ] = None
    closure: Annotated[
        str | None,
        _option(
            "--closure",
            _INSIDE,
            "What of the dependencies is followed: packages or files with evidence for it, or all that "
            f"are declared (depends). Default: {fields.CLOSURES[0]}.",
            metavar="|".join(fields.CLOSURES),
        ),
    ] = None
    strict: Annotated[
        bool | None,
        _option(
            "--strict",
            _INSIDE,
            "Fail where a maintainer script does something that no recipe covers.",
            negative="--no-strict",
        ),
    ] = None
    nix_cache: NixCacheOption = ()  # type: ignore[assignment]
    nix_key: NixKeyOption = ()  # type: ignore[assignment]
    nix_channel: NixChannelOption = None
    nix_essentials: Annotated[
        str | None,
        _option(
            "--nix-essentials",
            _NIX,
            "Whose CA certificates and time zones an image of store paths has: nobody's (own), or those of "
            "the packages of nixpkgs or debian. Default: own.",
            metavar="|".join(fields.ESSENTIALS_OF_NIX),
        ),
    ] = None
    nix_links: Annotated[
        bool | None,
        _option(
            "--nix-links",
            _NIX,
            "Link what was asked for from /bin and the like. Default: yes.",
            negative="--no-nix-links",
        ),
    ] = None
    nix_database: Annotated[
        bool | None,
        _option(
            "--nix-database",
            _NIX,
            "Tell Nix within the image what is in its store.",
            negative="--no-nix-database",
        ),
    ] = None
    entrypoint: Annotated[
        str | None,
        _option(
            "--entrypoint",
            _START,
            "The program and its first arguments, split as a shell would; '' for none. "
            "Default: the recipe's, else the program named like the first package.",
            metavar="COMMAND",
        ),
    ] = None
    cmd: Annotated[
        str | None,
        _option("--cmd", _START, "Arguments that whoever runs the image can replace.", metavar="ARGUMENTS"),
    ] = None
    env: Annotated[
        list[str], _option(["--env", "-e"], _START, "An environment variable.", metavar="NAME=VALUE")
    ] = ()  # type: ignore[assignment]
    user: Annotated[
        str | None,
        _option(["--user", "-u"], _START, "The user that the program runs as.", metavar="NAME|UID[:GROUP]"),
    ] = None
    workdir: Annotated[
        str | None,
        _option(["--workdir", "-w"], _START, "The folder that the program starts in.", metavar="DIR"),
    ] = None
    expose: Annotated[
        list[str],
        _option("--expose", _START, "A port that the program listens on.", metavar="PORT[/PROTOCOL]"),
    ] = ()  # type: ignore[assignment]
    volume: Annotated[
        list[str],
        _option("--volume", _START, "A folder whose content outlives a container.", metavar="DIR"),
    ] = ()  # type: ignore[assignment]
    label: Annotated[
        list[str], _option(["--label", "-l"], _START, "A label of the image.", metavar="NAME=VALUE")
    ] = ()  # type: ignore[assignment]
    compress: Annotated[
        str | None,
        _option(
            "--compress",
            _RESULT,
            "Compression of layers. Default: gzip.",
            metavar="gzip|zstd|none[:LEVEL]",
        ),
    ] = None
    layers: Annotated[
        int | None,
        _option(
            "--layers",
            _RESULT,
            f"The most layers that the image may have. Default: {request.LAYERS}.",
            metavar="N",
        ),
    ] = None
    sbom: Annotated[
        str | None,
        _option(
            "--sbom",
            _RESULT,
            f"Attach a bill of materials. Without a format: {fields.SBOM_FORMATS[0]}.",
            metavar=f"[{'|'.join(fields.SBOM_FORMATS)}]",
        ),
    ] = None

    def choices(self) -> Choices:
        """What these options say; `UsageError` names the option at fault."""
        return Choices(
            source=_if(self.source, lambda text: source(text)),
            architectures=request.architectures(self.arch),
            compression=_if(self.compress, lambda text: fields.compression(text, where="--compress")),
            keep=fields.commas(self.keep),
            drop=fields.commas(self.drop),
            leave_out=fields.commas(self.leave_out),
            entrypoint=_if(self.entrypoint, lambda text: fields.words(text, where="--entrypoint")),
            cmd=_if(self.cmd, lambda text: fields.words(text, where="--cmd")),
            env=_pairs(self.env, fields.variable, "--env"),
            user=_if(self.user, lambda text: fields.user(text, where="--user")),
            workdir=_if(self.workdir, lambda text: fields.folder(text, where="--workdir")),
            expose=tuple(fields.port(text, where="--expose") for text in self.expose),
            volumes=tuple(fields.folder(text, where="--volume") for text in self.volume),
            labels=_pairs(self.label, fields.label, "--label"),
            tag=_if(self.tag, lambda text: fields.tag(text, where="--tag")),
            target=self.output,
            sbom=_if(self.sbom, lambda text: fields.sbom(text, where="--sbom")),
            strict=self.strict,
            recommends=self.recommends,
            closure=_if(self.closure, lambda text: fields.closure(text, where="--closure")),
            layers=_if(self.layers, lambda number: fields.layers(number, where="--layers")),
            nix=self._nix(),
        )

    def _nix(self) -> NixChoices | None:
        said = nix_choices(self.nix_cache, self.nix_key, self.nix_channel)
        essentials = _if(
            self.nix_essentials, lambda text: fields.essentials_of_nix(text, where="--nix-essentials")
        )
        said = replace(said, essentials=essentials, links=self.nix_links, database=self.nix_database)
        return said if said != NixChoices() else None


def source(text: str) -> str:
    """The source that `--source` names."""
    return fields.source_in(fields.source(text, where="--source"), Path.cwd())


def nix_choices(caches: Iterable[str], keys: Iterable[str], channel: str | None) -> NixChoices:
    """What the options say of where store paths come from."""
    return NixChoices(
        caches=tuple(fields.place(cache, Path.cwd()) for cache in caches),
        trusted_keys=tuple(fields.trusted_key(key, where="--nix-key") for key in keys),
        channel=None if channel is None else fields.place(channel, Path.cwd()),
    )


def _if(value: Value | None, read: Callable[[Value], Read]) -> Read | None:
    return None if value is None else read(value)


def _pairs(
    texts: Iterable[str], check: Callable[..., tuple[str, str]], where: str
) -> tuple[tuple[str, str], ...]:
    found = dict(check(*fields.pair(text, where=where), where=where) for text in texts)
    return tuple(sorted(found.items()))
