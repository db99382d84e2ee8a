"""The section `on-demand` of the registry's configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def _size(value: object) -> object:
    from ramekin.registry.config import size

    return size(value)


def _seconds(value: object) -> object:
    from ramekin.registry.config import seconds

    return seconds(value)


Size = Annotated[int, BeforeValidator(_size), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, lt=1e10)]

TOOLS = ("bash", "coreutils", "curl", "findutils", "grep", "less", "procps", "sed")
"""What `shell` adds to an image."""


TOOLS_OF_NIX = (
    "bashInteractive",
    "coreutils",
    "curl",
    "findutils",
    "gnugrep",
    "less",
    "procps",
    "gnused",
)
"""What `shell` adds to an image of store paths."""


class Nix(BaseModel):
    """Images of store paths, below `nix/`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )

    caches: tuple[str, ...] = Field(
        default=(), description="Binary caches: URLs or folders; those of nix.conf when not said."
    )
    trusted_keys: tuple[str, ...] = Field(
        default=(), description="Public keys of caches, as NAME:KEY; those of nix.conf when not said."
    )
    channel: str = Field(
        default="", description="The URL or folder with store-paths.xz and packages.json.br."
    )
    shell: tuple[str, ...] = Field(
        default=TOOLS_OF_NIX, description="The packages that `shell` stands for below nix/."
    )
    essentials: str = Field(
        default="nixpkgs", description="Whose CA certificates and time zones there are, as in a spec."
    )
    database: bool = Field(default=False, description="Tell Nix within the images what is in their store.")
    architectures: tuple[str, ...] = Field(
        default=("amd64", "arm64"), description="Those that names without an architecture stand for."
    )

    def below(self, folder: Path) -> Nix:
        """The same, with the folders that it names found from `folder`."""
        from ramekin.build import fields

        caches = tuple(fields.place(cache, folder) for cache in self.caches)
        channel = fields.place(self.channel, folder) if self.channel else ""
        return self.model_copy(update={"caches": caches, "channel": channel})

    @field_validator("trusted_keys")
    @classmethod
    def _keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from ramekin.build import fields

        return tuple(_checked(lambda key=key: fields.trusted_key(key, where="trusted-keys")) for key in value)  # type: ignore[misc]

    @field_validator("essentials")
    @classmethod
    def _essentials(cls, value: str) -> str:
        from ramekin.build import fields

        return _checked(lambda: fields.essentials_of_nix(value, where="essentials"))

    @field_validator("architectures")
    @classmethod
    def _architectures(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or set(value) - {"amd64", "arm64"}:
            raise ValueError("architectures are amd64 and arm64")
        return value


def _checked(read: Callable[[], str]) -> str:
    from ramekin.errors import UsageError

    try:
        return read()
    except UsageError as error:
        raise ValueError("; ".join(filter(None, (error.message, error.hint)))) from None


class OnDemand(BaseModel):
    """Images that are composed when somebody asks for them."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )

    enabled: bool = Field(default=True, description="Whether images are composed at all.")
    source: str | None = Field(default=None, description="Where packages come from, as in debian:bookworm.")
    specs: tuple[str, ...] = Field(
        default=(), description="Spec files whose images are served under their names."
    )
    nix: Nix | None = Field(
        default=None, description="Images of store paths below `nix/`; there are none when not said."
    )
    shell: tuple[str, ...] = Field(default=TOOLS, description="The packages that `shell` stands for.")
    sbom: str = Field(default="", description="Attach a bill of materials: spdx or cyclonedx.")
    named: int = Field(default=32, ge=1, description="Packages that one name may ask for.")
    packages: int = Field(default=1500, ge=1, description="Packages that one image may hold.")
    size: Size = Field(
        default=4 << 30, description="Bytes of files that one image may hold, by the index's estimate."
    )
    time: Seconds = Field(default=600.0, description="How long making one image may take.")
    builds: int = Field(default=2, ge=1, description="Images that one server process makes at once.")
    queue: int = Field(default=64, ge=0, description="Images that may wait for their turn.")
    jobs: int | None = Field(
        default=None,
        ge=1,
        description="Packages that are unpacked at once. Default: one more than processors.",
    )
    rate: int = Field(default=30, ge=1, description="Images that one client may have made in a minute.")
    failures: Seconds = Field(default=30.0, description="For which a failure is remembered.")
    fresh: Seconds = Field(default=300.0, description="After which a moving tag is looked at again.")
    stale: Seconds = Field(
        default=900.0,
        description="After `fresh`, in which the old answer is given while the new one is made.",
    )
    history: int = Field(default=400, ge=1, description="Days for which states of indexes are kept.")

    @field_validator("source")
    @classmethod
    def _source(cls, value: str | None) -> str | None:
        from ramekin.build import fields
        from ramekin.errors import UsageError

        try:
            return None if value is None else fields.source(value, where="source")
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None

    @field_validator("sbom")
    @classmethod
    def _sbom(cls, value: str) -> str:
        from ramekin.build import fields
        from ramekin.errors import UsageError

        try:
            return fields.sbom(value, where="sbom") if value else ""
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
