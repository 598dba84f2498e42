"""What only a published book has: addresses for search engines and for cards in social media.

`$BOOK_URL` is where it will stand; without it nothing is added. The page for addresses that lead
nowhere is made in any case.
"""

import os
from urllib.parse import urlparse

from sphinx.errors import ExtensionError


def setup(app):
    address = os.environ.get("BOOK_URL", "").strip().removesuffix("/")
    parts = urlparse(address)
    if address and (parts.scheme not in ("http", "https") or not parts.netloc or "//" in parts.path or " " in address):
        raise ExtensionError(f"BOOK_URL must be such as https://owner.github.io/name, got {address!r}")
    app.setup_extension("notfound.extension")
    app.config.notfound_urls_prefix = f"{parts.path.removesuffix('/')}/"
    app.config.notfound_pagename = "404"
    if address:
        app.config.html_baseurl = f"{address}/"
        app.config.sitemap_url_scheme = "{link}"
        app.config.ogp_site_url = f"{address}/"
        app.config.ogp_site_name = app.config.html_title
        app.config.sitemap_excludes = ["404.html", "genindex.html", "prf-prf.html", "search.html"]
        for extension in ("sphinx_sitemap", "sphinxext.opengraph"):
            app.setup_extension(extension)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
