"""The spec file `ramekin.yaml`: several images and what they have in common.

The models below are the file's one description: they check it, the JSON Schema is made from them, and their
values become `Choices`, the same that the command line's options become. This module imports pydantic, so it
is imported only where there is a file to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic import ValidationError as PydanticError

from ramekin import yaml_errors, yaml_source
from ramekin.build import fields, lock, request
from ramekin.build.request import Choices, ImageRequest, NixChoices
from ramekin.errors import RamekinError, UsageError
from ramekin.slim import settings as slimming
from ramekin.slim.probes import form
from ramekin.slim.settings import Settings
from ramekin.sources.mirror import Mirror
from ramekin.yaml_source import Document, Place

Read = TypeVar("Read")

_TEXT: dict[str, Any] = {"type": "string"}
_SCALAR: dict[str, Any] = {"type": ["string", "integer", "boolean"]}
_TEXTS: dict[str, Any] = {"anyOf": [{"type": "array", "items": {"type": ["string", "integer"]}}, _SCALAR]}


def _text(value: object) -> str:
    """The text of a scalar as it was written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        if "\0" in str(value):
            raise ValueError("a text has no NUL character")
        return str(value)
    if value is None:
        raise ValueError("there is no value; write '' for an empty text")
    raise ValueError("this is a text, not a list or mapping")


def _list(value: object) -> list[str]:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return [_text(value)]


def _reason(value: object) -> str:
    text = _text(value).strip()
    if not text:
        raise ValueError("a finding is ignored for a reason; say it")
    return text


def _said(read: Callable[[], Read]) -> Read:
    """Run one of the readers of `fields`, whose errors pydantic shall place."""
    try:
        return read()
    except UsageError as error:
        raise ValueError(yaml_errors.WITH_HINT.join(filter(None, (error.message, error.hint)))) from None


def _one(check: Callable[..., str]) -> BeforeValidator:
    return BeforeValidator(lambda value: _said(lambda: check(_text(value), where="")))


def _names(value: object) -> tuple[str, ...]:
    return fields.commas(_list(value))


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(item) for item in value)
    return _said(lambda: fields.words(_text(value), where=""))


def _mapping(value: object) -> dict[Any, Any]:
    """A mapping, or a list of `NAME=VALUE` as one."""
    if isinstance(value, dict):
        return value
    return dict(_said(lambda item=item: fields.pair(item, where="")) for item in _list(value))  # type: ignore[misc]


def _name(check: Callable[..., tuple[str, str]]) -> BeforeValidator:
    return BeforeValidator(lambda value: _said(lambda: check(_text(value), "", where=""))[0])


def _essentials(value: object) -> tuple[str, ...]:
    from ramekin.closure import essentials

    names = _names(value)
    _said(lambda: essentials.check(frozenset(names)))
    return names


def _reference(value: object) -> str:
    """A reference that an image can be written to, `{name}` in it left as it is."""
    from ramekin.image import reference

    text = _text(value)
    if text:
        _said(lambda: reference.parse(text.replace("{name}", "name")))
    return text


def _bill(value: object) -> str:
    if isinstance(value, bool):
        return fields.SBOM_FORMATS[0] if value else ""
    return _said(lambda: fields.sbom(_text(value), where=""))


def _schema(schema: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(schema)


_MAP: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "additionalProperties": _SCALAR},
        {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}},
    ]
}
_COMMAND: dict[str, Any] = {"anyOf": [_TEXT, {"type": "array", "items": _SCALAR}]}

Text = Annotated[str, BeforeValidator(_text), _schema(_TEXT)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names), _schema(_TEXTS)]
Command = Annotated[tuple[str, ...] | None, BeforeValidator(_words), _schema(_COMMAND)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        validate_default=False,
    )


class MirrorSpec(_Model):
    """A mirror to take packages from in place of those that the machine's apt uses."""

    uri: Annotated[str, _one(fields.mirror), _schema(_TEXT)] = Field(description="The mirror's address.")
    suites: Names = Field(
        default=(), description="Suites that it is asked for; the source's own when not said."
    )
    components: Names = Field(default=(), description="Components that it is asked for; all when not said.")
    signed_by: Text = Field(
        default="",
        description="The keyring for its indexes, relative to the spec; the machine's when not said.",
    )

    def mirror(self, folder: Path) -> Mirror:
        """The mirror, its keyring found from the spec's folder."""
        keyring = str(folder / self.signed_by) if self.signed_by else ""
        return Mirror(uri=self.uri, suites=self.suites, components=self.components, signed_by=keyring)


class NixSpec(_Model):
    """Where store paths come from, and what an image made of them has."""

    caches: Annotated[tuple[str, ...], BeforeValidator(_list), _schema(_TEXTS)] = Field(
        default=(),
        description="Binary caches: URLs, or folders relative to the spec; those of nix.conf when not said.",
    )
    trusted_keys: Annotated[
        tuple[Annotated[str, _one(fields.trusted_key)], ...], BeforeValidator(_list), _schema(_TEXTS)
    ] = Field(
        default=(),
        description="Public keys of caches that are believed, as NAME:KEY; those of nix.conf when not said.",
    )
    channel: Annotated[str | None, BeforeValidator(_text), _schema(_TEXT)] = Field(
        default=None,
        description="The channel that names store paths: the URL or folder with store-paths.xz "
        "and packages.json.br.",
    )
    essentials: Annotated[
        str | None, _one(fields.essentials_of_nix), _schema({"enum": list(fields.ESSENTIALS_OF_NIX)})
    ] = Field(
        default=None,
        description="Whose CA certificates and time zones an image of store paths has: nobody's (own, the "
        "default), nixpkgs' cacert and tzdata, or debian's.",
    )
    links: bool | None = Field(
        default=None, description="Link what was asked for from /bin and the like; true when not said."
    )
    database: bool | None = Field(
        default=None, description="Tell Nix within the image what is in its store; false when not said."
    )

    def choices(self, folder: Path) -> NixChoices:
        """What this part of a spec in `folder` says."""
        return NixChoices(
            caches=tuple(fields.place(cache, folder) for cache in self.caches),
            trusted_keys=self.trusted_keys,
            channel=None if self.channel is None else fields.place(self.channel, folder),
            essentials=self.essentials,
            links=self.links,
            database=self.database,
        )


class SourcesSpec(_Model):
    """What kinds of sources are told, beside their names."""

    nix: NixSpec | None = Field(default=None, description="Nix binary caches.")

    def choices(self, folder: Path) -> NixChoices | None:
        """What this part of a spec in `folder` says."""
        return None if self.nix is None else self.nix.choices(folder)


class ImageSpec(_Model):
    """An image, or what all images have in common. Keys are the options of `ramekin build`."""

    packages: Annotated[
        tuple[Annotated[str, _one(fields.package)], ...], BeforeValidator(_list), _schema(_TEXTS)
    ] = Field(
        default=(),
        description="Packages: NAME, NAME=VERSION or NAME/SUITE; nix:NAME or a store path are of Nix. The "
        "first names the program that is run.",
    )
    source: Annotated[str | None, _one(fields.source), _schema(_TEXT)] = Field(
        default=None,
        description="Where packages come from, as in debian:bookworm or nix:CACHE; the machine's own suite "
        "when not said.",
    )
    sources: SourcesSpec = Field(default=SourcesSpec(), description="What kinds of sources are told.")
    mirrors: tuple[MirrorSpec, ...] = Field(
        default=(), description="Mirrors in place of those in the machine's apt configuration."
    )
    arch: Annotated[
        tuple[str, ...],
        BeforeValidator(lambda value: _said(lambda: request.architectures(_list(value)))),
        _schema(_TEXTS),
    ] = Field(
        default=(), description="Architectures, as in [amd64, arm64]; this machine's own when not said."
    )
    compress: Annotated[str | None, _one(fields.compression), _schema(_TEXT)] = Field(
        default=None,
        description="Compression of layers: gzip (the default), zstd or none, with :LEVEL if wanted.",
    )
    keep: Names = Field(
        default=(), description="Slices to keep that are left out by default, as in [docs, man]."
    )
    drop: Names = Field(default=(), description="Slices to leave out that are kept by default.")
    leave_out: Annotated[tuple[str, ...], BeforeValidator(_essentials), _schema(_TEXTS)] = Field(
        default=(), description="Essentials to leave out, as in [tzdata]."
    )
    entrypoint: Command = Field(
        default=None,
        description="The program and its first arguments; the recipe's or the first package's when not said.",
    )
    cmd: Command = Field(default=None, description="Arguments that whoever runs the image can replace.")
    env: Annotated[
        dict[Annotated[str, _name(fields.variable)], Text], BeforeValidator(_mapping), _schema(_MAP)
    ] = Field(default={}, description="Environment variables.")
    user: Annotated[str | None, _one(fields.user), _schema(_SCALAR)] = Field(
        default=None, description="The user that the program runs as: NAME or UID, with :GROUP if wanted."
    )
    workdir: Annotated[str | None, _one(fields.folder), _schema(_TEXT)] = Field(
        default=None, description="The folder that the program starts in."
    )
    expose: Annotated[
        tuple[Annotated[str, _one(fields.port)], ...], BeforeValidator(_list), _schema(_TEXTS)
    ] = Field(default=(), description="Ports that the program listens on: PORT or PORT/PROTOCOL.")
    volume: Annotated[
        tuple[Annotated[str, _one(fields.folder)], ...], BeforeValidator(_list), _schema(_TEXTS)
    ] = Field(default=(), description="Folders whose content outlives a container.")
    label: Annotated[
        dict[Annotated[str, _name(fields.label)], Text], BeforeValidator(_mapping), _schema(_MAP)
    ] = Field(default={}, description="Labels of the image's config.")
    tag: Annotated[str | None, _one(fields.tag), _schema(_TEXT)] = Field(
        default=None, description="The image's name and tag: NAME[:TAG]."
    )
    output: Annotated[str | None, BeforeValidator(_reference), _schema(_TEXT)] = Field(
        default=None,
        description="Where the image goes, as in oci:./redis or docker://HOST/redis:7; {name} is its name.",
    )
    sbom: Annotated[
        str | None,
        BeforeValidator(_bill),
        _schema({"anyOf": [{"enum": list(fields.SBOM_FORMATS)}, {"type": "boolean"}]}),
    ] = Field(default=None, description="Attach a bill of materials: spdx or cyclonedx.")
    strict: bool | None = Field(default=None, description="Take warnings about maintainer scripts as errors.")
    recommends: bool | None = Field(default=None, description="Take recommended packages too.")
    closure: Annotated[str | None, _one(fields.closure), _schema({"enum": list(fields.CLOSURES)})] = Field(
        default=None,
        description="What of the dependencies is followed: all (depends), or by evidence (packages, files).",
    )
    layers: int | None = Field(
        default=None, ge=2, le=127, description="The most layers that the image may have."
    )

    def choices(self, folder: Path) -> Choices:
        """What this part of a spec in `folder` says."""
        return Choices(
            packages=self.packages,
            source=None if self.source is None else fields.source_in(self.source, folder),
            nix=self.sources.choices(folder),
            mirrors=tuple(mirror.mirror(folder) for mirror in self.mirrors),
            architectures=self.arch,
            compression=self.compress,
            keep=self.keep,
            drop=self.drop,
            leave_out=self.leave_out,
            entrypoint=self.entrypoint,
            cmd=self.cmd,
            env=tuple(sorted(self.env.items())),
            user=self.user,
            workdir=self.workdir,
            expose=self.expose,
            volumes=self.volume,
            labels=tuple(sorted(self.label.items())),
            tag=self.tag,
            target=self.output,
            sbom=self.sbom,
            strict=self.strict,
            recommends=self.recommends,
            closure=self.closure,
            layers=self.layers,
        )


ImageName = Annotated[str, _one(fields.image_name)]


class IgnoreSpec(_Model):
    """A finding of `ramekin check` that is all right."""

    rule: Text = Field(description="The rule's code or name, as in R306 or root-user.")
    reason: Annotated[str, BeforeValidator(_reason), _schema({"type": "string", "minLength": 1})] = Field(
        description="Why it is all right."
    )
    path: Text = Field(default="*", description="A glob of the paths that are meant; all when not said.")
    image: Text = Field(
        default="*", description="A glob of the references that are meant; all when not said."
    )


class CheckSpec(_Model):
    """How images are judged."""

    ignore: tuple[IgnoreSpec, ...] = Field(default=(), description="Findings that are all right.")


def _word(known: Sequence[str]) -> BeforeValidator:
    return BeforeValidator(lambda value: _said(lambda: slimming.one_of(_text(value), known, where="")))


class SlimSpec(_Model):
    """An image to slim. Keys are the options of `ramekin slim`."""

    image: Text = Field(
        description="A reference as in docker://HOST/REPO:TAG, or the name of an image of this file."
    )
    output: Annotated[str | None, BeforeValidator(_reference), _schema(_TEXT)] = Field(
        default=None, description="Where the slim image goes, as in oci:./web-slim; {name} is its name here."
    )
    probe: Annotated[tuple[str, ...], BeforeValidator(_list), _schema(_TEXTS)] = Field(
        default=(),
        description="Files of probes, relative to this one, and requests: URL, :PORT/PATH or /PATH.",
    )
    probes: tuple[form.ProbeSpec, ...] = Field(default=(), description="Probes, as in a file of them.")
    run: Annotated[tuple[str, ...], BeforeValidator(_list), _schema(_TEXTS)] = Field(
        default=(), description="Commands to run inside the container."
    )
    probe_cmd: Annotated[tuple[str, ...], BeforeValidator(_list), _schema(_TEXTS)] = Field(
        default=(), description="Commands of this machine's shell; RAMEKIN_URL is the container's address."
    )
    crawl: bool = Field(default=False, description="Follow links, assets and GET forms.")
    replay: Annotated[tuple[str, ...], BeforeValidator(_list), _schema(_TEXTS)] = Field(
        default=(), description="Access logs whose reading requests are sent, relative to this file."
    )
    ready: Text = Field(default="", description="When it is ready: a port, unix:/PATH, or a command.")
    env: Annotated[
        dict[Annotated[str, _name(fields.variable)], Text], BeforeValidator(_mapping), _schema(_MAP)
    ] = Field(default={}, description="Environment variables for the image's program.")
    cmd: Command = Field(default=None, description="Arguments in place of the image's own.")
    keep: Names = Field(default=(), description="What stays in any case: globs of absolute paths, and units.")
    drop: Names = Field(default=(), description="What goes in any case.")
    level: Annotated[str | None, _word(slimming.LEVELS), _schema({"enum": list(slimming.LEVELS)})] = Field(
        default=None,
        description="Whole units around what was used, or only files that evidence leads to.",
    )
    locales: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(lambda value: _said(lambda: slimming.locales(_list(value), where=""))),
        _schema(_TEXTS),
    ] = Field(default=None, description="Languages that stay, as in [en, fr]; all when not said.")
    bytecode: Annotated[str | None, _word(slimming.BYTECODE), _schema({"enum": list(slimming.BYTECODE)})] = (
        Field(default=None, description="What becomes of compiled Python whose source stays.")
    )
    symbols: Annotated[str | None, _word(slimming.SYMBOLS), _schema({"enum": list(slimming.SYMBOLS)})] = (
        Field(default=None, description="Where symbol tables of programs are left out.")
    )
    layers: Annotated[str | None, _word(slimming.LAYERS), _schema({"enum": list(slimming.LAYERS)})] = Field(
        default=None, description="The original's layers (keep), one, or one a unit (units)."
    )
    trace: Annotated[str | None, _word(slimming.TRACES), _schema({"enum": list(slimming.TRACES)})] = Field(
        default=None,
        description="Watch files that are opened, or also those that are tested for (stat).",
    )
    runtime: Annotated[str | None, _word(slimming.RUNTIMES), _schema({"enum": list(slimming.RUNTIMES)})] = (
        Field(default=None, description="What makes the sandbox.")
    )
    heal: bool | None = Field(default=None, description="Put back what verification misses; the default.")
    rounds: int | None = Field(default=None, ge=1, le=100, description="Verifications at most.")
    observation: Text = Field(default="", description="The file of what was observed, relative to this one.")
    seccomp: Text = Field(default="", description="Write a seccomp profile to this file.")
    report: Text = Field(default="", description="Write a page for browsers to this file.")
    arch: Text = Field(default="", description="Of an index, the image of this architecture.")

    def settings(self, name: str, folder: Path, *, where: str) -> Settings:
        """The same as settings; `where` is this image's place in the file, for errors that are found late."""
        from ramekin.slim.probes import words

        def beside(text: str) -> Path | None:
            return folder / text if text else None

        probes = form.values(self.probes, folder, where=lambda number: f"{where}.probes[{number}]")
        try:
            plan = words.plan(
                probe=self.probe,
                run=self.run,
                host=self.probe_cmd,
                crawl=self.crawl,
                replay=self.replay,
                ready=self.ready or None,
                env=tuple(sorted(self.env.items())),
                arguments=self.cmd or (),
                folder=folder,
                more=probes,
            )
        except RamekinError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from None
        return Settings(
            image=self.image,
            output=self.output.replace("{name}", name) if self.output is not None else None,
            plan=plan,
            keep=self.keep,
            drop=self.drop,
            level=self.level,
            locales=self.locales,
            bytecode=self.bytecode,
            symbols=self.symbols,
            layers=self.layers,
            trace=self.trace,
            runtime=self.runtime,
            heal=self.heal,
            rounds=self.rounds,
            observation=beside(self.observation),
            seccomp=beside(self.seccomp),
            report=beside(self.report),
            arch=self.arch or None,
        )


class SpecFile(_Model):
    """Container images, composed from packages by Ramekin."""

    defaults: ImageSpec = Field(default=ImageSpec(), description="What all images have in common.")
    sources: SourcesSpec = Field(
        default=SourcesSpec(), description="What kinds of sources are told, for all images."
    )
    images: dict[ImageName, ImageSpec] = Field(description="The images by name.", min_length=1)
    jobs: int | None = Field(default=None, ge=1, le=1024, description="How many things to do at once.")
    store: Annotated[str | None, BeforeValidator(_text), _schema(_TEXT)] = Field(
        default=None, description="The folder or URL of the store."
    )
    lock: Annotated[str | None, BeforeValidator(_text), _schema(_TEXT)] = Field(
        default=None,
        description="The lock file, relative to the spec; ramekin.lock.json beside it when not said.",
    )
    plain_http: bool | None = Field(default=None, description="Talk to registries without encryption.")
    check: CheckSpec = Field(default=CheckSpec(), description="What `ramekin check` is told.")
    slim: dict[ImageName, SlimSpec] = Field(
        default={}, description="Images that `ramekin slim` makes smaller, by name; they may be anyone's."
    )


class _OthersFile(_Model):
    """A file that tells `ramekin check` and `ramekin slim` only, for images that others make."""

    check: CheckSpec = CheckSpec()
    slim: dict[ImageName, SlimSpec] = {}


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec file that was read and checked. `lock` is the path of its lock file, there or not."""

    path: Path
    lock: Path
    images: dict[str, Choices]
    defaults: Choices
    sources: Choices = Choices()  # noqa: RUF009 - a frozen value
    jobs: int | None = None
    store: str | None = None
    plain_http: bool | None = None
    lines: dict[str, int] = field(default_factory=dict)

    def requests(
        self,
        names: Iterable[str] = (),
        overrides: Choices = Choices(),  # noqa: B008
    ) -> tuple[ImageRequest, ...]:
        """The requests for the images `names`, or for all; `overrides` has the most say.

        `UsageError` gives near names for one that the spec has not.
        """
        chosen = list(dict.fromkeys(names)) or list(self.images)
        for name in chosen:
            if name not in self.images:
                raise UsageError(
                    f"{self.path} has no image {name!r}", hint=fields.near(name, self.images, "it has ")
                )
        return tuple(self._request(name, overrides) for name in chosen)

    def _request(self, name: str, overrides: Choices) -> ImageRequest:
        where = f"{self.path}:{self.lines.get(name, 1)}: images.{name}"
        places = (overrides, self.images[name], self.defaults, self.sources)
        return request.fold(name, places, where=where)


def read(path: Path) -> Spec:
    """Read a spec file; `UsageError` names file, line and key of everything that is wrong."""
    return of(yaml_source.read(path))


def of(document: Document) -> Spec:
    """The spec that a YAML document holds."""
    try:
        checked = SpecFile.model_validate({} if document.data is None else document.data)
    except PydanticError as error:
        raise _explain(error, document) from None
    folder = document.path.parent
    return Spec(
        path=document.path,
        lock=folder / (checked.lock or lock.NAME),
        images={name: image.choices(folder) for name, image in checked.images.items()},
        defaults=checked.defaults.choices(folder),
        sources=Choices(nix=checked.sources.choices(folder)),
        jobs=checked.jobs,
        store=checked.store,
        plain_http=checked.plain_http,
        lines={name: document.lines.get(("images", name), 1) for name in checked.images},
    )


def check(path: Path) -> CheckSpec:
    """What a spec file tells `ramekin check`; the file need not describe any images."""
    return _others(yaml_source.read(path)).check


def slims(path: Path) -> dict[str, Settings]:
    """What a spec file tells `ramekin slim`, by name; the file need not describe any images.

    An `image` that is an image of the file is the place where `ramekin build` puts it.
    """
    document = yaml_source.read(path)
    found = _others(document)
    made = of(document) if isinstance(found, SpecFile) else None
    settings = {}
    for name, slim in found.slim.items():
        one = slim.settings(name, path.parent, where=document.where(("slim", name)))
        if made is not None and slim.image in made.images:
            from ramekin.build import target

            one = replace(one, image=str(target.target(made.requests([slim.image])[0])))
        settings[name] = one
    if not settings:
        raise UsageError(
            f"{path} has no `slim:`", hint="as in `slim: {web: {image: oci:./web, output: oci:./slim}}`"
        )
    return settings


def _others(document: Document) -> SpecFile | _OthersFile:
    """A file as it is needed where no image of it is made."""
    data = {} if document.data is None else document.data
    model = SpecFile if not isinstance(data, dict) or "images" in data else _OthersFile
    try:
        return model.model_validate(data)
    except PydanticError as error:
        raise _explain(error, document) from None


def _explain(error: PydanticError, document: Document) -> UsageError:
    known = yaml_errors.Dictionary(
        keys=lambda place: _keys(place, document.data), whole="a spec", missing=_missing
    )
    return yaml_errors.explain(error, document, known)


def _missing(place: Place) -> str:
    match place:
        case ("images",):
            return "a spec has `images: {NAME: {packages: [NAME]}}`"
        case ("slim", _, "image"):
            return "it is a reference, as in docker://HOST/REPO:TAG, or the name of an image of this file"
        case _:
            return ""


def _keys(place: Place, data: Any) -> list[str]:
    model: type[BaseModel] = SpecFile
    if place:
        model = MirrorSpec if "mirrors" in place else ImageSpec
        if "sources" in place:
            model = NixSpec if place[-1] == "nix" else SourcesSpec
        if place[0] == "check":
            model = CheckSpec if len(place) == 1 else IgnoreSpec
        if place[0] == "slim":
            model = SlimSpec
            if "probes" in place:
                return form.keys(place[2:], data["slim"][place[1]])
    return [info.alias or name for name, info in model.model_fields.items()]
