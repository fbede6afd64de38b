"""The visitor and operator pages: files of one directory, listed once at start.

A request can only name a file of that list, so no path reaches anything else on the machine.
"""

from pathlib import Path

from aiohttp import web

_SUFFIXES = frozenset(
    {".html", ".js", ".mjs", ".css", ".svg", ".png", ".jpg", ".webp", ".ico", ".woff2", ".webmanifest", ".json"}
)
_PRIVATE_DIRECTORIES = frozenset({"node_modules", "tests"})
_PAGES = {"/": "index.html", "/operator": "operator.html"}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""No other site may frame a page: a click on it would be an operator's."""


class StaticFiles:
    """The files of `root` by URL path."""

    def __init__(self, root: Path) -> None:
        self._files = {f"/{path.relative_to(root).as_posix()}": path for path in _public_files(root)}
        for url, name in _PAGES.items():
            if (page := self._files.get(f"/{name}")) is not None:
                self._files[url] = page

    def respond(self, request: web.Request) -> web.FileResponse | None:
        """The file a GET or HEAD request names, if there is one."""
        path = self._files.get(request.path)
        if path is None or request.method not in ("GET", "HEAD"):
            return None
        return web.FileResponse(path, headers=_HEADERS)


def _public_files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and _is_public(path.relative_to(root))]


def _is_public(relative: Path) -> bool:
    hidden = any(part.startswith(".") or part in _PRIVATE_DIRECTORIES for part in relative.parts)
    return relative.suffix in _SUFFIXES and not hidden
