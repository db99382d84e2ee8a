"""Names for store paths: by the path itself, by a channel's files, by a local Nix.

    /nix/store/HASH-NAME[/…], HASH-NAME, HASH      the path
    redis, python3Packages.numpy                   an attribute, the name of a package, its name with version
    redis=7.2.4, openssl^bin,dev, openssl.dev      of a version; certain outputs
    FLAKE#attr, FLAKE#attr^out                     what a local Nix makes of it

Without `^`, a package stands for the outputs that its channel says are installed, less the documentation. A
name that several store paths have means the one for the system that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ramekin.errors import NotFoundError, UsageError
from ramekin.progress import SILENT, Progress
from ramekin.sources.nix import paths
from ramekin.sources.nix.cache import Caches
from ramekin.sources.nix.model import NixPackage
from ramekin.sources.nix.system import SYSTEMS, runs_on, system_of
from ramekin.store.digest import Digest
from ramekin.store.store import Store

if TYPE_CHECKING:
    from ramekin.sources.nix.channel import Channel, Index, Listed
    from ramekin.sources.nix.places import Connections
    from ramekin.sources.nix.source import NixSettings

DOCUMENTATION = frozenset({"man", "doc", "info", "devdoc", "devman", "infodoc"})
"""Outputs that nobody runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A store path that a name stands for, and what the channel says of it.

    `folder` is the store's, where whoever asked gave it.
    """

    base: str
    folder: str = ""
    attribute: str = ""
    output: str = ""
    description: str = ""
    priority: int = 5
    program: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A request by name, taken apart."""

    text: str
    name: str
    version: str
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """`NAME[=VERSION][^OUTPUT,…]`; `UsageError` for what is none."""
        rest, caret, listed = text.partition("^")
        name, equals, version = rest.partition("=")
        outputs = tuple(dict.fromkeys(listed.split(","))) if caret else ()
        if not name or (equals and not version) or (caret and not all(outputs)) or "/" in name:
            raise UsageError(
                f"{text!r} is not a name",
                hint="write NAME, NAME=VERSION, NAME^OUTPUT, FLAKE#attr or a store path",
            )
        return cls(text, name, version, outputs)


class Names:
    """What finds store paths by words. For use by many threads."""

    def __init__(
        self, caches: Caches, store: Store, settings: NixSettings, connections: Connections, shown: str
    ) -> None:
        self._caches, self._store, self._settings = caches, store, settings
        self._connections, self._shown = connections, shown

    @cached_property
    def _channel(self) -> Channel | None:
        settings = self._settings
        if not (settings.channel or settings.store_paths or settings.packages):
            return None
        from ramekin.sources.folder import index_folder
        from ramekin.sources.nix.channel import Channel

        return Channel(
            index_folder(self._store) / "nix",
            channel=settings.channel,
            store_paths=settings.store_paths,
            packages=settings.packages,
            connections=self._connections,
            max_age=settings.max_age,
        )

    def refresh(self, progress: Progress, *, force: bool) -> str:
        """Bring the channel up to date; what is given names its state."""
        return "" if self._channel is None else self._channel.refresh(progress, force=force)

    # --- one request -------------------------------------------------------------------------------------

    def find(self, text: str, architecture: str) -> tuple[Found, ...]:
        """The store paths that one request stands for; raises as `NixSource.resolve` does."""
        text = text.removeprefix("nix:")
        if "#" in text:
            return self._evaluated(text, architecture)
        found = self._path(text)
        if found is not None:
            return (found,)
        words = Words.of(text)
        listed = self._listed(words, architecture)
        if listed:
            return self._outputs(words, listed[0], architecture)
        return self._by_path(words, architecture)

    def all_of(self, text: str, architecture: str) -> tuple[Found, ...]:
        """The store paths that a name may stand for, of every version, the newest first."""
        text = text.removeprefix("nix:")
        found = self._path(text) if "#" not in text else None
        if found is not None or "#" in text:
            return (found,) if found is not None else self.find(text, architecture)
        words = Words.of(text)
        listed = self._listed(words, architecture, every=True)
        if not listed:
            return self._by_path(words, architecture, every=True)
        all_: dict[str, Found] = {}
        missing: NotFoundError | None = None
        for one in listed:
            try:
                for each in self._outputs(words, one, architecture):
                    all_.setdefault(each.base, each)
            except NotFoundError as error:
                missing = missing or error
        if not all_ and missing is not None:
            raise missing
        return tuple(all_.values())

    def search(self, words: Sequence[str], architecture: str) -> tuple[NixPackage, ...]:
        """Packages of the channel that hold all words, without digest and size: it does not know them."""
        system = SYSTEMS.get(architecture, architecture)
        found = [one for one in self._index(" ".join(words)).search(words) if one.system in ("", system)]
        return tuple(
            NixPackage(
                name=one.attribute,
                version=one.version,
                architecture=architecture,
                digest=Digest(""),
                size=0,
                origin=one.pname,
                origin_version=one.version,
                description=one.description,
                attribute=one.attribute,
                output=one.output,
                priority=one.priority,
                program=one.program,
            )
            for one in found
        )

    # --- paths -------------------------------------------------------------------------------------------

    def _path(self, text: str) -> Found | None:
        """The store path that `text` is, or is the base name, the hash or a file of; None when it is none."""
        if paths.is_hash(text):
            return Found(base=self._caches.info(text).base)
        if not text.startswith("/"):
            return Found(base=text) if paths.is_base(text) else None
        parts = text.split("/")
        for place, part in enumerate(parts):
            if paths.is_base(part) and place > 1:
                return Found(base=part, folder="/".join(parts[:place]))
        raise UsageError(f"{text!r} is not a store path", hint=f"a store path is {paths.STORE_DIR}/HASH-NAME")

    # --- the channel -------------------------------------------------------------------------------------

    def _index(self, asked: str) -> Index:
        if self._channel is None:
            raise UsageError(
                f"{self._shown}: the name {asked} means nothing without a channel",
                hint="name a channel (a folder or URL with store-paths.xz and packages.json.br), or a path",
            )
        return self._channel.index(SILENT)

    def _listed(self, words: Words, architecture: str, *, every: bool = False) -> list[Listed]:
        """The packages that a name means, the likeliest first; or `every` one that it may, newest first."""
        from ramekin.sources.nix import versions

        index = self._index(words.name)
        # the files may have been made on another system: names are the same on all
        system = SYSTEMS.get(architecture, architecture)
        own: dict[str, Listed] = {}
        others: set[str] = set()
        for column in ("attribute", "pname", "name"):
            found = index.packages(column, words.name)
            for one in [one for one in found if one.system in ("", system)] or found:
                if not words.version or one.version == words.version:
                    own.setdefault(one.attribute, one)
                else:
                    others.add(one.version)
            if own and not every:
                break
        if not own and others:
            there = sorted(others, key=versions.key, reverse=True)
            raise NotFoundError(
                f"{self._channel_name} has no {words.name} of version {words.version}",
                hint=f"it has {', '.join(there[:5])}",
            )
        attribute, dot, output = words.name.rpartition(".")
        if not own and dot and not words.outputs:
            for one in index.packages("attribute", attribute):
                if any(output == name for name, _ in one.outputs):
                    own[attribute] = replace(one, installed=(output,), output=output)
        listed = list(own.values())
        listed.sort(key=lambda one: (len(one.attribute), one.attribute))
        listed.sort(key=lambda one: versions.key(one.version), reverse=True)
        if not every:
            listed.sort(key=lambda one: one.attribute != words.name)
        return listed

    @property
    def _channel_name(self) -> str:
        return "" if self._channel is None else self._channel.shown

    def _outputs(self, words: Words, one: Listed, architecture: str) -> tuple[Found, ...]:
        known = dict(one.outputs)
        unknown = [output for output in words.outputs if output not in known]
        if unknown:
            raise NotFoundError(
                f"{one.attribute} has no output {unknown[0]}", hint=f"it has {', '.join(known)}"
            )
        wanted = words.outputs or usual_outputs(one.installed, one.output)
        found: list[Found] = []
        for output in wanted:
            base = known[output]
            if not base:
                name = one.name if output == "out" else f"{one.name}-{output}"
                base = self._of_system(name, words, architecture)
            found.append(
                Found(
                    base=base,
                    attribute=one.attribute,
                    output=output,
                    description=one.description,
                    priority=one.priority,
                    program=one.program,
                )
            )
        return tuple(found)

    def _by_path(self, words: Words, architecture: str, *, every: bool = False) -> tuple[Found, ...]:
        """Store paths by their own names, where the channel has no packages by that name."""
        from ramekin.sources.nix import versions

        index = self._index(words.name)
        if index.bases(words.name) and not words.version:
            return (Found(base=self._of_system(words.name, words, architecture)),)
        # the names of each version's outputs
        by_version: dict[str, dict[str, str]] = {}
        for name, output in index.named(words.name):
            version = paths.split(name)[1]
            if output != "out":
                version = version.removesuffix(output).removesuffix("-")
            by_version.setdefault(version, {})[output] = name
        if words.version:
            by_version = {words.version: by_version[words.version]} if words.version in by_version else {}
        found: list[Found] = []
        for version in sorted(by_version, key=versions.key, reverse=True):
            outputs = by_version[version]
            usual = next((output for output in ("bin", "out") if output in outputs), min(outputs))
            for output in words.outputs or (usual,):
                if output not in outputs:
                    raise NotFoundError(
                        f"{words.name} has no output {output}", hint=f"it has {', '.join(sorted(outputs))}"
                    )
                base = self._of_system(outputs[output], words, architecture)
                found.append(Found(base=base, output=output))
            if not every:
                break
        if not found:
            near = index.near(words.name)
            raise NotFoundError(
                f"{self._channel_name} has no package {words.text}",
                hint=f"did you mean {', '.join(near)}?" if near else "`ramekin search` finds names",
            )
        return tuple(found)

    def _of_system(self, name: str, words: Words, architecture: str) -> str:
        """The one store path with a name that is for `architecture`."""
        bases = self._index(words.name).bases(name)
        if not bases:
            raise NotFoundError(
                f"{self._channel_name} has no store path called {name}",
                hint="its channel has not built it; another output, version or channel may have it",
            )
        there = [base for base in bases if self._caches.has(paths.hash_of(base))]
        if not there:
            # says which caches were asked
            self._caches.info(paths.hash_of(bases[0]), name=bases[0])
        wanted = SYSTEMS.get(architecture, architecture)
        systems = {base: system_of(base, self._caches, self._store) for base in there}
        right = [base for base in there if runs_on(systems[base], wanted)]
        if len(right) > 1:
            exact = [base for base in right if systems[base] == wanted]
            right = exact or right
        if len(right) == 1:
            return right[0]
        if right:
            raise UsageError(
                f"{words.text} means several store paths: {', '.join(right[:5])}", hint="name one of them"
            )
        others = ", ".join(sorted({system for system in systems.values() if system not in ("", "?")}))
        raise NotFoundError(
            f"{self._channel_name} has no {name} for {wanted}",
            hint=f"it has it for {others}" if others else None,
        )

    # --- a local Nix -------------------------------------------------------------------------------------

    def _evaluated(self, text: str, architecture: str) -> tuple[Found, ...]:
        from ramekin.sources.nix import local

        words, caret, listed = text.partition("^")
        known = local.evaluate(words, SYSTEMS.get(architecture, architecture), program=self._settings.nix)
        wanted = (
            tuple(dict.fromkeys(listed.split(","))) if caret else usual_outputs(known.installed, known.output)
        )
        found: list[Found] = []
        for output in wanted:
            if output not in known.outputs:
                raise NotFoundError(
                    f"{words} has no output {output}", hint=f"it has {', '.join(known.outputs)}"
                )
            found.append(
                Found(
                    base=paths.base_of(known.outputs[output], self._caches.store_dir, where=words),
                    attribute=words.partition("#")[2],
                    output=output,
                    description=known.description,
                    priority=known.priority,
                    program=known.program,
                )
            )
        return tuple(found)


def usual_outputs(installed: Sequence[str], output: str) -> tuple[str, ...]:
    """What of a package is meant when no outputs are named."""
    return tuple(name for name in installed if name not in DOCUMENTATION) or (output,)
