"""Measurements in Chromium: from Enter to the first text, and how busy the page is during a reply."""

import contextlib
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
WARM_UP = 3
# Records when Enter is pressed, and when the page shows one more reply with text.
WATCH = """(replies) => {
  const count = () => [...document.querySelectorAll(replies)].filter((reply) => /lorem/.test(reply.textContent)).length;
  addEventListener("keydown", (event) => {
    if (event.key === "Enter") window.turn = {before: count(), entered: performance.now()};
  }, true);
  new MutationObserver(() => {
    if (window.turn && !window.turn.seen && count() > window.turn.before) window.turn.seen = performance.now();
  }).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


@dataclass(frozen=True)
class Selectors:
    """The elements of the message box and of the replies."""

    box: str
    replies: str


GRADIO = Selectors("textarea[data-testid=textbox] >> visible=true >> nth=-1", ".bot.message")
APP = Selectors("#message textarea", ".bot.message")
CHAINLIT = Selectors("#chat-input", '[data-step-type="assistant_message"] .message-content')


@contextlib.contextmanager
def page(url: str, selectors: Selectors) -> Iterator[Page]:
    """The program's page in a new Chromium, ready for a message. Requests to other addresses are blocked."""
    own = url.partition("?")[0]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(own) else route.abort())
        page.goto(url, wait_until="commit")
        page.wait_for_selector(selectors.box)
        page.wait_for_timeout(3000)
        page.evaluate(WATCH, selectors.replies)
        yield page
        browser.close()


def enter_to_first_text(url: str, selectors: Selectors, server: str, turns: int) -> float:
    """Seconds from Enter to the first text in the page: the median of all turns after the warm-up."""
    httpx.put(f"{server}/script", json={"tokens": 3, "rate": 30.0})
    times = []
    with page(url, selectors) as chat:
        for number in range(WARM_UP + turns):
            seconds = _send(chat, selectors)
            chat.wait_for_timeout(900)
            if number >= WARM_UP:
                times.append(seconds)
    return statistics.median(times)


def stages(url: str, selectors: Selectors, server: str, turns: int) -> dict[str, float]:
    """The steps from Enter to the first text: milliseconds after Enter, medians."""
    httpx.put(f"{server}/script", json={"tokens": 3, "rate": 30.0})
    seen: dict[str, list[float]] = {}
    with page(url, selectors) as chat:
        for number in range(WARM_UP + turns):
            chat.evaluate("performance.clearResourceTimings()")
            first = _send(chat, selectors) * 1000
            entered = float(chat.evaluate("window.turn.entered"))
            chat.wait_for_timeout(900)  # the browser lists a request when it has ended
            requests = chat.evaluate("performance.getEntriesByType('resource').map((entry) => entry.toJSON())")
            if number < WARM_UP:
                continue
            for request in requests:
                for route, what in (("/queue/join", "message"), ("/queue/data", "reply stream")):
                    if route in request["name"]:
                        seen.setdefault(f"{what}: request", []).append(request["startTime"] - entered)
                        seen.setdefault(f"{what}: first byte", []).append(request["responseStart"] - entered)
            seen.setdefault("first text in the page", []).append(first)
    return {what: statistics.median(times) for what, times in seen.items()}


def busy_share(url: str, selectors: Selectors, server: str, tokens: int, rate: float, query: str = "") -> float:
    """The share of the time for which the page's main thread is busy during a reply."""
    httpx.put(f"{server}/script", json={"tokens": tokens, "rate": rate})
    with page(url + query, selectors) as chat:
        metrics = chat.context.new_cdp_session(chat)
        metrics.send("Performance.enable", {"timeDomain": "timeTicks"})

        def measure() -> tuple[float, float]:
            now = {item["name"]: item["value"] for item in metrics.send("Performance.getMetrics")["metrics"]}
            return float(now["TaskDuration"]), float(now["Timestamp"])

        _send(chat, selectors)
        busy_before, begin = measure()
        chat.wait_for_timeout(tokens / rate * 1000 * 0.9)
        busy_after, end = measure()
    return (busy_after - busy_before) / (end - begin)


def _send(chat: Page, selectors: Selectors) -> float:
    chat.evaluate("window.turn = null")
    box = chat.locator(selectors.box)
    box.fill("hello")
    box.press("Enter")
    chat.wait_for_function("window.turn?.seen", timeout=30_000, polling=100)
    return float(chat.evaluate("window.turn.seen - window.turn.entered")) / 1000


def long_reply(url: str, selectors: Selectors, server: str, tokens: int, rate: float, characters: int) -> float:
    """Seconds from Enter until the page shows a reply of this length, divided by the time that its tokens take."""
    httpx.put(f"{server}/script", json={"tokens": tokens, "rate": rate})
    with page(url, selectors) as chat:
        chat.locator(selectors.box).fill("hello")
        chat.locator(selectors.box).press("Enter")
        last = "[...document.querySelectorAll(replies)].at(-1)"
        whole = f"([replies, characters]) => {last}?.textContent.length >= characters"
        chat.wait_for_function(whole, arg=[selectors.replies, characters], timeout=120_000, polling=50)
        seconds = float(chat.evaluate("performance.now() - window.turn.entered")) / 1000
    return seconds / (tokens / rate)
