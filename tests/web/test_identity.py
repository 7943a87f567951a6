"""How the page appears elsewhere: previews of links, icons, and the manifest of the installed app."""

import io
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import PIL.Image
import pytest

from llama_ui.web import gradio_patches, identity
from tests.support.page import served

pytestmark = pytest.mark.loopback
TITLE = "Llama Stack Chat"
PREVIEW = {"sec-fetch-dest": "image", "sec-fetch-site": "same-origin"}


class Head(HTMLParser):
    """The tags of a page's head: each name or property with its contents, and each relation with its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, list[str]] = {}
        self.links: dict[str, list[str]] = {}
        self.title = self._tag = ""
        self.feed(page.partition("</head>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag, values = tag, {name: value or "" for name, value in attrs}
        if name := values.get("property") or values.get("name"):
            self.tags.setdefault(name, []).append(values["content"])
        if relation := values.get("rel"):
            self.links.setdefault(relation, []).append(values["href"])

    def handle_data(self, data: str) -> None:
        if self._tag == "title":
            self.title += data.strip()


@pytest.mark.parametrize("logins", [(), (("ada", "secret"),)], ids=["open", "with logins"])
@pytest.mark.parametrize("path", ["", "/llama-stack-chat"], ids=["at the root", "below a path"])
def test_a_link_to_the_page_has_a_preview(
    logins: tuple[tuple[str, str], ...], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", path)
    with served(no_local=True, auth_pairs=logins, trusted_proxies="127.0.0.1") as url:
        address = f"https://chat.test{path}/"
        page = httpx.get(url, headers={"host": "chat.test", "x-forwarded-proto": "https"})
        head = Head(page.text)
        assert head.title == TITLE
        tags = {name: values[0] for name, values in head.tags.items() if len(values) == 1}
        assert tags["og:title"] == tags["og:site_name"] == TITLE
        assert tags["description"] == tags["og:description"] == identity.DESCRIPTION
        assert (tags["og:type"], tags["twitter:card"]) == ("website", "summary")
        assert tags["og:url"] == address
        assert tags["og:image"] == f"{address}static/icon-512.png"
        assert len(head.tags["theme-color"]) == 2
        for relation, links in head.links.items():
            for link in links if relation in ("icon", "apple-touch-icon", "manifest") else ():
                assert urljoin(address, link).startswith(address)
                answer = httpx.get(f"{url}{link.removeprefix('./')}", headers={} if relation == "manifest" else PREVIEW)
                assert answer.is_success, link
        assert {name: len(head.links[name]) for name in ("icon", "apple-touch-icon", "manifest")} == {
            "icon": 2,
            "apple-touch-icon": 1,
            "manifest": 1,
        }


@pytest.mark.parametrize("logins", [(), (("ada", "secret"),)], ids=["open", "with logins"])
def test_the_manifest_and_its_icons_are_ours(logins: tuple[tuple[str, str], ...]) -> None:
    with served(no_local=True, auth_pairs=logins) as url:
        answer = httpx.get(f"{url}manifest.json")
        assert answer.headers["content-type"] == "application/manifest+json"
        manifest = answer.json()
        assert (manifest["name"], manifest["display"], manifest["start_url"]) == (TITLE, "standalone", "./")
        assert len(manifest["short_name"]) <= 12 and "id" not in manifest
        assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
        for icon in manifest["icons"]:
            picture = httpx.get(urljoin(f"{url}manifest.json", icon["src"]), headers=PREVIEW)
            assert picture.headers["content-type"] == icon["type"]
            if icon["type"] == "image/png":
                image = PIL.Image.open(io.BytesIO(picture.content))
                assert "{}x{}".format(*image.size) == icon["sizes"]
                corner = image.convert("RGBA").getpixel((0, 0))
                assert isinstance(corner, tuple)
                assert (corner[3] == 255) is (icon["purpose"] == "maskable")
                assert len(picture.content) < 30_000
        assert httpx.get(f"{url}favicon.ico").content == identity.FAVICON.read_bytes()
        for closed in ("pwa_icon", "pwa_icon/192"):  # Gradio's, which makes pictures of any size
            assert httpx.get(url + closed).status_code == 404


def test_gradios_own_tags_are_found_and_replaced() -> None:
    template = (gradio_patches.TEMPLATES / gradio_patches.PAGE).read_text(encoding="utf-8")
    assert len(gradio_patches.IDENTITY.findall(template)) == 21
    rest = gradio_patches.IDENTITY.sub("", template)
    assert not any(tag in rest for tag in ("og:", "twitter:", "manifest.json"))
