"""Ramekin: small container images that share their layers."""

__version__ = "0.1.0"
