"""What programs in an image read or map and the image does not have, by evidence in the programs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ramekin.analyze import loading
from ramekin.analyze.checks.model import Found, Severity, Subject
from ramekin.image.tree import Kind

_TLS = re.compile(r"lib(?:ssl|gnutls|mbedtls|wolfssl|ssl3|s2n|tls|botan)\b|lib(?:ssl|gnutls)[-.\d]")
_BUNDLE = re.compile(
    r"/[\w./+-]*(?:cert\.pem|ca-bundle[\w.-]*|ca-certificates\.crt|tls-ca-bundle\.pem|cert\.crt)\Z|/[\w./+-]*/certs/?\Z"
)
_LIBC = re.compile(r"(?:libc\.so\.6|libc\.musl-\w+\.so\.1|ld-[\w.-]+|libstdc\+\+\.so\.6|libc-[\d.]+\.so)\Z")
_REGION = re.compile(r":?[A-Z][A-Za-z_]+/[A-Za-z_/+-]+\Z")


def _facts(subject: Subject, path: str) -> Mapping[str, Any]:
    return subject.loader.elf(path)


def _is_libc(path: str, facts: Mapping[str, Any]) -> bool:
    return bool(_LIBC.match(facts.get("soname", "") or path.rpartition("/")[2]))


def _programs(subject: Subject) -> list[str]:
    """Paths of all programs for the loader or without one; what the image starts stands first."""
    found = [
        path
        for path, placed in subject.stack.files.items()
        if placed.file.kind is Kind.FILE
        and placed.file.mode & 0o111
        and _facts(subject, path).get("kind") == "program"
    ]
    start = subject.program
    return sorted(found, key=lambda path: path != start)


def _closures(subject: Subject) -> Mapping[str, tuple[str, ...]]:
    """What the loader maps for each program."""
    return subject.once(
        "closures", lambda: {path: subject.loader.closure(path) for path in _programs(subject)}
    )


def _mentions(subject: Subject, path: str) -> tuple[str, ...]:
    return tuple(_facts(subject, path).get("mentions", ()))


def _there(subject: Subject, path: str) -> bool:
    """Whether a path is a file with bytes in it, or a folder with such a file."""
    found = subject.stack.resolve(path.strip("/"))
    if found is None:
        return False
    placed = subject.stack.files.get(found)
    if placed is None:
        return False
    if placed.file.kind is not Kind.DIRECTORY:
        return placed.size > 0
    start = found + "/"
    return any(one.startswith(start) and other.size for one, other in subject.stack.files.items())


def _also(count: int) -> str:
    if count < 3:
        return ", as does another program" if count == 2 else ""
    return f", as do {count - 1:,} more programs"


def certificates(subject: Subject) -> Iterator[Found]:
    """No bundle of certificates where a program speaks TLS and names one."""
    found: list[tuple[str, str, str]] = []
    for path, closure in _closures(subject).items():
        speaks = any(_TLS.match(_facts(subject, one).get("soname", "")) for one in closure)
        named = {text: one for one in closure for text in _mentions(subject, one) if _BUNDLE.match(text)}
        own = "SSL_CERT_FILE" in " ".join(_mentions(subject, path)) and _facts(subject, path).get("static")
        if named and (speaks or own) and not any(_there(subject, text) for text in named):
            text, one = min(named.items(), key=lambda pair: (len(pair[0]), pair[0]))
            found.append((path, text, one))
    if found and not loading.environment(subject.outline.config).get("SSL_CERT_FILE"):
        path, text, one = found[0]
        by = f" through /{one}" if one != path else ""
        yield Found(f"/{path} speaks TLS and names {text}{by}, which is not there{_also(len(found))}", path)


def time_zones(subject: Subject) -> Iterator[Found]:
    """No time zones where a program reads them."""
    if _there(subject, "usr/share/zoneinfo"):
        return
    zone = loading.environment(subject.outline.config).get("TZ", "")
    if _REGION.match(zone):
        yield Found(
            f"TZ is {zone}, and there is no /usr/share/zoneinfo to look it up in", severity=Severity.WARNING
        )
        return
    found = [
        (path, one)
        for path, closure in _closures(subject).items()
        for one in closure
        if not _is_libc(one, _facts(subject, one))
        and any("zoneinfo" in text and text.startswith("/") for text in _mentions(subject, one))
    ]
    if found:
        path, one = found[0]
        by = f" through /{one}" if one != path else ""
        yield Found(
            f"/{path} reads /usr/share/zoneinfo{by}, which is not there{_also(len({p for p, _ in found}))}",
            path,
        )


def accounts(subject: Subject) -> Iterator[Found]:
    """No entry in passwd or group for the user that the image runs as."""
    user = (subject.outline.config.config.user if subject.outline.config.config else "").strip()
    if not user:
        return
    name, _, group = user.partition(":")
    for what, file, wanted in (("user", "etc/passwd", name), ("group", "etc/group", group)):
        if not wanted:
            continue
        rows = [
            line.split(":")
            for line in (subject.stack.kept(file) or b"").decode("utf-8", "replace").splitlines()
        ]
        known = {row[0] for row in rows if row} | {row[2] for row in rows if len(row) > 2}
        if wanted in known or (wanted in ("0", "root") and what == "user"):
            continue
        if wanted.isdecimal():
            readers = [
                path
                for path, closure in _closures(subject).items()
                for one in closure
                if any(text.startswith(f"/{file}") for text in _mentions(subject, one))
            ]
            if readers:
                yield Found(
                    f"the image runs as the {what} {wanted}, which /{file} does not have, and /{readers[0]} "
                    f"reads it",
                    file,
                    severity=Severity.NOTE,
                )
        else:
            yield Found(f"the image runs as the {what} {wanted}, which /{file} does not have", file)


def temporary(subject: Subject) -> Iterator[Found]:
    """No /tmp, or none that the user may write, where a program names it."""
    found = subject.stack.resolve("tmp")
    placed = subject.stack.files.get(found) if found is not None else None
    user = (subject.outline.config.config.user if subject.outline.config.config else "").partition(":")[0]
    if placed is not None and placed.file.kind is Kind.DIRECTORY:
        if user in ("", "0", "root") or placed.file.mode & 0o002:
            return
        lack = f"which {user} may not write"
    else:
        lack = "which is not there"
    named = [
        (path, one)
        for path, closure in _closures(subject).items()
        for one in closure
        if not _is_libc(one, _facts(subject, one))
        and any(text == "/tmp" or text.startswith("/tmp/") for text in _mentions(subject, one))
    ]
    if named:
        path, one = named[0]
        by = f" through /{one}" if one != path else ""
        yield Found(f"/{path} names /tmp{by}, {lack}{_also(len({p for p, _ in named}))}", "tmp")


def name_service(subject: Subject) -> Iterator[Found]:
    """No nsswitch.conf where a program or its C library reads it."""
    if subject.stack.resolve("etc/nsswitch.conf") in subject.stack.files:
        return
    found = [
        (path, one)
        for path, closure in _closures(subject).items()
        for one in closure
        if any(text.startswith("/etc/nsswitch.conf") for text in _mentions(subject, one))
    ]
    if found:
        path, one = found[0]
        by = f" through /{one}" if one != path else ""
        yield Found(
            f"/{path} reads /etc/nsswitch.conf{by}, which is not there{_also(len({p for p, _ in found}))}",
            "etc/nsswitch.conf",
        )


def interpreters(subject: Subject) -> Iterator[Found]:
    """Programs and scripts whose interpreter is not there."""
    for path in _programs(subject):
        for missing in subject.loader.lacks(path):
            if missing.what == "interpreter":
                yield Found(f"/{path} cannot run: its interpreter {missing.name} is not there", path)
    beside: dict[str, list[str]] = defaultdict(list)
    for path, placed in subject.stack.files.items():
        if placed.file.kind is not Kind.FILE or not placed.file.mode & 0o111:
            continue
        name = _lacked(subject, path)
        if name and path == subject.program:
            yield Found(f"/{path} cannot run: there is no {name}", path)
        elif name:
            beside[name].append(path)
    for name, paths in sorted(beside.items()):
        more = f", nor can {len(paths) - 1:,} more" if len(paths) > 1 else ""
        yield Found(
            f"the script /{paths[0]} cannot run{more}: there is no {name}", paths[0], severity=Severity.NOTE
        )


def _lacked(subject: Subject, path: str) -> str:
    """The interpreter that a script names and the image has not; empty for all that is well."""
    words = subject.stack.traits(path).get("script", {}).get("interpreter", ())
    if not words or not words[0].startswith("/"):
        return ""
    name: str = words[0]
    config = subject.outline.config
    if name.endswith("/env") and loading.find_command(subject.stack, config, name):
        rest = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        name = rest[0] if rest else name
    return "" if loading.find_command(subject.stack, config, name) else name


def libraries(subject: Subject) -> Iterator[Found]:
    """Libraries that the loader would not find."""
    seen: set[tuple[str, str]] = set()
    for path in _programs(subject):
        gone: list[loading.Missing] = []
        subject.loader.closure(path, missing=gone.append)
        for missing in gone:
            if missing.what == "library" and (missing.path, missing.name) not in seen:
                seen.add((missing.path, missing.name))
                who = f"/{path}" if missing.path == path else f"/{path} (through /{missing.path})"
                yield Found(f"{who} cannot run: {missing.name} is not there", missing.path)
