"""What a reply can do to the visitor who reads it, which is nothing: in a real Chromium, with somebody who listens."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.app_process import AppProcess
from tests.support.chromium import WIDE, Chat
from tests.support.fake_stack import FakeStack

pytestmark = pytest.mark.browser
# In each, URL is an address of the collector, and RUN is what must not run.
IMAGES = [
    "![x](URL)",
    "![x][there]\n\n[there]: URL",
    "[![x](URL)](URL)",
    '![x](URL "title")',
    '<img src="URL">',
    '<img srcset="URL 1x, URL 2x" src="x">',
    '<picture><source srcset="URL"><img src="URL"></picture>',
    '<svg width="9" height="9"><image href="URL" width="9" height="9"/></svg>',
    '<svg><image xlink:href="URL" width="9" height="9"/></svg>',
    '<svg><use href="URL#x"/></svg>',
    '<svg><filter id="f"><feImage href="URL"/></filter><rect width="9" height="9" filter="url(#f)"/></svg>',
    '<input type="image" src="URL">',
    '<math><mtext><img src="URL"></mtext></math>',
    "Array<img src=URL>",
]
STYLES = [
    '<div style="background:url(URL)">x</div>',
    "<style>body, div { background: url(URL) !important }</style>",
    '<style>@import "URL";</style>',
    '<link rel="stylesheet" href="URL">',
    "<style>@font-face { font-family: x; src: url(URL) } * { font-family: x !important }</style>x",
    '<p style="display: list-item; list-style-image: url(URL)">x</p>',
    '<p style="cursor: url(URL), auto; border-image: url(URL)">x</p>',
    '<table background="URL"><tr><td background="URL">x</td></tr></table>',
    '<svg><rect width="9" height="9" fill="url(URL#x)" style="mask: url(URL)"/></svg>',
    '<style>input[value^="a"] { background: url(URL) }</style>',
]
MEDIA_AND_FRAMES = [
    '<video src="URL" poster="URL" autoplay muted></video>',
    '<audio src="URL" autoplay></audio>',
    '<video autoplay muted><source src="URL"><track default src="URL"></video>',
    '<embed src="URL">',
    '<object data="URL"></object>',
    '<iframe src="URL"></iframe>',
    "<iframe srcdoc=\"<img src='URL'><script>parent.RUN</script>\"></iframe>",
    '<frameset><frame src="URL"></frameset>',
    '<portal src="URL"></portal>',
]
ELSEWHERE = [
    '<form action="URL" id="f"><input name="q" value="x"></form><script>f.submit()</script>',
    '<form action="URL"><input name="q" autofocus onfocus="this.form.submit()"></form>',
    '<meta http-equiv="refresh" content="0;url=URL">',
    '<base href="URL/">\n\n![x](relative.png)',
    '<link rel="prefetch" href="URL"><link rel="preload" as="image" href="URL"><link rel="icon" href="URL">',
    '<link rel="modulepreload" href="URL">',
    '<script type="speculationrules">{"prefetch": [{"urls": ["URL"]}]}</script>',
]
SCRIPTS = [
    "<script>RUN</script>",
    '<script src="URL"></script>',
    '<img src="x" onerror="RUN">',
    '<svg onload="RUN"></svg>',
    "<svg><script>RUN</script></svg>",
    '<svg><animate onbegin="RUN" attributeName="x" dur="1s"></svg>',
    '<details open ontoggle="RUN">x</details>',
    '<body onload="RUN">',
    '<input autofocus onfocus="RUN">',
    '<video onloadstart="RUN" autoplay><source src="x" onerror="RUN"></video>',
    '<style>@keyframes x { from { top: 0 } }</style><p style="animation: x 1s" onanimationstart="RUN">x</p>',
    '<iframe src="javascript:parent.RUN"></iframe>',
    '<noscript><p title="</noscript><img src=x onerror=RUN>"></noscript>',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=RUN&gt;"></table></math>',
    '```"><img src="URL" onerror="RUN">\nx\n```',
    "```html\n<img src=URL onerror=RUN><script>RUN</script>\n```",
]
LINKS = [
    "[click](javascript:RUN)",
    "[click](JaVa&Tab;ScRiPt:RUN)",
    "[click][there]\n\n[there]: javascript:RUN",
    "<javascript:RUN>",
    '<a href="javascript:RUN">click</a>',
    "[click](data:text/html,<script>RUN</script>)",
    '[click](vbscript:RUN "x")',
    '<a href="URL" ping="URL" target="_self">click</a>',
]
LANGUAGES = [
    "```mermaid\n%%{init: {'securityLevel': 'loose'}}%%\ngraph TD\n  A[\"<img src='URL' onerror='RUN'>\"] --> B\n"
    '  click A "javascript:RUN"\n  click B call RUN\n```',
    '```mermaid\nflowchart TD\n  A@{ img: "URL", label: "x", w: 60, h: 60 }\n```',
    "```mermaid\n%%{init: {'themeCSS': '* { background: url(URL) }'}}%%\ngraph TD\n  A --> B\n```",
    "$\\href{javascript:RUN}{click}$ and $\\url{javascript:RUN}$",
    "$$\\includegraphics[height=1em]{URL}$$",
    "$\\htmlStyle{background: url(URL)}{x} \\htmlData{x=y}{z}$",
]
HOSTILE = IMAGES + STYLES + MEDIA_AND_FRAMES + ELSEWHERE + SCRIPTS + LINKS + LANGUAGES
RUN = "(window.ran=1)"


class Collector:
    """Somebody who listens on another port, and notes what is asked for."""

    def __enter__(self) -> Self:
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self.asked.append(handler.path)
                handler.send_response(200)
                handler.end_headers()

            do_POST = do_HEAD = do_OPTIONS = do_GET

            def log_message(handler, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def watched(browser: Browser, url: str) -> Iterator[tuple[Chat, Collector]]:
    """A visitor's page; nothing may run in it that is not its own, and nothing be fetched from the collector."""
    context = browser.new_context(viewport=WIDE)
    dialogs: list[str] = []
    with Collector() as collector:
        page = context.new_page()
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        yield Chat(page, url), collector
        settled(page)
        assert page.evaluate("window.ran") is None
        assert page.url.startswith(url) and len(context.pages) == 1
        assert dialogs == []
        assert collector.asked == []
        # There was somebody listening.
        context.new_page().goto(f"{collector.url}/seen")
        assert "/seen" in collector.asked
    context.close()


SETTLED = """async () => {
    await new Promise(done => requestAnimationFrame(() => requestIdleCallback(done)));
    for (const address of ["/static/img/logo.svg", "/favicon.ico"])
        await new Promise(done => Object.assign(new Image(), {onload: done, onerror: done, src: address}));
}"""


def settled(page: Page) -> None:
    """What has been drawn was drawn, and requests that were made before these two have been made."""
    page.evaluate(SETTLED)


def written(hostile: str, url: str) -> str:
    return hostile.replace("URL", url).replace("RUN", RUN)


def test_there_are_sixty_hostile_replies() -> None:
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize(
    "replies",
    [IMAGES, STYLES, MEDIA_AND_FRAMES, ELSEWHERE, SCRIPTS, LINKS, LANGUAGES],
    ids=["images", "styles and fonts", "media and frames", "forms and redirects", "scripts", "links", "languages"],
)
def test_a_hostile_reply_fetches_nothing_and_runs_nothing(
    browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack, replies: list[str]
) -> None:
    with watched(browser, served[0].url) as (chat, collector):
        for number, hostile in enumerate(replies):
            # Two times: while it is streamed it stands for a moment as it is not meant.
            text = written(hostile, f"{collector.url}/{number}")
            stack.enqueue(text[: len(text) // 2], text[len(text) // 2 :], f"\n\nend of {number}")
            chat.ask(f"message {number}")
            expect(chat.replies.last).to_contain_text(f"end of {number}")
        settled(chat.page)
        links = chat.conversation.locator("a[href]").evaluate_all("all => all.map(it => [it.href, it.rel, it.target])")
        for address, rel, target in links:
            assert address.startswith(("http://", "https://"))
            assert set(rel.split()) >= {"noopener", "noreferrer", "nofollow"} and target == "_blank"
        for click in chat.conversation.get_by_text("click", exact=True).all():
            if not click.evaluate("it => it.closest('a')?.href?.startsWith('http')"):
                click.click(force=True)


def test_a_link_in_a_reply_opens_another_tab_that_knows_nothing_of_the_page(
    browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack
) -> None:
    with Collector() as collector, contextlib.closing(browser.new_context()) as context:
        chat = Chat(context.new_page(), served[0].url)
        stack.enqueue(f"[there]({collector.url}/a), {collector.url}/b and <{collector.url}/c>")
        chat.ask("Hi")
        links = chat.replies.last.locator("a")
        assert [set(rel.split()) for rel in links.evaluate_all("all => all.map(it => it.rel)")] == [
            {"noopener", "noreferrer", "nofollow"}
        ] * 3
        with context.expect_page() as opened:
            links.first.click()
        opened.value.wait_for_load_state()
        assert opened.value.evaluate("[opener, document.referrer]") == [None, ""]
        assert "/a" in collector.asked


def test_whatever_else_a_server_says_fetches_nothing_and_runs_nothing(
    browser: Browser, served: tuple[AppProcess, FakeStack], stack: FakeStack
) -> None:
    """Thoughts, errors, names of models, its version, why a reply ended, and both sides of a comparison."""
    with watched(browser, served[0].url) as (chat, collector):
        evil = written('<img src="URL" onerror="RUN"> ![x](URL) <script>RUN</script>', f"{collector.url}/x")
        stack.models.append(stack.models[0] | {"id": evil})
        stack.version = evil
        thought = {"choices": [{"index": 0, "delta": {"reasoning_content": evil}, "finish_reason": None}]}
        stack.enqueue(thought, evil, finish_reason=evil)
        chat.ask("thought")
        stack.enqueue(status=400, body={"error": {"message": evil}})
        chat.ask("refused")
        stack.enqueue("half", {"error": {"message": evil}})
        chat.ask("broken off")
        stack.enqueue(status=500, body=evil)
        chat.ask("page")
        chat.button("Refresh models").click()
        chat.page.locator("#details").get_by_text("Check the connection").click()
        expect(chat.page.locator("#findings")).not_to_contain_text("Looking")
        model = chat.page.get_by_role("combobox", name="Model")
        model.click()
        chat.page.get_by_role("option").filter(has_text="img").click()
        stack.enqueue(evil)
        chat.send(evil)
        chat.at_rest()
        chat.page.get_by_role("tab", name="View code").click()
        expect(chat.page.locator("#tabs")).to_contain_text("llama_stack_client")
        chat.page.get_by_role("tab", name="Time").click()
        chat.page.get_by_role("tab", name="Compare").click()
        for _ in range(5):
            stack.enqueue(evil)
        chat.button("Replay").click()
        expect(chat.page.locator(".compared").first).to_contain_text("<img")
