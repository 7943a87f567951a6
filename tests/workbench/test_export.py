"""Conversations as files, and files as conversations."""

import base64
import io
import json
import math
import struct
import zlib
from typing import Any

import PIL.Image
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llama_ui.core.conversation import Reply
from llama_ui.core.errors import BadReply, InputError
from llama_ui.core.messages import Image, from_gradio, images, message_text
from llama_ui.core.stats import Stats
from llama_ui.web import view
from llama_ui.web.attachments import attached
from llama_ui.workbench.export import FORMAT, MAX_BYTES, MAX_MESSAGES, SETTINGS, from_json, to_json, to_markdown

SIDE = 64
UNSET = dict.fromkeys(SETTINGS, "")
CHOSEN = {
    "system_prompt": "You are shakespeare.\n",
    "model": "fake/llama",
    "temperature": "0,5",
    "top_p": "",
    "max_tokens": "200",
    "seed": "7",
    "reasoning_effort": "low",
}
STATS = Stats(0.1, 0.314, 0.5, 13, 22, estimated=False, finish_reason="stop")


def picture(color: str, kind: str = "PNG") -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (9, 7), color).save(file, kind)
    made = attached(f"x.{kind.lower()}", file.getvalue(), SIDE, 1)
    assert isinstance(made, Image)
    return made


RED, BLUE = picture("red"), picture("blue", "JPEG")


def user(text: str, *pictures: Image) -> dict[str, Any]:
    parts = [*([view.text_part(text)] if text else []), *map(view.image_part, pictures)]
    return view.message("user", "") | {"content": parts}


def reply(text: str, stats: Stats = STATS) -> dict[str, Any]:
    return view.answer(Reply(text=text, model="fake/llama", stats=stats, ended=True), CHOSEN)


def thought(text: str, seconds: float = 3.2) -> dict[str, Any]:
    return view.thinking(Reply(reasoning=text, reasoning_seconds=seconds))


def messages_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return json.loads(to_json(history, UNSET))["messages"]


def file_of(*messages: object, **more: object) -> str:
    return json.dumps({"format": FORMAT, "version": 1, "messages": messages, **more})


def asked(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def pictured(url: object) -> dict[str, object]:
    return asked([{"type": "image_url", "image_url": {"url": url}}])


def refusal(content: str | bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        from_json(content, SIDE)
    return caught.value


# Out


def test_a_file_has_the_messages_as_openais_api_has_them() -> None:
    history = [user("Look:", RED), thought("Hm.\n  Red."), reply("It is red. 🦙"), user("</script>")]
    file = to_json(history, CHOSEN, "Red")
    assert "🦙" in file and '\n  "title": "Red"' in file
    url = f"data:image/png;base64,{RED.data}"
    assert json.loads(file) == {
        "format": "llama-ui conversation",
        "version": 1,
        "title": "Red",
        "settings": {
            "model": "fake/llama", "temperature": "0,5", "max_tokens": "200", "seed": "7", "reasoning_effort": "low",
        },
        "messages": [
            {"role": "system", "content": "You are shakespeare.\n"},
            asked([{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": url}}]),
            {
                "role": "assistant",
                "content": "It is red. 🦙",
                "reasoning": "Hm.\n  Red.",
                "reasoning_seconds": 3.2,
                "sent": CHOSEN,
                "numbers": {
                    "waited": 0.1,
                    "first": 0.314,
                    "generating": 0.5,
                    "prompt_tokens": 13,
                    "completion_tokens": 22,
                    "estimated": False,
                    "finish_reason": "stop",
                },
            },
            asked("</script>"),
        ],
    }  # fmt: skip


def test_the_pages_own_notes_are_in_no_file() -> None:
    history = [
        user("Hi."),
        view.note("waiting", "*Waiting…*"),
        view.message("assistant", "Hello."),
        view.note("notice", "ℹ️ Not sent."),
        view.note("ending", "ℹ️ Cut off."),
        view.error_note(BadReply("It broke.", "Mend it.")),
    ]
    said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    assert messages_of(history) == said
    assert to_markdown(history, UNSET) == "# Conversation\n\n## User\n\nHi.\n\n## Assistant\n\nHello.\n"


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_a_blank_system_prompt_is_in_no_file(prompt: str) -> None:
    assert json.loads(to_json([user("Hi.")], UNSET | {"system_prompt": prompt}))["messages"] == [asked("Hi.")]


def test_thoughts_without_an_answer_stay() -> None:
    broken = view.error_note(BadReply("No.", ""))
    history = [user("1"), thought("a"), broken, user(" "), user("2"), thought("b"), thought("c")]
    assert messages_of(history) == [
        asked("1"),
        {"role": "assistant", "content": "", "reasoning": "a", "reasoning_seconds": 3.2},
        asked("2"),
        {"role": "assistant", "content": "", "reasoning": "b", "reasoning_seconds": 3.2},
        {"role": "assistant", "content": "", "reasoning": "c", "reasoning_seconds": 3.2},
    ]


def test_a_receipt_belongs_to_a_reply_only() -> None:
    receipt = {"metadata": reply("x")["metadata"]}
    blank = thought(" ")
    history = [user(" ") | receipt, user("1") | receipt, blank | {"metadata": blank["metadata"] | receipt["metadata"]}]
    assert messages_of(history) == [asked("1")]


def test_a_thought_that_was_stopped_has_no_seconds() -> None:
    history = [user("1"), view.thinking(Reply(reasoning="a", thinking=True))]
    assert messages_of(history)[1] == {"role": "assistant", "content": "", "reasoning": "a"}
    assert "<summary>Thoughts</summary>\n\na\n\n</details>" in to_markdown(history, UNSET)


def test_plain_strings_as_content_are_exported() -> None:
    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "  Hello."}]
    assert messages_of(history) == history


@pytest.mark.parametrize(
    "log",
    [
        "", "x", "[" * 10_000, "[]", "3", '"x"', '{"numbers": NaN}', "{}", '{"sent": 1, "numbers": []}', "\ud800", 5,
        '{"sent": {"key": "x", "model": 5, "seed": null}}', None, {"sent": {}},
    ],
)  # fmt: skip
def test_a_receipt_that_is_none_is_left_out(log: object) -> None:
    history = [user("1"), view.message("assistant", "2") | {"metadata": {"log": log}}]
    assert messages_of(history)[1] == {"role": "assistant", "content": "2"}


def test_characters_that_no_file_can_carry_are_replaced() -> None:
    history = [user("a\ud83db"), thought("c\0"), reply("d\udc00\ud800")]
    for write in (to_json, to_markdown):
        text = write(history, CHOSEN | {"model": "x\ud800", "system_prompt": "e\0"}, "t\udc00")
        text.encode()
        assert "\0" not in text and "a\ufffdb" in text and "d\ufffd\ufffd" in text and "c\ufffd" in text
    assert from_json(to_json(history, CHOSEN, "t"), SIDE).history[0] == user("a\ufffdb")


def test_markdown_is_to_read() -> None:
    history = [
        user("    indented\n# A heading", RED, BLUE),
        thought("Hm."),
        reply("```\ncode\n```\n"),
        user("", RED),
        reply("Yes.", Stats(first=1.0, prompt_tokens=5, completion_tokens=1)),
    ]
    assert to_markdown(history, CHOSEN | {"model": "a`b"}, "On\nllamas") == (
        "# On llamas\n\n"
        "- Model: `a'b`\n- Temperature: `0,5`\n- Max tokens: `200`\n- Seed: `7`\n- Reasoning effort: `low`\n\n"
        "## System\n\nYou are shakespeare.\n\n\n"
        "## User\n\n    indented\n# A heading\n\n*(2 pictures)*\n\n"
        "## Assistant\n\n<details><summary>Thought for 3.2 s</summary>\n\nHm.\n\n</details>\n\n"
        "```\ncode\n```\n\n\n*0.31 s to first token · 42.0 tokens/s · 13 tokens in, 22 out · stop*\n\n"
        "## User\n\n*(1 picture)*\n\n"
        "## Assistant\n\nYes.\n\n*1.00 s to first token · ≈5 tokens in, ≈1 out*\n"
    )


# Out and in again

ODD = st.sampled_from(
    [
        "  indented\n",
        "\n\n",
        " \t",
        "</script>",
        "🦙",
        "\x1b[0m\x07",
        "\r\n",
        "\u202e\ufeff",
        '\\u0000"\\',
        "## User",
        "é",
    ]
)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | ODD, max_size=3).map(
    "".join
)
NOTES = st.builds(view.note, st.sampled_from(["error", "notice", "ending", "waiting"]), TEXTS)
SECONDS = st.floats(0, 1e6)
COUNTS = st.integers(0, 10**6)
REASONS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
NUMBERS = st.builds(Stats, SECONDS, st.none() | SECONDS, SECONDS, COUNTS, COUNTS, st.booleans(), REASONS)
ITEMS = st.one_of(
    st.builds(lambda text, pictures: user(text, *pictures), TEXTS, st.lists(st.sampled_from([RED, BLUE]), max_size=4)),
    st.builds(lambda text: {"role": "user", "content": text}, TEXTS),
    st.builds(
        lambda texts: {"role": "assistant", "content": [*map(view.text_part, texts)]}, st.lists(TEXTS, max_size=2)
    ),
    st.builds(reply, TEXTS, NUMBERS),
    st.builds(thought, TEXTS, SECONDS),
    NOTES,
)
SHORT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
ENTERED = st.fixed_dictionaries(dict.fromkeys(SETTINGS, SHORT) | {"system_prompt": TEXTS})


@given(st.lists(ITEMS, max_size=8), ENTERED, SHORT)
@example([thought("x"), user("1"), user("2", RED), view.note("error", "e"), reply(" ")], UNSET, "")
def test_what_is_imported_continues_as_what_was_exported(
    history: list[dict[str, Any]], entered: dict[str, str], title: str
) -> None:
    file = to_json(history, entered, title)
    read = from_json(file.encode(), SIDE)
    prompt = entered["system_prompt"]
    assert from_gradio("next", read.history, prompt) == from_gradio("next", history, prompt)
    assert read.settings == {name: text if text.strip() else "" for name, text in entered.items()}
    assert to_json(read.history, read.settings, read.title) == file


def test_a_history_comes_back_as_the_page_had_it() -> None:
    history = [
        user("Look:", RED, BLUE),
        thought("Hm."),
        reply("Red."),
        user(" ", RED),
        view.message("assistant", "\n x"),
    ]
    read = from_json(to_json(history, CHOSEN, "A title"), SIDE)
    assert read.history == history
    assert (read.title, read.settings) == ("A title", CHOSEN)


@given(st.lists(ITEMS, max_size=5), ENTERED, SHORT)
def test_markdown_is_always_text_that_can_be_saved(history: list[Any], entered: dict[str, str], title: str) -> None:
    text = to_markdown(history, entered, title)
    text.encode()
    for item in history:
        if item["role"] == "user" and message_text(item).strip():
            assert message_text(item) in text


def test_pictures_as_attachments_makes_them_come_back() -> None:
    noise = PIL.Image.effect_noise((700, 700), 90)
    for mode, kind in (("L", "JPEG"), ("RGB", "JPEG"), ("RGB", "PNG"), ("L", "PNG")):
        file = io.BytesIO()
        noise.convert(mode).save(file, kind)
        made = attached(f"x.{kind.lower()}", file.getvalue(), 1568, 1)
        assert isinstance(made, Image)
        read = from_json(to_json([user("", made)], UNSET), 1568)
        assert images(read.history[0]["content"]) == (made,)


# In


def test_another_programs_messages_can_be_imported() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Hi.", "name": "Ada", "ts": 5},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": []},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache": {}}]},
    ]
    history = [user("Hi."), view.message("assistant", "Hello."), user("a\n\nb")]
    for file in (messages, {"messages": messages}, {"model": "x", "messages": messages, "version": 9}):
        read = from_json(json.dumps(file), SIDE)
        assert read.history == history
        assert read.settings == UNSET | {"system_prompt": "Be brief."}


def test_a_picture_before_the_text_comes_after_it() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": view.data_url(RED), "detail": "low"}},
        {"type": "text", "text": "x"},
    ]
    assert from_json(json.dumps([asked(parts)]), SIDE).history == [user("x", RED)]


def test_a_file_with_a_byte_order_mark_is_read() -> None:
    file = to_json([user("é")], UNSET)
    for content in (b"\xef\xbb\xbf" + file.encode(), "\ufeff" + file, f"\n {file}\n"):
        assert from_json(content, SIDE).history == [user("é")]


def test_blank_messages_are_dropped() -> None:
    blank = [asked(""), asked(" \n"), asked(None), asked([]), {"role": "assistant", "content": " ", "reasoning": "\n"}]
    assert from_json(file_of(*blank), SIDE).history == []


def test_settings_are_taken_as_texts_and_only_those_that_are_known() -> None:
    settings = {
        "system_prompt": "x" * 1000, "model": "m", "temperature": 0.5, "seed": 7, "top_p": True, "max_tokens": [1],
        "reasoning_effort": "x" * 301, "api_key": "k", "base_url": "http://evil",
    }  # fmt: skip
    read = from_json(file_of(settings=settings), SIDE)
    known = {"system_prompt": "x" * 1000, "model": "m", "temperature": "0.5", "seed": "7"}
    assert read.settings == UNSET | known
    spoken = from_json(file_of({"role": "system", "content": "Be brief."}, settings=settings), SIDE)
    assert spoken.settings == UNSET | known | {"system_prompt": "Be brief."}
    for number in ("1e999", "-1e999", "1" * 4000, "1" * 400):
        assert (
            from_json(
                f'{{"settings": {{"seed": {number}}}, "messages": [{{"role": "user", "content": "x"}}]}}', SIDE
            ).settings
            == UNSET
        )


def test_a_title_is_one_short_line() -> None:
    assert from_json(file_of(title="a\n\u202eb" + "c" * 999), SIDE).title == "a b" + "c" * 97
    assert from_json(file_of(title={"x": 1}), SIDE).title == ""


def test_only_sound_numbers_are_taken() -> None:
    numbers = {"waited": -1, "first": 0.5, "generating": 1e9, "prompt_tokens": 1.5, "completion_tokens": 5, "x": "y"}
    numbers |= {"estimated": "no", "finish_reason": "x" * 301}
    sent = {"model": "m", "system_prompt": "s", "seed": 5, "top_p": "1" * 301, "api_key": "k", "temperature": "\0"}
    answer = {"role": "assistant", "content": "2", "numbers": numbers, "sent": sent}
    (item,) = from_json(file_of(answer), SIDE).history
    log = json.loads(item["metadata"]["log"])
    assert log["sent"] == {"model": "m", "system_prompt": "s"}
    assert Stats(**log["numbers"]) == Stats(first=0.5, completion_tokens=5)
    assert log["line"] == "0.50 s to first token · ≈0 tokens in, ≈5 out"


@pytest.mark.parametrize("wrong", ["1e999", "-1", str(10**400), '"5"', "true", "[]", "null", "1e9"])
def test_wrong_numbers_are_dropped_without_a_word(wrong: str) -> None:
    answer = (
        f'{{"role": "assistant", "content": "2", "reasoning": "r", "reasoning_seconds": {wrong}, "numbers": {wrong}'
    )
    sent = f'"sent": {{"model": {wrong}}}, "numbers": {{"waited": {wrong}, "completion_tokens": {wrong}}}'
    for text in (f"[{answer}}}]", f"[{answer}, {sent}}}]"):
        thinking, item = from_json(text, SIDE).history
        assert thinking["metadata"] == {"title": "Thinking", "status": "done"}
        log = (item["metadata"] or {}).get("log")
        numbers = json.loads(log)["numbers"] if log else {}
        assert all(math.isfinite(number) for number in numbers.values() if isinstance(number, float))
        assert Stats(**numbers) == Stats()


DEEP = "[" * 100_000
CHUNK = struct.pack(">I", 3) + b"tEXta\0b" + struct.pack(">I", zlib.crc32(b"tEXta\0b"))
PNG = base64.b64decode(RED.data)
STUFFED = "data:image/png;base64," + base64.b64encode(PNG[:33] + CHUNK * 50_000 + PNG[33:]).decode()
SEGMENTS = b"\xff\xd8" + b"\xff\xe0\x00\x02" * 500_000 + base64.b64decode(BLUE.data)[2:]
DATA = view.data_url(RED)
LARGE = io.BytesIO()
PIL.Image.new("L", (SIDE + 1, 1)).save(LARGE, "PNG")
BAD: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "The file is empty."),
    "blanks": (b"\xef\xbb\xbf \n", "The file is empty."),
    "too large": (b" " * (MAX_BYTES + 1), "The file is larger than 25 MB."),
    "a web page": ("<!DOCTYPE html><p>x", "The file is no sound JSON: `expected value at line 1 column 1`."),
    "our Markdown": (to_markdown([user("Hi.")], UNSET), "The file is no sound JSON: `expected value"),
    "cut off": (to_json([user("Hi.")], UNSET)[:-9], "The file is no sound JSON: `EOF while"),
    "two objects": ("[][]", "The file is no sound JSON: `trailing characters"),
    "a comma too much": ('{"messages": [],}', "The file is no sound JSON: `trailing comma"),
    "NaN": (file_of(asked("x"), settings={"seed": math.nan}), "The file is no sound JSON: `expected value"),
    "Infinity": (file_of(asked("x"), extra=-math.inf), "The file is no sound JSON: `"),
    "nested": (DEEP, "The file is no sound JSON: `recursion limit exceeded"),
    "nested objects": ('{"a":' * 100_000, "The file is no sound JSON: `recursion limit exceeded"),
    "nested in a message": (f'[{{"role": "user", "content": {DEEP}', "The file is no sound JSON: `recursion limit"),
    "nested within the limit": (f'[{{"role": {"[" * 150}{"]" * 150}, "content": ""}}]', "Message 1 has the role `[[[["),
    "a bomb of lists": ("[" + "[]," * (8 * 2**20) + "[]]", "The file has too many parts to be a conversation."),
    "a bomb of objects": ('[{"a":1}' + ',{"a":1}' * (3 * 2**20) + "]", "The file has too many parts to be"),
    "a bomb of numbers": ("[1" + ",1" * (12 * 2**20) + "]", "The file has too many parts to be a conversation."),
    "a bomb of names": ('{"0":1' + "".join(f',"{i}":1' for i in range(2 * 2**20)) + "}", "The file has too many parts"),
    "just not a bomb": ("[1" + ",1" * 900_000 + "]", "The file has 900,001 messages, and 2,000 are the most."),
    "just not a bomb of lists": ('{"x": [' + "[]," * 490_000 + "[]]}", "The file holds no conversation."),
    "just not a bomb of names": (
        '{"0":1' + "".join(f',"{i}":1' for i in range(900_000)) + "}", "The file holds no conversation.",
    ),
    "a long number": (f'[{{"role": {"9" * 5000}}}]', "The file is no sound JSON: `number out of range"),
    "half a character": (r'[{"role": "user", "content": "\ud800"}]', "The file is no sound JSON: `unexpected end of"),
    "two halves the wrong way": (r'[{"role": "user", "content": "\udc00\ud800"}]', "The file is no sound JSON: `lone"),
    "half a character as such": ('[{"role": "user", "content": "\ud800"}]', "The file is no text in UTF-8."),
    "half a character in bytes": (b'["\xed\xa0\x80"]', "The file is no text in UTF-8."),
    "UTF-16": (to_json([user("é")], UNSET).encode("utf-16"), "The file is no text in UTF-8."),
    "UTF-16 without a mark": (to_json([user("e")], UNSET).encode("utf-16-le"), "The file is no text in UTF-8."),
    "Latin-1": (to_json([user("é")], UNSET).encode("latin-1"), "The file is no text in UTF-8."),
    "a picture": (PNG, "The file is no text in UTF-8."),
    "a NUL as such": ('["\0"]', "The file is no text in UTF-8."),
    "a NUL": (file_of(asked("a\0")), "Message 1 has a NUL character."),
    "a NUL in a thought": (
        file_of(asked("a"), {"role": "assistant", "content": "b", "reasoning": "\0"}), "Message 2 has a NUL character.",
    ),
    "a line break in a string": ('["a\nb"]', "The file is no sound JSON: `control character"),
    "a number": ("5", "The file holds no conversation."),
    "null": ("null", "The file holds no conversation."),
    "another object": ('{"name": "x"}', "The file holds no conversation."),
    "no messages": (json.dumps({"format": FORMAT, "version": 1}), "The file holds no conversation."),
    "an empty list": ("[]", "The file holds no message."),
    "messages that are none": (file_of().replace("[]", '{"role": "user"}'), "The messages in the file are no list."),
    "messages of null": ('{"format": "llama-ui conversation", "messages": null}', "The messages in the file are no"),
    "another format": ('{"format": "x`</b>", "messages": []}', "The file is of another format, `x'</b>`."),
    "a format of null": ('{"format": null, "messages": []}', "The file is of another format, `None`."),
    "a newer version": (file_of(version=2), "The file was made by a newer version of this app."),
    "no version": (file_of(version="1"), "The file has the version `1`, which there is not."),
    "an older version": (file_of(version=0), "The file has the version `0`, which there is not."),
    "too many messages": (file_of(*[asked("x")] * (MAX_MESSAGES + 1)), "The file has 2,001 messages, and 2,000"),
    "settings that are none": (file_of(settings=[1]), "The settings in the file are no names with values."),
    "a tool": (file_of(asked("x"), {"role": "tool", "content": "y"}), "Message 2 has the role `tool`, not system"),
    "a role in capitals": (file_of({"role": "User", "content": "y"}), "Message 1 has the role `User`, not system"),
    "a role of markup": (file_of({"role": "a`\n<b>" * 99, "content": "y"}), "Message 1 has the role `a' <b>a' <b>"),
    "a role twice": ('[{"role": "user", "role": "tool", "content": "x"}]', "Message 1 has the role `tool`, not"),
    "no role": (file_of({"content": "x"}), "Message 1 has no role, or no content."),
    "no content": (file_of({"role": "user"}), "Message 1 has no role, or no content."),
    "a message that is a text": (file_of(asked("x"), "Hi."), "Message 2 has no role, or no content."),
    "a second system message": (
        file_of({"role": "system", "content": "a"}, {"role": "system", "content": "b"}),
        "Message 2 is a system message, which only the first can be.",
    ),
    "a late system message": (file_of(asked("x"), {"role": "system", "content": "b"}), "Message 2 is a system message"),
    "content that is a number": (file_of(asked(5)), "Message 1 has something else than text and pictures."),
    "content that is an object": (file_of(asked({"text": "x"})), "Message 1 has something else than text"),
    "a text that is a number": (file_of(asked([{"type": "text", "text": 5}])), "Message 1 has something else than"),
    "a sound": (file_of(asked([{"type": "input_audio", "input_audio": {}}])), "Message 1 has something else than text"),
    "Gradio's component": (
        file_of(asked([{"type": "component", "component": "html", "value": "<script>"}])), "Message 1 has something",
    ),
    "a bomb of parts": (file_of(asked([{"type": "text"}] * 400_000)), "Message 1 has something else than text and"),
    "a part without a type": (file_of(asked([{"text": "x"}])), "Message 1 has something else than text and pictures."),
    "a picture of the model": (
        file_of(pictured(DATA) | {"role": "assistant"}), "Message 1 has a picture, which only the user's can have.",
    ),
    "a picture by its address": (file_of(asked("x"), pictured("https://evil/x.png")), "Message 2 has a picture that"),
    "a picture by its path": (file_of(pictured("file:///etc/passwd")), "Message 1 has a picture that is not one"),
    "a picture without an address": (file_of(pictured(5)), "Message 1 has something else than text and pictures."),
    "an SVG": (file_of(pictured("data:image/svg+xml;base64,PHN2Zz4=")), "Message 1 has a picture that is not"),
    "no picture": (file_of(pictured("data:image/png;base64,AAAA")), "Message 1 has a picture that is not"),
    "a picture of another type": (file_of(pictured(DATA.replace("png", "jpeg"))), "Message 1 has a picture that is"),
    "a picture with quotes": (file_of(pictured(DATA + '" onload="x')), "Message 1 has a picture that is not"),
    "a picture with more text": (file_of(pictured(DATA + "\n")), "Message 1 has a picture that is not"),
    "a picture that is too large": (
        file_of(pictured("data:image/png;base64," + base64.b64encode(LARGE.getvalue()).decode())), "Message 1 has a",
    ),
    "a picture full of texts": (file_of(*[pictured(STUFFED)] * 20), "Message 1 has a picture that is not"),
    "a picture full of segments": (
        file_of(pictured("data:image/jpeg;base64," + base64.b64encode(SEGMENTS).decode())), "Message 1 has a picture",
    ),
    "five pictures": (file_of(asked(pictured(DATA)["content"] * 5)), "Message 1 has 5 pictures, and 4 are the most."),
    "very many pictures": (file_of(*[pictured(DATA)] * 2000), "The file has more than 500 pictures."),
}  # fmt: skip


@pytest.mark.timeout(20)  # some of them would take minutes, if all that is in them were looked at
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_one_sentence_and_one_fix(name: str) -> None:
    content, sentence = BAD[name]
    error = refusal(content)
    assert error.sentence.startswith(sentence)
    for text in (error.sentence, error.fix):
        assert text.isprintable() and text.endswith(".") and len(text) < 160
    assert error.sentence.count(". ") == 0
    assert error.__cause__ is None


@given(st.binary(max_size=200) | st.text(st.characters(), max_size=200))
def test_no_content_breaks_the_import(content: str | bytes) -> None:
    refusal(content)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["user", "text", "x", DATA, "\0", FORMAT])
)
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "messages", "settings", "title", "version", "sent",
     "numbers", "waited", "reasoning", "reasoning_seconds", "model"]
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(
    st.lists(st.dictionaries(KEYS, JSON, max_size=3).map(lambda more: asked("x") | more), min_size=1, max_size=3), JSON
)
def test_no_json_breaks_the_import(messages: list[object], settings: object) -> None:
    try:
        read = from_json(json.dumps({"messages": messages, "settings": settings, "title": settings}), SIDE)
    except InputError:
        return
    assert set(read.settings) == set(SETTINGS)
    assert all(isinstance(text, str) for text in read.settings.values())
    assert {item["role"] for item in read.history} <= {"user", "assistant"}
    again = to_json(read.history, read.settings, read.title)
    assert from_gradio("x", from_json(again, SIDE).history, "") == from_gradio("x", read.history, "")
