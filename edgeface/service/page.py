"""The page, one file without anything from outside, and the policy that holds browsers to that."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Page", "policy"]


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML file and what it runs.

    Attributes:
        html: The file.
        scripts: Digests of its scripts, as a Content-Security-Policy names them.
        styles: The same of its style sheets.
    """

    html: str
    scripts: tuple[str, ...]
    styles: tuple[str, ...]

    @classmethod
    def read(cls, name: str) -> Page:
        """Read a file of the package."""
        html = files("edgeface.service").joinpath(name).read_text(encoding="utf-8")
        return cls(html, _digests(html, "script"), _digests(html, "style"))


def policy(page: Page, host: str) -> str:
    """Return the Content-Security-Policy: this page's own scripts and styles, this host, and nothing else.

    Args:
        page: the page.
        host: the Host header, already checked; some browsers do not count WebSockets as 'self'.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(page.scripts)}",
            f"style-src {' '.join(page.styles)}",
            "img-src 'self' blob: data:",
            "media-src 'self' blob: mediastream:",
            f"connect-src 'self' ws://{host} wss://{host}",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _digests(html: str, element: str) -> tuple[str, ...]:
    bodies = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies)
    return tuple(f"'sha256-{digest}'" for digest in digests)
