"""What an image lets others do or know: rights of files, users, secrets, and what says what is inside.

No message has any part of a secret: only its form, its file and its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ramekin.analyze.checks.model import Found, Severity, Subject
from ramekin.analyze.examine import secret
from ramekin.image.tree import Kind

_SBOM = re.compile(r"spdx|cyclonedx|syft|sbom|in-toto", re.IGNORECASE)
_SBOM_FILE = re.compile(
    r"(?:.*/)?(?:[\w.-]+\.(?:spdx|cdx)(?:\.json|\.xml)?|sbom(?:[.-][\w.-]*)?\.json)\Z", re.IGNORECASE
)
_SAMPLES = re.compile(
    r"(?:\A|/)(?:tests?|testing|testdata|fixtures?|examples?|samples?|demos?|doc|docs|mocks?)(?:/|\Z)",
    re.IGNORECASE,
)


def set_user_id(subject: Subject) -> Iterator[Found]:
    """Programs that run with their owner's or group's rights."""
    for path, placed in subject.stack.files.items():
        file = placed.file
        if file.kind is Kind.FILE and file.mode & 0o111 and file.mode & 0o6000:
            bits = " and ".join(
                name for bit, name in ((0o4000, "user"), (0o2000, "group")) if file.mode & bit
            )
            owner = f"{file.uid}:{file.gid}"
            yield Found(
                f"/{path} sets its {bits} id (mode {file.mode:04o}, owner {owner})",
                path,
                file.size,
                None if (file.mode & 0o4000 and file.uid == 0) else Severity.NOTE,
            )


def world_writable(subject: Subject) -> Iterator[Found]:
    """Files that everyone may write, and folders in which everyone may replace what others have."""
    for path, placed in subject.stack.files.items():
        file = placed.file
        if not file.mode & 0o002:
            continue
        if file.kind is Kind.FILE:
            yield Found(f"everyone may write /{path} (mode {file.mode:04o})", path, file.size)
        elif file.kind is Kind.DIRECTORY and not file.mode & 0o1000:
            yield Found(f"everyone may replace files in /{path} (mode {file.mode:04o}, not sticky)", path)


def root_user(subject: Subject) -> Iterator[Found]:
    """The program is started as root."""
    user = (subject.outline.config.config.user if subject.outline.config.config else "").partition(":")[0]
    if user in ("", "0", "root"):
        said = f"User is {user}" if user else "no User is set"
        yield Found(f"{said}: the program runs as root")


def keys(subject: Subject) -> Iterator[Found]:
    """Private keys."""
    yield from _secrets(subject, (secret.KEY,))


def tokens(subject: Subject) -> Iterator[Found]:
    """Tokens and passwords of known forms."""
    yield from _secrets(subject, (secret.TOKEN, secret.PASSWORD))


def guesses(subject: Subject) -> Iterator[Found]:
    """Values that look drawn at random, under a name such as `api_key`."""
    yield from _secrets(subject, (secret.GUESS,))


def _secrets(subject: Subject, kinds: tuple[str, ...]) -> Iterator[Found]:
    for number, layer in enumerate(subject.image.layers):
        for path, traits in sorted(layer.traits.items()):
            found = [row for row in traits.get("secret", ()) if row[0] in kinds]
            if not found:
                continue
            placed = subject.stack.files.get(path)
            gone = placed is None or placed.layer != number
            kind, form, line = found[0]
            name = form if kind != secret.KEY else f"{form}"
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            still = f", deleted later but still in layer {number + 1}" if gone else ""
            sample = bool(_SAMPLES.search(path)) or (not gone and bool(subject.owner(path)))
            yield Found(
                f"/{path}:{line} has a {name}{more}{still}",
                path,
                severity=Severity.NOTE if sample else None,
            )


def environment(subject: Subject) -> Iterator[Found]:
    """Secrets in the variables that the image sets."""
    runtime = subject.outline.config.config
    for entry in (runtime.env or ()) if runtime else ():
        name, _, value = entry.partition("=")
        if (found := secret.in_variable(name, value)) is not None:
            yield Found(f"the variable {_safe(name)} of Env has a {found[1]}")


_ARGUMENT = re.compile(r"(?:^|\s|\|\d+\s)([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|[^\s;&|\"']+)")


def history(subject: Subject) -> Iterator[Found]:
    """Secrets in what the history says of how layers were made: build arguments among them."""
    runtime = subject.outline.config.config
    shown = {entry.partition("=")[0] for entry in (runtime.env or ())} if runtime else set()
    for number, step in enumerate(subject.outline.config.history):
        text = step.created_by
        found = {
            form for kind, form, _ in secret.find(text.encode("utf-8", "replace")) if kind != secret.GUESS
        }
        for match in _ARGUMENT.finditer(text):
            name, value = match[1], match[2].strip("\"'")
            if name not in shown and secret.in_variable(name, value) is not None:
                found.add(f"value for {_safe(name)}")
        for form in sorted(found):
            yield Found(f"step {number + 1} of the history has a {form}")


def _safe(name: str) -> str:
    return re.sub(r"\W", "?", name[:64])


def bill_of_materials(subject: Subject) -> Iterator[Found]:
    """Nothing attached or inside that says what the image is made of."""
    for one in subject.outline.referrers:
        # a statement of in-toto says what it is about; others than bills tell how the image was made
        predicate = one.annotations.get("in-toto.io/predicate-type")
        told = predicate or f"{one.artifact_type} {one.media_type} {' '.join(one.annotations.values())}"
        if _SBOM.search(told):
            return
    if any(_SBOM_FILE.match(path) for path in subject.stack.files):
        return
    yield Found("no bill of materials is attached to the image or in it")
