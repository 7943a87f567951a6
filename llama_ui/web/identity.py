"""How the page appears elsewhere: in tabs, in previews of links, in search results, and installed as an app."""

from pathlib import Path

from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

from llama_ui.settings import Settings
from llama_ui.web import html

DESCRIPTION = (
    "Chat with any Llama Stack (OGX) server: edit the system prompt, watch the reply arrive, and see what was sent, "
    "how long it took, and the Python code that does the same."
)
SHORT_NAME = "Llama Chat"  # at most 12 characters, which phones show below an icon
BACKGROUND, ACCENT = "#ffffff", "#0f766e"
FOLDER = Path(__file__).with_name("static")
FAVICON = FOLDER / "icon-192.png"  # not the SVG file, which not every browser shows in a tab
# Name of each file -> media type. `make icons` renders the PNG files.
ICONS = {
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
    "icon-maskable.png": "image/png",
}
CACHE = {"cache-control": "public, max-age=86400"}


def head(title: str, style: str) -> str:
    """The tags at the beginning of the page's head. Gradio renders the page's own address into them.

    The style is here, and no parameter of Gradio, which would apply it late and add a prefix to its selectors.
    """
    return html.render("head", title=title, description=DESCRIPTION, style=style)


def manifest(title: str) -> dict[str, object]:
    """The web app manifest. Its URLs are relative to its own, so that they are right below a path.

    Without `id`, which would be relative to the host, apps below different paths stay different apps.
    """
    icons = [
        {"src": "./static/icon-192.png", "sizes": "192x192", "type": "image/png", "purpose": "any"},
        {"src": "./static/icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "any"},
        {"src": "./static/icon-maskable.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
        {"src": "./static/icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"},
    ]
    return {
        "name": title,
        "short_name": SHORT_NAME,
        "description": DESCRIPTION,
        "lang": "en",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": BACKGROUND,
        "theme_color": ACCENT,
        "icons": icons,
    }


def routes(title: str, settings: Settings) -> list[Route]:
    """The manifest and the icons, which need no login; and with a public link, a request not to index the page."""
    document = manifest(title)
    found = [_file_route(FOLDER / name, media_type) for name, media_type in ICONS.items()]
    found.append(Route("/manifest.json", lambda _: JSONResponse(document, media_type="application/manifest+json")))
    if settings.share:
        found.append(Route("/robots.txt", lambda _: PlainTextResponse("User-agent: *\nDisallow: /")))
    return found


def _file_route(path: Path, media_type: str) -> Route:
    return Route(f"/static/{path.name}", lambda _: FileResponse(path, media_type=media_type, headers=CACHE))
