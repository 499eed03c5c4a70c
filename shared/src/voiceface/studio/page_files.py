"""Files of the page: read once, found by their names in a table."""

from importlib import resources

from fastapi import FastAPI, Response

from voiceface.studio.storage import UnknownItemError

__all__ = ["STATIC_FILES", "add_page"]

MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html", "svg": "image/svg+xml"}
REPORT_FILES = ("report.css", "mesh_view.css", "mesh_view.js")


def _read_static() -> dict[str, tuple[bytes, str]]:
    """Files of the page by address: nothing that a client says becomes a path."""
    files = {}
    page = resources.files("voiceface.studio") / "page"
    for entry in page.iterdir():
        suffix = entry.name.rpartition(".")[2]
        if suffix in MEDIA_TYPES:
            files[entry.name] = (entry.read_bytes(), MEDIA_TYPES[suffix])
    report = resources.files("voiceface.report")
    for name in REPORT_FILES:
        files[name] = ((report / name).read_bytes(), MEDIA_TYPES[name.rpartition(".")[2]])
    return files


STATIC_FILES = _read_static()


def add_page(app: FastAPI) -> None:
    def answer(name: str) -> Response:
        content, media_type = STATIC_FILES[name]
        return Response(
            content, media_type=f"{media_type}; charset=utf-8", headers={"cache-control": "no-cache"}
        )

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return answer("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return answer("docs.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in STATIC_FILES:
            raise UnknownItemError("no such file")
        return answer(name)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return answer("icon.svg")
