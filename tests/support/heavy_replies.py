"""Replies that take long to read as Markdown, and how long they keep the page busy at a time."""

from playwright.sync_api import Browser, expect

from tests.support.chromium import Chat, open_chat
from tests.support.fake_stack import FakeStack, Hold

N = 5000
SHOWN_AS_TEXT = {
    "bold": "**a " * N,
    "emphasis": "*a _b " * N,
    "formulas": "\\( a " * N,
    "dollars": "$a $$b " * N,
    "brackets": "[a](" * N,
    "pictures": "![" * N,
    "ticks": "".join("`" * (n % 90 + 1) + "a " for n in range(N)),
    "underscores": "a_" * (20 * N),
    "stars": "a*" * (20 * N),
    "exclamations": "a!" * (20 * N),
    "backslashes": "\\" * (40 * N),
    "quotes": "> " * (N // 2) + "a",
    "quotes without spaces": ">" * (N // 2) + "a",
    "lists": "- " * (N // 2) + "a",
    "numbers": "1. " * (N // 2) + "a",
    "indented lists": "\n".join(" " * 2 * depth + "- a" for depth in range(N // 10)),
    "words": "word " * (8 * N),
    "one word": "a" * (40 * N),
    "Chinese": "中文，" * (13 * N),
}
SHOWN_AS_MARKDOWN = {
    "1,900 openings": "**a " * 1900,
    "960 closed signs": "**a** `b` " * 480,
    "1,900 formulas": "\\( a " * 1900,
    "190 quotes": ">" * 190 + "a",
    "190 lists": "\n".join(" " * 2 * depth + "- a" for depth in range(190)),
    "a long line of code": f"```\n{'x' * 200_000}\n```",
}
MAX_BUSY = 300  # milliseconds at a time
KEEP_LONG_TASKS = """() => {
    window.longTasks = [];
    const keep = (list) => longTasks.push(...list.getEntries().map((it) => it.duration));
    new PerformanceObserver(keep).observe({type: "longtask"});
}"""


def measure_busy(browser: Browser, url: str, stack: FakeStack, text: str, chunks: int) -> int:
    """Milliseconds for which the page is busy at once, at most, while a reply arrives in chunks; the best of three."""
    with open_chat(browser, url) as chat:
        chat.page.evaluate(KEEP_LONG_TASKS)
        return round(min(_longest_task(chat, stack, text, chunks) for _ in range(3)))


def _longest_task(chat: Chat, stack: FakeStack, text: str, chunks: int) -> float:
    length = len(text) // chunks + 1
    parts = [(text[begin : begin + length], Hold()) for begin in range(0, len(text), length)]
    stack.enqueue(*[item for part in parts for item in part], " end")
    chat.start_new_chat()
    chat.page.evaluate("longTasks.length = 0")
    chat.send("Go on.")
    for _, hold in parts:
        assert hold.reached.wait(60)
        chat.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestIdleCallback(done)))")
        hold.release.set()
    expect(chat.conversation.locator("[data-kind=assistant] .bot.message .md").last).to_contain_text("end")
    chat.wait_until_idle()
    return float(chat.page.evaluate("Math.max(0, ...longTasks)"))
