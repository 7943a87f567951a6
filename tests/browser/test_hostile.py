"""Hostile replies: nothing that a server sends makes the page run a script or request another address."""

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.chromium import WIDE, Chat
from tests.support.fake_stack import FakeStack, ScriptedServer

pytestmark = pytest.mark.browser
# URL stands for an address of the collector, RUN for a script.
IMAGES = [
    "![x](URL)",
    "![x][there]\n\n[there]: URL",
    "[![x](URL)](URL)",
    '<img src="URL">',
    '<svg width="9" height="9"><image href="URL" width="9" height="9"/></svg>',
    "Array<img src=URL>",
]
STYLES = [
    '<div style="background:url(URL)">x</div>',
    "<style>body, div { background: url(URL) !important }</style>",
    '<link rel="stylesheet" href="URL">',
    "<style>@font-face { font-family: x; src: url(URL) } * { font-family: x !important }</style>x",
    '<svg><rect width="9" height="9" fill="url(URL#x)" style="mask: url(URL)"/></svg>',
]
MEDIA_AND_FRAMES = [
    '<video src="URL" poster="URL" autoplay muted></video>',
    '<object data="URL"></object>',
    '<iframe src="URL"></iframe>',
    "<iframe srcdoc=\"<img src='URL'><script>parent.RUN</script>\"></iframe>",
]
ELSEWHERE = [
    '<form action="URL" id="f"><input name="q" value="x"></form><script>f.submit()</script>',
    '<meta http-equiv="refresh" content="0;url=URL">',
    '<base href="URL/">\n\n![x](relative.png)',
    '<link rel="prefetch" href="URL"><link rel="preload" as="image" href="URL"><link rel="icon" href="URL">',
    '<script type="speculationrules">{"prefetch": [{"urls": ["URL"]}]}</script>',
]
SCRIPTS = [
    "<script>RUN</script>",
    '<script src="URL"></script>',
    '<img src="x" onerror="RUN">',
    '<svg><animate onbegin="RUN" attributeName="x" dur="1s"></svg>',
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
# What llama_ui/web/renderer.py puts in place of Gradio's rendering.
EDITS = [
    "```mermaid\n</div></div><img src=URL onerror=RUN><script>RUN</script>\n```",
    '```mermaid\ngraph TD\n  A["&lt;img src=URL onerror=RUN&gt;"] --> B["</div><img src=URL onerror=RUN>"]\n```',
    "$x<img src=URL onerror=RUN>$ and \\(<img src=URL onerror=RUN>\\) and $$<script>RUN</script>_x$$",
    '[x](y "$x_1" onmouseover=RUN$") ![$x^2" onerror=RUN$](y) `$x^2<img src=URL onerror=RUN>$`',
    "**a " * 2500 + "<img src=URL onerror=RUN><script>RUN</script>",
    "- [x] <img src=URL onerror=RUN>\n\n- [ ] y",
    "[Note]: <img/src=URL/onerror=RUN>\n\n**“<img src=URL onerror=RUN>”**的",
    "$x^2$ \ue0000\ue001<img src=URL onerror=RUN>",
]
RUN = "(window.ran=1)"


class Collector(ScriptedServer):
    """A server on another port that records the paths of its requests."""

    def _app(self) -> Starlette:
        self.paths: list[str] = []

        async def record(request: Request) -> Response:
            self.paths.append(request.url.path)
            return Response()

        return Starlette(routes=[Route("/{path:path}", record, methods=["GET", "POST", "OPTIONS"])])


@contextlib.contextmanager
def open_watched(browser: Browser, url: str) -> Iterator[tuple[Chat, Collector]]:
    """Open the page. Fails if a script ran, a dialog or another page opened, or the collector got a request."""
    context = browser.new_context(viewport=WIDE)
    dialogs: list[str] = []
    with Collector() as collector:
        page = context.new_page()
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        yield Chat(page, url), collector
        flush(page)
        assert page.evaluate("window.ran") is None
        assert page.url.startswith(url) and len(context.pages) == 1
        assert dialogs == []
        assert collector.paths == []
        # The collector does record requests.
        context.new_page().goto(f"{collector.url}/seen")
        assert "/seen" in collector.paths
    context.close()


def flush(page: Page) -> None:
    """Wait until the page is drawn, and until requests made after it have been answered."""
    page.evaluate(
        """async () => {
            await new Promise(done => requestAnimationFrame(() => requestIdleCallback(done)));
            for (const address of ["/static/img/logo.svg", "/favicon.ico"])
                await new Promise(done => Object.assign(new Image(), {onload: done, onerror: done, src: address}));
        }"""
    )


def fill_in(hostile: str, url: str) -> str:
    return hostile.replace("URL", url).replace("RUN", RUN)


@pytest.mark.parametrize(
    "replies",
    [IMAGES, STYLES, MEDIA_AND_FRAMES, ELSEWHERE, SCRIPTS, LINKS, LANGUAGES, EDITS],
    ids=[
        "images",
        "styles and fonts",
        "media and frames",
        "forms and redirects",
        "scripts",
        "links",
        "languages",
        "edits",
    ],
)
def test_a_hostile_reply_requests_nothing_and_runs_nothing(
    browser: Browser, url: str, stack: FakeStack, replies: list[str]
) -> None:
    with open_watched(browser, url) as (chat, collector):
        for number, hostile in enumerate(replies):
            # In two chunks, so that half of the markup is rendered, too.
            text = fill_in(hostile, f"{collector.url}/{number}")
            stack.enqueue(text[: len(text) // 2], text[len(text) // 2 :], f"\n\nend of {number}")
            chat.ask(f"message {number}")
            expect(chat.replies.last).to_contain_text(f"end of {number}")
        flush(chat.page)
        links = chat.conversation.locator("a[href]").evaluate_all("all => all.map(it => [it.href, it.rel, it.target])")
        for address, rel, target in links:
            assert address.startswith(("http://", "https://"))
            assert set(rel.split()) >= {"noopener", "noreferrer", "nofollow"} and target == "_blank"
        for click in chat.conversation.get_by_text("click", exact=True).all():
            if not click.evaluate("it => it.closest('a')?.href?.startsWith('http')"):
                click.dispatch_event("click")  # a real one needs a page that does not scroll


def test_a_link_opens_in_a_new_tab_without_opener_or_referrer(browser: Browser, url: str, stack: FakeStack) -> None:
    with Collector() as collector, contextlib.closing(browser.new_context()) as context:
        chat = Chat(context.new_page(), url)
        stack.enqueue(f"[there]({collector.url}/a), {collector.url}/b and <{collector.url}/c>")
        chat.ask("Hi")
        links = chat.replies.last.locator("a")
        rels = [set(rel.split()) for rel in links.evaluate_all("all => all.map(it => it.rel)")]
        assert rels == [{"noopener", "noreferrer", "nofollow"}] * 3
        with context.expect_page() as tab:
            links.first.click()
        tab.value.wait_for_load_state()
        assert tab.value.evaluate("[opener, document.referrer]") == [None, ""]
        assert "/a" in collector.paths


def test_other_hostile_texts_of_a_server_request_nothing_and_run_nothing(
    browser: Browser, url: str, stack: FakeStack
) -> None:
    """Reasoning, errors, model names, the version, the finish reason, and a comparison."""
    with open_watched(browser, url) as (chat, collector):
        hostile = fill_in('<img src="URL" onerror="RUN"> ![x](URL) <script>RUN</script>', f"{collector.url}/x")
        stack.models.append(stack.models[0] | {"id": hostile})
        stack.version = hostile
        reasoning = {"choices": [{"index": 0, "delta": {"reasoning_content": hostile}, "finish_reason": None}]}
        stack.enqueue(reasoning, hostile, finish_reason=hostile)
        chat.ask("reasoning")
        stack.enqueue(status=400, body={"error": {"message": hostile}})
        chat.ask("refused")
        stack.enqueue("half", {"error": {"message": hostile}})
        chat.ask("broken off")
        stack.enqueue(status=500, body=hostile)
        chat.ask("page")
        chat.refresh()
        chat.status.get_by_role("button").click()
        expect(chat.page.locator("#check-results li")).to_have_count(8)
        expect(chat.page.locator("#check-results")).not_to_contain_text("Looking")
        chat.page.keyboard.press("Escape")
        chat.page.locator("#model-button").click()
        chat.page.get_by_role("option").filter(has_text="img").click()
        stack.enqueue(hostile)
        chat.send(hostile)
        expect(chat.questions).to_have_count(5)
        chat.wait_until_idle()
        chat.open_tab("Code")
        expect(chat.page.locator("#code-python")).to_contain_text("llama_stack_client")
        chat.open_tab("Time")
        stack.enqueue(reasoning, hostile)
        chat.compare("Same again")
        expect(chat.page.locator("#second-answer .bot.message")).to_contain_text(["Thinking", "<img"])
        chat.page.get_by_label("Differences").check()
        expect(chat.page.locator(".compared").first).to_contain_text("<img")
        chat.button("Close the comparison").click()
        for _ in range(5):
            stack.enqueue(hostile)
        chat.choose_in_menu("Replay with the current settings")
        expect(chat.page.locator("#compare-stop")).not_to_be_visible()
        expect(chat.page.locator(".compared .answer")).to_contain_text(["<img"])
        expect(chat.page.locator(".compared").first).to_contain_text("<img")
