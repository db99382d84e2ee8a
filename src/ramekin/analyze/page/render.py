"""The HTML of a page, and writing it."""

from __future__ import annotations

import base64
import gzip
import html
import importlib.util
import os
from pathlib import Path

import msgspec

from ramekin.analyze.page.model import Page
from ramekin.errors import RamekinError

_HERE = Path(__file__).parent
_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline' blob:; img-src data: blob:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#tables">Skip to the tables</a>
<header id="head"></header>
<main id="main"></main>
<noscript><p>This report is drawn by a script in this page, which your browser does not run.</p></noscript>
<script type="application/json" id="report">{data}</script>
<script type="text/plain" id="library">{library}</script>
<script>
{script}
</script>
</body>
</html>
"""


def render(page: Page) -> str:
    """The page as HTML. The same page gives the same bytes."""
    data = msgspec.json.encode(page).decode()
    return _FRAME.format(
        title=html.escape(f"{page.title} · Ramekin"),
        style=(_HERE / "report.css").read_text(),
        # nothing in the data may end the element that it stands in
        data=data.replace("<", "\\u003c"),
        library=_library() if page.maps else "",
        script=(_HERE / "report.js").read_text(),
    )


def _library() -> str:
    """plotly.js, compressed for a browser to unpack."""
    found = importlib.util.find_spec("plotly")
    # found without being imported, which takes longer than all the rest
    path = Path(found.origin).parent / "package_data" / "plotly.min.js" if found and found.origin else None
    if path is None or not path.is_file():
        raise RamekinError("the chart library for pages is not installed", hint="pip install plotly")
    return base64.b64encode(gzip.compress(path.read_bytes(), 6, mtime=0)).decode("ascii")


def write(path: Path, page: Page) -> int:
    """Write the page into a file, whole or not at all; its bytes."""
    data = render(page).encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RamekinError(f"cannot write {path}: {error.strerror}") from None
    return len(data)
