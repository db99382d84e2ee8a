"""The page at `/`: hand-written HTML, CSS and JavaScript, and the JSON that it lives on below `/api/`.

routes    what is served where
asking    who asks, and what they may
reports   an image that is here, told in full
progress  server-sent events of a build
assets/   the page itself: no build step, nothing from elsewhere
"""

from __future__ import annotations

from ramekin.registry.page.routes import routes

__all__ = ["routes"]
