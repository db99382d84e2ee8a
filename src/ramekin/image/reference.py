"""References to images: a transport and a place in it, written as containers-transports(5) does.

    oci:DIR[:TAG]  oci:DIR@DIGEST     a layout
    oci-archive:FILE[:TAG]            a layout in one tar file
    docker-archive:FILE[:NAME[:TAG]]  what `docker save` writes
    docker-daemon:NAME[:TAG]|DIGEST   an image of a container engine on this machine; for reading only
    docker://HOST/REPO[:TAG][@DIGEST] a registry; HOST is always said, there is no default one
    rootfs:DIR                        the files themselves
    dir:DIR                           a manifest and its blobs in one flat folder

A path ends at the first colon. Names are checked by the grammars of distribution-spec (Pulling manifests) and
of image-spec, annotations.md (`org.opencontainers.image.ref.name`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ramekin.errors import FormatError, UsageError
from ramekin.store import digest as digests
from ramekin.store.digest import Digest

TRANSPORTS = ("oci", "oci-archive", "docker-archive", "docker-daemon", "docker", "rootfs", "dir")

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_WORD = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
_REF_NAME = re.compile(rf"{_WORD}(?:/{_WORD})*", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?", re.ASCII)
_AT_DIGEST = re.compile(r"(.*)@([A-Za-z0-9+._-]+:.*)", re.DOTALL)
_PATH_AT_DIGEST = re.compile(r"([^:]*)@(sha[0-9]+:.*)", re.DOTALL)
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image in one transport.

    `location` is a path as the user wrote it or, for `docker`, `HOST/REPO`. `name` is the repository that a
    docker-archive gives its image. Without `tag` and `digest` the transport's own default is meant.
    """

    transport: str
    location: str
    tag: str = ""
    digest: Digest | None = None
    name: str = ""

    @property
    def host(self) -> str:
        """The registry, with its port if one was written; `docker` only."""
        return self.location.partition("/")[0]

    @property
    def repository(self) -> str:
        """The repository within the registry; `docker` only."""
        return self.location.partition("/")[2]

    def __str__(self) -> str:
        start = "docker://" if self.transport == "docker" else f"{self.transport}:"
        middle = f":{self.name}" if self.name else ""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        if self.transport == "docker-daemon" and self.digest:
            digest = str(self.digest)
        return f"{start}{self.location}{middle}{tag}{digest}"


def parse(text: str) -> Reference:
    """Read a reference; `UsageError` says what is wrong with it and how it would be right."""
    scheme, colon, rest = text.partition(":")
    if not colon or "/" in scheme or not scheme:
        raise UsageError(f"{text!r} names no transport", hint=_guess(text))
    if scheme not in TRANSPORTS:
        raise UsageError(f"{text!r}: there is no transport {scheme!r}", hint=_near(scheme, rest))
    if scheme == "docker":
        return _registry(text, rest)
    if scheme == "docker-daemon":
        return _engine(text, rest)
    if "\0" in rest or rest.startswith(":") or not rest:
        raise UsageError(f"{text!r} names no path", hint=f"write {scheme}:PATH")
    if scheme in ("rootfs", "dir"):
        return Reference(scheme, rest)
    if scheme == "docker-archive":
        path, colon, name = rest.partition(":")
        if not colon:
            return Reference(scheme, path)
        name, tag = split_name(name)
        check_repository(name, where=text)
        return Reference(scheme, path, tag=check_tag(tag, where=text) if tag else "", name=name)
    if found := _PATH_AT_DIGEST.fullmatch(rest):
        return Reference(scheme, found[1], digest=_digest(found[2], where=text))
    path, colon, tag = rest.partition(":")
    if colon and not _REF_NAME.fullmatch(tag):
        raise UsageError(
            f"{text!r}: {tag!r} is not a valid tag",
            hint="letters and digits with one of - . _ : @ + / between; the path ends at the first colon",
        )
    return Reference(scheme, path, tag=tag)


def parse_target(text: str) -> Reference:
    """Read the reference of a place to write to; `UsageError` also for a digest and for what is only read."""
    found = parse(text)
    if found.transport == "docker-daemon":
        raise UsageError(
            f"{found}: images cannot be written to docker-daemon:",
            hint="write docker-archive:FILE.tar, which `docker load -i FILE.tar` takes",
        )
    if found.digest is not None:
        raise UsageError(f"{found}: a target has no digest", hint="the image's bytes decide it; name a tag")
    return found


def _engine(text: str, rest: str) -> Reference:
    """A name as an engine takes it, which may begin with a host, or the digest of a config, an image's ID."""
    if rest.startswith("sha256:"):
        return Reference("docker-daemon", "", digest=_digest(rest, where=text))
    name, tag = split_name(rest)
    host, slash, path = name.partition("/")
    check_repository(path if slash and _HOST.fullmatch(host) else name, where=text)
    return Reference("docker-daemon", name, tag=check_tag(tag, where=text) if tag else "")


def _registry(text: str, rest: str) -> Reference:
    if not rest.startswith("//"):
        raise UsageError(f"{text!r} is not complete", hint=f"write docker://{rest.lstrip('/')}")
    rest = rest[2:]
    digest: Digest | None = None
    if found := _AT_DIGEST.fullmatch(rest):
        rest, digest = found[1], _digest(found[2], where=text)
    host, slash, path = rest.partition("/")
    if not slash or not (host == "localhost" or any(mark in host for mark in ".:")):
        raise UsageError(
            f"{text!r} names no registry",
            hint=f"write docker://HOST/{rest or 'REPO'}: no host is taken for granted",
        )
    found_host = _HOST.fullmatch(host)
    if found_host is None or (found_host[1] and not 0 < int(found_host[1]) < 65536):
        raise UsageError(f"{text!r}: {host!r} is not a valid host", hint="write HOST or HOST:PORT")
    repository, tag = split_name(path)
    if path.endswith(":"):
        raise UsageError(f"{text!r}: the tag is empty")
    check_repository(repository, where=text)
    if len(host) + 1 + len(repository) > 255:
        raise UsageError(f"{text!r}: host and repository have more than 255 characters together")
    return Reference(
        "docker", f"{host}/{repository}", tag=check_tag(tag, where=text) if tag else "", digest=digest
    )


def split_name(text: str) -> tuple[str, str]:
    """`NAME[:TAG]` as name and tag; the tag is empty when there is none. Checks nothing."""
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, "")


def check_repository(name: str, *, where: str) -> str:
    """`name` when distribution-spec allows it for a repository; else `UsageError` naming `where`."""
    if _REPOSITORY.fullmatch(name):
        return name
    hint = "parts of lower-case letters and digits, with . _ __ or - between them, joined by /"
    if name and name != name.lower() and _REPOSITORY.fullmatch(name.lower()):
        hint = f"repository names have lower-case letters only: {name.lower()}"
    raise UsageError(f"{where!r}: {name!r} is not a valid repository name", hint=hint)


def check_tag(tag: str, *, where: str) -> str:
    """`tag` when distribution-spec allows it; else `UsageError` naming `where`."""
    if _TAG.fullmatch(tag):
        return tag
    raise UsageError(
        f"{where!r}: {tag!r} is not a valid tag",
        hint="up to 128 letters, digits, _ . or -, the first of them neither . nor -",
    )


def is_repository(name: str) -> bool:
    """Whether distribution-spec allows `name` for a repository."""
    return bool(_REPOSITORY.fullmatch(name))


def is_tag(tag: str) -> bool:
    """Whether distribution-spec allows `tag`."""
    return bool(_TAG.fullmatch(tag))


def _digest(text: str, *, where: str) -> Digest:
    try:
        return digests.parse(text)
    except FormatError as error:
        raise UsageError(f"{where!r}: {error.message}", hint=error.hint) from None


def _guess(text: str) -> str:
    """What the user may have meant by a reference without a transport."""
    if text.startswith(("./", "../", "/", "~")) or text in (".", ".."):
        if text.endswith(_ARCHIVES):
            return f"for a file write oci-archive:{text} or docker-archive:{text}"
        return f"for a folder write oci:{text} (a layout) or rootfs:{text} (its files)"
    if text.endswith(_ARCHIVES):
        return f"for a file write oci-archive:{text} or docker-archive:{text}"
    host, slash, _ = text.partition("/")
    if slash and (host == "localhost" or "." in host or ":" in host):
        return f"for a registry write docker://{text}"
    return f"write oci:{text or 'DIR'} for a layout here or docker://HOST/{text or 'REPO'} for a registry"


def _near(scheme: str, rest: str) -> str:
    import difflib

    if scheme in ("http", "https"):
        return f"for a registry write docker:{rest}"
    if rest[:1].isdigit() or "." in scheme or scheme == "localhost":
        return f"for a registry write docker://{scheme}:{rest}"
    near = difflib.get_close_matches(scheme, TRANSPORTS, n=1, cutoff=0.5)
    listed = ", ".join(TRANSPORTS)
    return f"did you mean {near[0]}:? There are {listed}" if near else f"there are {listed}"
