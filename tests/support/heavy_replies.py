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
    "lines": "# a\n" * (4 * N),
    "rows": f"| a |\n|---|\n{'| x |\n' * (3 * N)}",
    "cells": f"{'|a' * 20}|\n{'|-' * 20}|\n" + f"{'|a' * 20}|\n" * 1500,
    "addresses": "https://example.com/ \n" * N,
    "prices": "It costs $5.\n" + "Row: \\$6 a\n" * N,
    "short formulas": "$a^2$ " * N,
    "quotes behind an open fence in a quotation": f"> ```\n\n{'> ' * (N // 2)}a",
    "quotes behind an open fence in a list": f"- ```\n  x\n\n{'> ' * (N // 2)}a",
    "quotes behind a fence in HTML": f"<div>\n```\n\n{'> ' * (N // 2)}a\n```",
}
SHOWN_AS_MARKDOWN = {
    "1,900 openings": "**a " * 1900,
    "960 closed signs": "**a** `b` " * 480,
    "900 formulas without an end": "\\( a " * 900,
    "490 formulas": "$a^2$ " * 490,
    "long formulas": "\n\n".join(["$" + "a^2 + x_{1} + " * 70 + "1$"] * 10),
    "a formula that grows": f"$\\def\\a{{{'x' * 400}}}{'\\a' * 300}$",
    "deep formulas": "$" + "\\sqrt{" * 200 + "}" * 200 + "$",
    "1,900 addresses": "https://example.com/ \n" * 1900,
    "9,900 cells": f"{'|a' * 20}|\n{'|-' * 20}|\n" + f"{'|a' * 20}|\n" * 460,
    "many blank lines": "a\n" + "\n" * 100_000 + "\tb",
    "1,900 rows": f"| a |\n|---|\n{'| x |\n' * 1900}",
    "an open block of code": f"```\n{'<a>x</a>\n' * 1300}<b",
    "a block of code in a list": f"1. One\n\n   ```\n{'   <a>x</a>\n' * 900}   ```\n",
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
