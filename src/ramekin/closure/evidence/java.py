"""The class path of a jar (JAR File Specification, Class-Path), and classes of others that it names."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

_MANIFEST = "META-INF/MANIFEST.MF"
_LIMIT = 1 << 20


class BadJar(Exception):  # noqa: N818 - never leaves this folder
    """The file is no archive of classes; the message says why."""


def class_path(data: bytes) -> list[str]:
    """The entries of the manifest's Class-Path, as written; empty when there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            try:
                member = archive.getinfo(_MANIFEST)
            except KeyError:
                return []
            if member.file_size > _LIMIT:
                raise BadJar("its manifest is too large")
            with archive.open(member) as stream:
                text = stream.read(_LIMIT)
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
    ) as error:
        raise BadJar("it is not a whole jar") from error
    except (IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise BadJar("it is not a whole jar") from error
    lines = re.sub(rb"\r?\n ", b"", text).splitlines()
    for line in lines:
        if line.lower().startswith(b"class-path:"):
            return line[11:].decode("utf-8", "replace").split()
    return []
