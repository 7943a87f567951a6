"""Messages are shown as they were written: what llama_ui/web/renderer.py is for."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.support.chromium import NARROW, WIDE, Chat, messages, open_chat
from tests.support.fake_stack import FakeStack, Hold
from tests.support.heavy_replies import SHOWN_AS_MARKDOWN, SHOWN_AS_TEXT

pytestmark = pytest.mark.browser

# The text of a message, in which a formula is what KaTeX was given, without its delimiters, in ⟦ ⟧.
TEXT = """(element) => {
    const copy = element.cloneNode(true);
    for (const formula of copy.querySelectorAll(".katex"))
        formula.replaceWith("⟦" + formula.querySelector("annotation").textContent.trim() + "⟧");
    return copy.textContent;
}"""


@pytest.fixture(
    params=[(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")],
    ids=["wide-light", "wide-dark", "narrow-light", "narrow-dark"],
)
def view(request: pytest.FixtureRequest, browser: Browser, url: str, stack: FakeStack) -> Iterator[Chat]:
    size, scheme = request.param
    with open_chat(browser, url, size, color_scheme=scheme) as chat:
        yield chat


def reply(chat: Chat, stack: FakeStack, text: str) -> Locator:
    """The reply with this text, shown."""
    stack.enqueue(text)
    chat.ask("Go on.")
    answer = chat.conversation.locator("[data-kind=assistant] .bot.message .md").last
    expect(answer).not_to_be_empty()
    return answer


def shown(chat: Chat, stack: FakeStack, texts: list[str]) -> list[str]:
    """The texts of the paragraphs of a reply."""
    paragraphs = reply(chat, stack, "\n\n".join(texts)).locator("p")
    expect(paragraphs).to_have_count(len(texts))
    return [str(paragraph.evaluate(TEXT)) for paragraph in paragraphs.all()]


TYPED = [
    "rename __init__ to 2*3*4",
    "$$5 and $$6",
    "# x",
    "a\tb\t\tc    d",
    "  - one\n\n\n    two\n> three\n1) four",
    "<b>bold</b> &lt; &amp; <script>1</script>",
    "`x` ~~y~~ [a](b) ![c](d) \\( e \\) \\\\ https://example.com/a",
    "| a | b |\n|---|---|\n```python\nprint('hi')\n```",
    '<img src="/file=x"> ***x*** __y__',
    "**注意：**请先备份。",
]


def test_what_a_person_typed_is_shown_and_sent_as_typed(view: Chat, stack: FakeStack) -> None:
    for text in TYPED:
        view.ask(text)
        question = view.questions.last
        assert question.inner_text().strip("\n") == text
        assert question.locator(".md :not(div.as-written)").count() == 0
        assert messages(stack)[-1] == ("user", text)
        view.start_new_chat()
        view.close_panel("chats")


def test_a_long_message_is_shown_as_typed(chat: Chat) -> None:
    text = "".join(f"line {number} of *a* <long>\ttext\n" for number in range(600)) + "end"
    chat.ask(text)
    assert chat.questions.last.inner_text().replace("\n\n", "\n") == text


TILDES = [
    "(~2000 lines) and delete (~5000 lines)",
    "5~7次，共100~200元",
    "~/a and ~/b, ~x~, a~b~c",
    "~5 ~6~ ~ 7 ~8",
]


def test_only_two_tildes_strike_through(chat: Chat, stack: FakeStack) -> None:
    assert shown(chat, stack, TILDES) == TILDES
    assert chat.replies.last.locator("del").count() == 0
    struck = reply(chat, stack, "~~gone~~ and ~~多~~的")
    assert struck.locator("del").all_inner_texts() == ["gone", "多"]


BOLD = {
    "**注意：**请先备份。": ["注意："],
    "请看**「重点」**内容": ["「重点」"],
    "这是**重要(必须)**的，**C++**是，**100%**的": ["重要(必须)", "C++", "100%"],
    '**"引用"**是**“引用”**的': ['"引用"', "“引用”"],
    "**重要：**これは**「必須」**です。": ["重要：", "「必須」"],
    "これは**`code`**です": ["code"],
    "**중요(필수)**입니다. **참고:**이것": ["중요(필수)", "참고:"],
    "**สำคัญ:**โปรดอ่าน": ["สำคัญ:"],
    "**注意：**3个，**注意：**please": ["注意：", "注意："],
    "**这是重点，*斜体*，结束**。": ["这是重点，斜体，结束"],
    "*斜体，**粗**，完*": ["粗"],
    "**[链接](https://example.com)**的": ["链接"],
    "**$x$**的": ["⟦x⟧"],
    "请看**“重点”**PDF文件": ["“重点”"],
    "支持**重要(必须)**API": ["重要(必须)"],
    "A **“quoted”** word and **it’s** “**fine**”—**so**": ["“quoted”", "it’s", "fine", "so"],
    "*He said “**hi**” loudly*": ["hi"],
    "2 * 3 * 4 and a ** b ** c": [],
    "**注：****强**，**Q：****A：**因为": ["注：", "强", "Q：", "A："],
}


def test_emphasis_next_to_text_without_spaces(chat: Chat, stack: FakeStack) -> None:
    paragraphs = reply(chat, stack, "\n\n".join(BOLD)).locator("p")
    expect(paragraphs).to_have_count(len(BOLD))
    found = [[strong.evaluate(TEXT) for strong in it.locator("strong").all()] for it in paragraphs.all()]
    assert found == list(BOLD.values())
    expect(paragraphs.first).to_have_text("注意：请先备份。")
    expect(paragraphs.nth(10).locator("em")).to_have_text("斜体，粗，完")
    expect(paragraphs.nth(16).locator("em")).to_have_text("He said “hi” loudly")


LINKS = {
    "见 https://example.com/a。然后": "https://example.com/a",
    "（https://example.com/a?b=c）": "https://example.com/a?b=c",
    "访问https://example.com查看": "https://example.com",
    "“https://example.com/x”、": "https://example.com/x",
    "https://example.com/a，https 之后": "https://example.com/a",
    "https://example.com/a！": "https://example.com/a",
    "https://example.com/维基/中国 の": "https://example.com/维基/中国",
    "**https://example.com/a**。": "https://example.com/a",
    "See https://example.com/a_b_c(d), then.": "https://example.com/a_b_c(d)",
    "https://example.com:8000/?q=1#x.": "https://example.com:8000/?q=1#x",
    "http://localhost:8000.": "http://localhost:8000",
}


def test_a_bare_link_ends_at_full_width_punctuation(chat: Chat, stack: FakeStack) -> None:
    links = reply(chat, stack, "\n\n".join(LINKS)).locator("a")
    assert links.all_inner_texts() == list(LINKS.values())


FORMULAS = {
    "$a^2$ and \\(b_1\\) and \\( c \\)": "⟦a^2⟧ and ⟦b_1⟧ and ⟦c⟧",
    "其中$x$是，\\(y\\)是。": "其中⟦x⟧是，⟦y⟧是。",
    "$n$ items in $O(n \\log n)$, 3$\\times$3": "⟦n⟧ items in ⟦O(n \\log n)⟧, 3⟦\\times⟧3",
    "$$E = mc^2$$": "⟦E = mc^2⟧",
    "so \\[ a * b * c_1 \\] holds": "so ⟦a * b * c_1⟧ holds",
    "$$\na\n+ b\n$$": "⟦a\n+ b⟧",
    "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}": "⟦\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}⟧",
    "\\begin{pmatrix} 1 & 2 \\end{pmatrix}": "⟦\\begin{pmatrix} 1 & 2 \\end{pmatrix}⟧",
    "\\( D_{KL}(P \\| Q) \\), \\(\\|x\\|_2\\)": "⟦D_{KL}(P \\| Q)⟧, ⟦\\|x\\|_2⟧",
    "\\[ dp[i][j] = dp[i-1][j-1] + 1 \\] and \\(i \\in [n-1]\\)": "⟦dp[i][j] = dp[i-1][j-1] + 1⟧ and ⟦i \\in [n-1]⟧",
    'the $k$th, “\\(x\\)”, "\\(\\alpha\\)", 2\\(x+1\\)': 'the ⟦k⟧th, “⟦x⟧”, "⟦\\alpha⟧", 2⟦x+1⟧',
    "$+$, $<$, \\(≤\\), $ x^2 + y $": "⟦+⟧, ⟦<⟧, ⟦≤⟧, ⟦x^2 + y⟧",
    "$$\nx = 1\n\n+ 2\n$$": "⟦x = 1\n\n+ 2⟧",
    "$P(A \\text{ and then } B)$": "⟦P(A \\text{ and then } B)⟧",
    "```a``` is $x^2$": "a is ⟦x^2⟧",
    "\\begin{gather*} x < y \\end{gather*}": "⟦\\begin{gather*} x < y \\end{gather*}⟧",
    "\\(xy\\), \\(dx\\) and $$mn$$": "⟦xy⟧, ⟦dx⟧ and ⟦mn⟧",
}
NO_FORMULAS = [
    "It costs $5 and $10.",
    "$5-$10, $5/$10, US$5 or A$6, $1,000 to $2,000",
    "5$ and 10$, 从$100和$200到$300",
    "$$$ and $$$$ restaurants",
    "$HOME and $PATH, $HOME/$USER, $A:$B, ${A}/${B}, $1,$2",
    "for ($i=0; $i<$n; $i++) { $x = $y; }",
    "match \\(\\d+\\) or \\(\\w*\\) in prose",
    "sed s/\\(foo\\)/\\1/ and \\([a-z]\\) and \\(.*\\)",
    "grep '\\(foo\\|bar\\)' and \\[\\d+\\] and s/\\(a\\)\\(b\\)/x/ and \"\\(name\\)\"",
    "from \\begin{align} to the end with \\end{align}",
    "$\\def\\a{x}\\a$ and $\\newcommand{\\b}{y}$",
    "unclosed \\( a and $x^2 and $$ y",
    "What KaTeX can't read: $\\foo{x}$ and \\(\\frac{1\\) and $$\\begin{x}$$",
    "Not allowed: $\\href{https://example.com}{x}$ and $\\includegraphics{x}$",
    "pay $cash or card$, $5 or 5$",
    "%%%LATEX_BLOCK_0%%%",
    "inline maths uses \\( and \\), display uses \\[ and \\], or $$ and $$; \\(see p. 5\\)",
    "\\begin{multline}\n  a + b \\\\\n  + c *d* e\n\\end{multline}",
    f"\\[\n{'  a_{i} &= *b* \\\\ ' * 400}\n\\]",
]


def test_formulas_are_found_where_they_are_maths(chat: Chat, stack: FakeStack) -> None:
    assert shown(chat, stack, list(FORMULAS)) == list(FORMULAS.values())


def test_what_is_no_formula_stays_as_written(view: Chat, stack: FakeStack) -> None:
    assert shown(view, stack, NO_FORMULAS) == NO_FORMULAS
    last = view.replies.last
    assert last.locator(".katex, .katex-error, [style*=color]").count() == 0


def test_noncharacters_are_shown_as_they_are(chat: Chat, stack: FakeStack) -> None:
    texts = ["\ufdd00\ufdd1 and \ufdd10\ufdd0", "**", "$x$"]
    assert shown(chat, stack, texts) == texts


def test_prices_with_two_dollars_lose_nothing(chat: Chat, stack: FakeStack) -> None:
    (text,) = shown(chat, stack, ["$$5 and $$6, then $$x^2$$ and $y$"])
    assert text.startswith("$$5 and $$6, then ")


def test_formulas_in_lists_tables_and_quotes_but_not_in_code(chat: Chat, stack: FakeStack) -> None:
    text = (
        "1. One\n\n   $$\n   x\n   + y\n   $$\n\n2. Two \\[\na\n+ b\n\\]\n\n"
        "| \\(|x|\\) | $|y|$ |\n|---|---|\n| $5 | $6 |\n\n> $$\n> z\n> + 1\n> $$\n\n"
        "`$a$` and ``\\(b\\)``\n\n```\n$c$ $$d$$ \\(e\\)\n```\n\n    $f$\n\n- ```sh\n  echo $A $B$\n  ```\n"
    )
    answer = reply(chat, stack, text)
    assert answer.locator("th").evaluate_all(f"(all) => all.map({TEXT})") == ["⟦|x|⟧", "⟦|y|⟧"]
    assert answer.locator("td").all_inner_texts() == ["$5", "$6"]
    expect(answer.locator("ol .katex-display")).to_have_count(2)
    assert answer.locator("blockquote").evaluate_all(f"(all) => all.map({TEXT}).map((it) => it.trim())") == ["⟦z\n+ 1⟧"]
    code = [text.strip() for text in answer.locator("code").all_inner_texts()]
    assert code == ["$a$", "\\(b\\)", "$c$ $$d$$ \\(e\\)", "$f$", "echo $A $B$"]


def test_a_wide_formula_scrolls_in_its_own_box(browser: Browser, url: str, stack: FakeStack) -> None:
    with open_chat(browser, url, NARROW) as chat:
        box = reply(chat, stack, f"$$ {' + '.join(f'x_{{{n}}}' for n in range(40))} $$").locator(".katex-display")
        assert box.evaluate("(box) => box.scrollWidth > box.clientWidth")
        assert chat.fits()


DIAGRAM = 'graph TD\n  A["<b>x</b> & y"] --> B'
BROKEN = "graph TD\n  A ---- -->"


def test_a_whole_diagram_has_its_source_below_it(view: Chat, stack: FakeStack) -> None:
    answer = reply(view, stack, f"Look:\n\n```mermaid\n{DIAGRAM}\n```\n\nend")
    expect(answer.locator(".mermaid svg")).to_be_visible()
    expect(answer.locator(".mermaid svg")).to_contain_text("x & y")
    source = answer.locator("details pre")
    expect(source).not_to_be_visible()
    answer.get_by_text("Source").click()
    expect(source).to_be_visible()
    assert source.inner_text().strip() == DIAGRAM
    assert view.fits()


def test_a_broken_diagram_is_shown_as_code(chat: Chat, stack: FakeStack) -> None:
    for text in (BROKEN, "no diagram", "", "%%{init: {}}%%", "pie\n  x"):
        answer = reply(chat, stack, f"Look:\n\n```mermaid\n{text}\n```\n\nend")
        expect(answer.locator(".mermaid")).to_have_count(0)
        expect(answer.locator("svg[id^=mermaid]")).to_have_count(0)
        code = answer.locator("pre")
        expect(code).to_be_visible()
        expect(code).to_have_text(text, use_inner_text=True)
        assert chat.page.locator("body > [id^=dmermaid]").count() == 0


def test_a_half_streamed_diagram_is_code_until_it_is_whole(chat: Chat, stack: FakeStack) -> None:
    stack.enqueue(f"Look:\n\n```mermaid\n{DIAGRAM}", hold := Hold(), "\n```\n\nend")
    chat.send("Draw.")
    answer = chat.conversation.locator(".bot.message .md").last
    expect(answer.locator("pre")).to_contain_text("<b>x</b> & y")
    expect(answer.locator(".mermaid")).to_have_count(0)
    hold.release.set()
    expect(answer.locator(".mermaid svg")).to_be_visible()


def test_what_would_take_long_to_read_as_markdown_is_shown_as_plain_text(chat: Chat, stack: FakeStack) -> None:
    for kind, text in SHOWN_AS_TEXT.items():
        answer = reply(chat, stack, text)
        assert answer.locator(":not(div.as-written)").count() == 0, kind
        assert answer.evaluate("(it) => it.textContent") == text, kind
        chat.start_new_chat()


def test_what_can_be_read_as_markdown_is(chat: Chat, stack: FakeStack) -> None:
    letters = "(it) => it.textContent.replace(/[^\\p{L}]/gu, '').length"
    for kind, text in SHOWN_AS_MARKDOWN.items():
        answer = reply(chat, stack, text)
        assert answer.locator("p, pre, td, li").count() > 0, kind
        assert answer.evaluate(letters) >= sum(map(str.isalpha, text)), kind
        chat.start_new_chat()


def test_a_reply_that_is_too_much_is_shown_as_plain_text(view: Chat, stack: FakeStack) -> None:
    text = "**a** <b> " * 3000
    answer = reply(view, stack, text)
    assert answer.locator(":not(div.as-written)").count() == 0
    assert answer.evaluate("(it) => it.textContent") == text
    assert view.fits()


def test_a_long_reply_in_many_paragraphs_is_rendered(chat: Chat, stack: FakeStack) -> None:
    answer = reply(chat, stack, "- **one** `two`\n\n**three** of *four*\n\n" * 700)
    expect(answer.locator("strong")).to_have_count(1400)


def test_a_table_with_many_columns_scrolls_in_its_own_box_and_keeps_words_whole(view: Chat, stack: FakeStack) -> None:
    heads = [f"Internationalization{number}" for number in range(20)]
    row = f"| {' | '.join(heads)} |\n"
    answer = reply(view, stack, f"{row}|{'---|' * 20}\n{row}\n| a | b |\n|---|---|\n| word | words |")
    wide, narrow = answer.locator("table").all()
    assert wide.evaluate("(table) => table.scrollWidth > table.clientWidth")
    assert narrow.evaluate("(table) => table.scrollWidth <= table.clientWidth")
    lines = "(cells) => cells.map((it) => it.clientHeight / parseFloat(getComputedStyle(it).lineHeight))"
    assert max(answer.locator("td").evaluate_all(lines)) < 3
    assert view.fits()


def test_what_is_too_long_for_a_cell_does_not_cover_the_next_one(view: Chat, stack: FakeStack) -> None:
    words = [f"https://example.com/{'a' * 80}", f"`{'x_' * 40}`", "Wort" * 30]
    answer = reply(view, stack, "| a | b |\n|---|---|\n" + "".join(f"| {word} | next |\n" for word in words))
    cells = answer.locator("td")
    expect(cells).to_have_count(6)
    assert cells.evaluate_all("(cells) => cells.every((it) => it.scrollWidth <= it.clientWidth)")


def test_deep_nesting_stays_readable(view: Chat, stack: FakeStack) -> None:
    levels = "\n".join(f"{'  ' * depth}- level {depth}" for depth in range(30))
    answer = reply(view, stack, f"{levels}\n\n{'>' * 30} quoted\n\n1. One\n\n   Two")
    for text in (answer.get_by_text("level 29"), answer.get_by_text("quoted")):
        box = text.bounding_box()
        assert box and box["height"] < 60 and box["x"] + 60 < (view.page.viewport_size or WIDE)["width"]
        expect(text).to_have_css("font-size", "16px")
    first, second = [it.bounding_box() for it in answer.locator("ol p").all()]
    assert first and second and second["y"] > first["y"] + 20


TASKS = """- [x] done
- [ ] open

Apart:

- [x] **bold** first

- [ ] `code` first

- [x] plain"""
CONTRAST = """(box) => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const linear = (it) => (it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = numbers(colour).map((it) => linear(it / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const opaque = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return numbers(colour)[3] === 0 ? opaque(element.parentElement) : colour;
    };
    const [one, other] = [luminance(getComputedStyle(box).borderColor), luminance(opaque(box.parentElement))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


def test_the_boxes_and_ticks_of_tasks_are_visible(view: Chat, stack: FakeStack) -> None:
    answer = reply(view, stack, TASKS)
    boxes = answer.get_by_role("checkbox")
    expect(boxes).to_have_count(5)
    states: list[Any] = [
        (box.is_checked(), box.evaluate("(it) => it.closest('li').innerText.trim()")) for box in boxes.all()
    ]
    assert states == [
        (True, "done"),
        (False, "open"),
        (True, "bold first"),
        (False, "code first"),
        (True, "plain"),
    ]
    for box in boxes.all():
        assert box.evaluate(CONTRAST) >= 3
        if box.is_checked():
            expect(box).to_have_css("background-image", re.compile("url"))
