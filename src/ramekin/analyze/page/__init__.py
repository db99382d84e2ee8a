"""Reports as one page for browsers, which needs no network and no other file.

    model     what a page shows, as plain values: figures, bars, treemaps, a matrix, tables
    render    the page's HTML: styles, script and the chart library within it
    inspection, difference   the pages of two commands

Treemaps are drawn by plotly.js. Its Python package is the one well-kept package that carries a chart library
with a zoomable treemap as a part of its own; compressed, it is 2 MB of a page, which browsers unpack.
"""

from __future__ import annotations

from ramekin.analyze.page.difference import difference
from ramekin.analyze.page.inspection import inspection
from ramekin.analyze.page.render import render, write

__all__ = ["difference", "inspection", "render", "write"]
