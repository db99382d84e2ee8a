"""The section `on-demand` of the registry's configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OnDemand(BaseModel):
    """Images that are composed when somebody asks for them."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-")
    )

    enabled: bool = Field(default=True, description="Whether images are composed at all.")
    source: str | None = Field(default=None, description="Where packages come from, as in debian:bookworm.")
    specs: tuple[str, ...] = Field(
        default=(), description="Spec files whose images are served under their names."
    )
