"""Sixty replies, whole and half-finished: no character of their prose is lost on the page."""

import html
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from llama_ui.core.conversation import Conversation, Reply, Turn
from llama_ui.workbench.export import to_json
from tests.support.chromium import Chat, file

pytestmark = pytest.mark.browser
CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.md"))
STEP = 50  # characters

# The text of each reply. A formula, a picture and a line break are what they were drawn from; a diagram is its source
# below it. Each block begins on a line of its own.
TEXTS = """() => [...document.querySelectorAll("#conversation [data-kind=assistant] .bot.message .md")].map((reply) => {
    const copy = reply.cloneNode(true);
    const source = (formula) => formula.querySelector("annotation").textContent;
    for (const formula of copy.querySelectorAll(".katex")) formula.replaceWith(source(formula));
    for (const image of copy.querySelectorAll("img")) image.replaceWith(image.alt);
    for (const line of copy.querySelectorAll("br")) line.replaceWith("\\n");
    for (const drawn of copy.querySelectorAll(".mermaid, summary, button")) drawn.remove();
    for (const block of copy.querySelectorAll("p, li, pre, td, th, h1, h2, h3, blockquote, .formula, div")) {
        block.prepend("\\n");
        block.append("\\n");
    }
    return copy.textContent;
})"""

MARKER = re.compile(r"^(?:[ \t]*(?:[-+*](?=\s|$)|#{1,6}(?=\s|$)|>|\d+[.)](?=\s|$)))+", re.MULTILINE)
FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})[^`\n]*$", re.MULTILINE)
DEFINITION = re.compile(
    r"^\[([^]]+)\]:[ \t]+(?=[a-z]+:|[/#.]|[\w-]+\.\w)\S+(?:[ \t]+\"[^\"\n]*\")?[ \t]*$", re.MULTILINE
)


def prose(text: str) -> str:
    """The characters of a text that are no signs of Markdown, without white space."""
    text = re.sub(r"\\[()\[\]]", "", text).replace("\\", "")
    text = MARKER.sub("", FENCE.sub(r"\1", text))
    text = re.sub(r"^[ \t]*[-=*_| \t]+$", "", text, flags=re.MULTILINE)  # rules, and the lines below headings
    return re.sub(r"~~+|!(?=\[)|[*_`|$\[\]\s]", "", text)


def written(text: str) -> str:
    """The same for a reply as it was sent: Markdown does not show addresses, boxes and the names of languages."""
    definitions = DEFINITION.findall(text)
    text = DEFINITION.sub("", text)
    for name in definitions:
        text = re.sub(rf"\]\[{re.escape(name)}\]", "]", text, flags=re.IGNORECASE)
    text = re.sub(r"\]\([^\s()]*(?: \"[^\"\n]*\")?\)", "]", text)
    text = re.sub(r"<((?:https?:)[^>\s]+)>", r"\1", text)
    text = re.sub(r"^([ \t]*[-*+] )\[[ xX]\] ", r"\1", text, flags=re.MULTILINE)
    return prose(html.unescape(text))


def test_the_corpus_has_sixty_replies() -> None:
    assert len(CORPUS) == 60


def test_no_character_of_prose_is_lost(chat: Chat) -> None:
    replies = [
        text[:end]
        for path in CORPUS
        if (text := path.read_text())
        for end in [*range(STEP, len(text), STEP), len(text)]
    ]
    turns = tuple(Turn("Go on.", replies=(Reply(text),)) for text in replies)
    with chat.page.expect_file_chooser() as chooser:
        chat.choose_in_menu("Import a chat…")
    chooser.value.set_files([file("chat.json", to_json(Conversation("", turns), {}).encode())])
    expect(chat.conversation.locator("[data-kind=assistant] .bot.message .md")).to_have_count(len(replies))
    # Those that are not blank: a reply that begins with the addresses of its links is, at first.
    count = (
        "(count) => [...document.querySelectorAll('.bot.message .md')].filter((it) => it.textContent).length === count"
    )
    chat.page.wait_for_function(count, arg=sum(map(bool, map(written, replies))))
    expect(chat.page.locator(".mermaid:not(:has(svg))")).to_have_count(0)
    lost = []
    for sent, shown in zip(replies, chat.page.evaluate(TEXTS), strict=True):
        if written(sent) != prose(shown):
            lost.append(f"{sent!r}\n  sent:  {written(sent)}\n  shown: {prose(shown)}")
    assert lost == [], "\n".join(lost)
