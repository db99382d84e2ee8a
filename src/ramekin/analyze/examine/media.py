"""Pictures that a better codec makes smaller, found by doing it to a sample of them.

Needs Pillow and pyoxipng (`pip install ramekin[media]`); without them nothing is said. Only what loses no
picture is tried: PNG is compressed again, BMP and TIFF become PNG, JPEG gets better tables.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramekin.analyze.examine import Data

NAME = "media"
SMALLEST, LARGEST = 8 << 10, 2 << 20
PIXELS = 4_000_000
ONE_IN = 4
"""Of so many pictures, one is tried; large ones always."""
_ALWAYS = 128 << 10
_FORMS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_MARKS = tuple(mark for mark, _ in _FORMS)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def wants(path: str, size: int, head: bytes) -> bool:
    return size >= SMALLEST and path.lower().endswith(_SUFFIXES) and head.startswith(_MARKS)


def examine(path: str, data: Data) -> dict[str, Any] | None:
    """Keys: form, and for pictures of the sample `smaller` (bytes after)."""
    raw = bytes(data) if len(data) <= LARGEST else b""
    head = bytes(data[:8])
    form = next(form for mark, form in _FORMS if head.startswith(mark))
    found: dict[str, Any] = {"form": form}
    if raw and (len(raw) >= _ALWAYS or zlib.crc32(raw) % ONE_IN == 0):
        try:
            smaller = _again(raw, form)
        except Exception:  # whatever a codec makes of hostile bytes, the picture is not one to judge
            return None
        if smaller is not None:
            found["smaller"] = min(smaller, len(raw))
    return found


def _again(raw: bytes, form: str) -> int | None:
    """Bytes of the picture after it is encoded again; None when that cannot be done here."""
    try:
        from PIL import Image
    except ImportError:
        return None
    with Image.open(io.BytesIO(raw), formats=(form,)) as picture:
        if picture.width * picture.height > PIXELS:
            return None
        out = io.BytesIO()
        if form == "PNG":
            try:
                import oxipng
            except ImportError:
                return None
            return len(oxipng.optimize_from_memory(raw, level=1))
        if form == "JPEG":
            picture.save(out, "JPEG", quality="keep", optimize=True, progressive=True)
        else:
            picture.save(out, "PNG", optimize=True)
        return len(out.getvalue())
