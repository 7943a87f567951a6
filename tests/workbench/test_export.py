"""Conversations as files, and files as conversations."""

import base64
import io
import json
import math

import PIL.Image
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llama_ui.core.conversation import SETTINGS, ChatSettings, Conversation, Reply, Turn
from llama_ui.core.errors import BadReply, InputError
from llama_ui.core.messages import Image, Message
from llama_ui.core.stats import Stats
from llama_ui.web.attachments import read_attachment
from llama_ui.workbench.export import MAX_BYTES, MAX_MESSAGES, from_json, to_json, to_markdown
from tests.support.pictures import picture

SIDE = 64
UNSET = dict.fromkeys(SETTINGS, "")
ENTERED = UNSET | {
    "system_prompt": "You are shakespeare.\n",
    "model": "fake/llama",
    "temperature": "0,5",
    "max_tokens": "200",
    "reasoning_effort": "low",
    "streaming": "off",
}
REQUEST = ChatSettings.from_texts(ENTERED)
STATS = Stats(0.1, 0.314, 0.5, 13, 22, estimated=False, finish_reason="stop")


RED, BLUE = picture("red"), picture("blue", "JPEG")


def reply(text: str, reasoning: str = "", seconds: float | None = None, stats: Stats = STATS) -> Reply:
    return Reply(text, reasoning, seconds, model="fake/llama", stats=stats, ended=True, request=REQUEST)


def file_of(*messages: object, **more: object) -> bytes:
    return json.dumps({"messages": messages, **more}).encode()


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def pictured(url: object) -> dict[str, object]:
    return user([{"type": "image_url", "image_url": {"url": url}}])


# Export


def test_a_file_has_the_messages_in_the_form_of_openais_api() -> None:
    turns = (Turn("Look:", (RED,), (reply("It is red. 🦙", "Hm.\n  Red.", 3.2),)), Turn("</script>"))
    file = to_json(Conversation("You are shakespeare.\n", turns), ENTERED, "Red")
    assert "🦙" in file and '\n  "title": "Red"' in file
    assert json.loads(file) == {
        "format": "llama-ui conversation",
        "version": 1,
        "title": "Red",
        "settings": {
            "model": "fake/llama",
            "temperature": "0,5",
            "max_tokens": "200",
            "reasoning_effort": "low",
            "streaming": "off",
        },
        "messages": [
            {"role": "system", "content": "You are shakespeare.\n"},
            user([{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": RED.data_url}}]),
            {
                "role": "assistant",
                "content": "It is red. 🦙",
                "reasoning": "Hm.\n  Red.",
                "reasoning_seconds": 3.2,
                "sent": {name: ENTERED[name] for name in SETTINGS[:8]} | {"temperature": "0.5"},
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
            user("</script>"),
        ],
    }


def test_notices_and_failures_are_not_exported() -> None:
    failed = Reply(error=BadReply("It broke.", "Fix it."), ended=True)
    answered = Reply("Hello.", notices=("A notice.",), ending="Cut off.", ended=True)
    stopped = Reply(reasoning="a", ended=True)
    replies = {"Hi.": answered, "Why?": failed, "1": stopped}
    conversation = Conversation(" \n", tuple(Turn(text, replies=(reply,)) for text, reply in replies.items()))
    messages = [
        user("Hi."), {"role": "assistant", "content": "Hello."}, user("Why?"),
        user("1"), {"role": "assistant", "content": "", "reasoning": "a"},
    ]  # fmt: skip
    assert json.loads(to_json(conversation, UNSET))["messages"] == messages
    assert to_markdown(conversation, UNSET) == (
        "# Conversation\n\n## User\n\nHi.\n\n## Assistant\n\nHello.\n\n## User\n\nWhy?\n\n"
        "## User\n\n1\n\n## Assistant\n\n<details><summary>Thoughts</summary>\n\na\n\n</details>\n"
    )


def test_a_refused_message_is_not_sent_after_an_import_either() -> None:
    refused = Turn("Far too long.", replies=(Reply(error=BadReply("No.", ""), refused=True, ended=True),))
    imported = from_json(to_json(Conversation("", (refused, Turn("Hi."))), {}).encode(), 1568).conversation
    assert imported.messages() == [Message("user", "Hi.")]
    assert imported.turns[0].reply and "without this one" in imported.turns[0].reply.ending
    again = from_json(to_json(imported, {}).encode(), 1568).conversation
    assert again == imported


def test_markdown_is_for_people() -> None:
    turns = (
        Turn("    indented\n# A heading", (RED, BLUE), (reply("```\ncode\n```\n", "Hm.", 3.2),)),
        Turn("", (RED,), (reply("Yes.", stats=Stats(first=1.0, prompt_tokens=5, completion_tokens=1)),)),
    )
    settings = ENTERED | {"model": "a`b"}
    assert to_markdown(Conversation("You are shakespeare.\n", turns), settings, "On\nllamas") == (
        "# On llamas\n\n"
        "- Model: `a'b`\n- Temperature: `0,5`\n- Max tokens: `200`\n- Reasoning effort: `low`\n- Streaming: `off`\n\n"
        "## System\n\nYou are shakespeare.\n\n\n"
        "## User\n\n    indented\n# A heading\n\n*(2 pictures)*\n\n"
        "## Assistant\n\n<details><summary>Thought for 3.2 s</summary>\n\nHm.\n\n</details>\n\n"
        "```\ncode\n```\n\n\n*0.31 s to first token · 42.0 tokens/s · 13 tokens in, 22 out · stop*\n\n"
        "## User\n\n*(1 picture)*\n\n"
        "## Assistant\n\nYes.\n\n*1.00 s to first token · ≈5 tokens in, ≈1 out*\n"
    )


def test_characters_that_no_file_can_carry_are_replaced() -> None:
    conversation = Conversation("e\udc00", (Turn("a\ud83db", replies=(reply("d\udc00\ud800", "c\ud800"),)),))
    for write in (to_json, to_markdown):
        text = write(conversation, ENTERED | {"model": "x\ud800"}, "t\udc00")
        text.encode()
        assert "a\ufffdb" in text and "d\ufffd\ufffd" in text and "c\ufffd" in text


# Export and import

ODD = ["  indented\n", "\n\n", " \t", "</script>", "🦙", "\x1b[0m\x07", "\r\n", "\u202e\ufeff", '\\u0000"\\', "## User"]
SAFE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.lists(st.text(SAFE) | st.sampled_from(ODD), max_size=3).map("".join)
SHORT = st.text(SAFE, max_size=300)
SECONDS, COUNTS = st.floats(0, 1e6), st.integers(0, 10**6)
NUMBERS = st.builds(Stats, SECONDS, st.none() | SECONDS, SECONDS, COUNTS, COUNTS, st.booleans(), st.none() | SHORT)
REPLIES = st.builds(reply, TEXTS, TEXTS, st.none() | SECONDS, NUMBERS) | st.builds(Reply, TEXTS, ended=st.just(True))
TURNS = st.builds(
    Turn, TEXTS, st.lists(st.sampled_from([RED, BLUE]), max_size=4).map(tuple), st.lists(REPLIES, max_size=2).map(tuple)
)
FORMS = st.fixed_dictionaries(dict.fromkeys(SETTINGS, SHORT) | {"system_prompt": TEXTS, "examples": st.just("")})


@given(st.lists(TURNS, max_size=6).map(lambda turns: [*turns, Turn("End.")]), FORMS, SHORT)
@example([Turn(replies=(reply("", "x"),)), Turn("1"), Turn("2", (RED,), (reply(" "),)), Turn("3")], UNSET, "")
def test_an_imported_conversation_continues_as_the_exported_one(
    turns: list[Turn], entered: dict[str, str], title: str
) -> None:
    conversation = Conversation(entered["system_prompt"], tuple(turns))
    file = to_json(conversation, entered, title)
    read = from_json(file.encode(), SIDE)
    assert read.conversation.messages() == conversation.messages()
    assert read.settings == {name: text if text.strip() else "" for name, text in entered.items()}
    assert json.loads(to_json(read.conversation, read.settings, read.title)) == json.loads(file)
    to_markdown(conversation, entered, title).encode()


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("RGB", "JPEG"), ("RGB", "PNG"), ("L", "PNG")])
def test_every_image_that_the_app_makes_can_be_imported(mode: str, kind: str) -> None:
    file = io.BytesIO()
    PIL.Image.effect_noise((700, 700), 90).convert(mode).save(file, kind)
    image = read_attachment(f"x.{kind.lower()}", file.getvalue(), 1568, 1)
    assert isinstance(image, Image)
    conversation = Conversation(turns=(Turn("", (image,)),))
    assert from_json(to_json(conversation, UNSET).encode(), 1568).conversation == conversation


# Import


def test_another_programs_messages_can_be_imported() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Hi.", "name": "Ada", "ts": 5},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": []},
        {"role": "assistant", "content": "Hello.", "reasoning": {"effort": None}, "sent": True, "numbers": [1]},
        user(
            [{"type": "image_url", "image_url": {"url": RED.data_url, "detail": "low"}}, {"type": "text", "text": "a"}]
        ),
        user([{"type": "text", "text": "b"}, {"type": "text", "text": "c", "cache": {}}]),
    ]
    turns = (Turn("Hi.", replies=(Reply("Hello.", ended=True),)), Turn("a", (RED,)), Turn("b\n\nc"))
    for file in (messages, {"messages": messages}, {"id": "x", "messages": messages, "version": 9}):
        read = from_json(b"\xef\xbb\xbf\n" + json.dumps(file).encode(), SIDE)
        assert read.conversation == Conversation("Be brief.", turns)
        assert read.settings == UNSET | {"system_prompt": "Be brief."}


def test_developer_messages_are_the_system_prompt() -> None:
    file = file_of(
        {"role": "system", "content": "Be brief."}, {"role": "system", "content": " "},
        {"role": "developer", "content": [{"type": "input_text", "text": "Rhyme."}]}, user("Hi."),
    )  # fmt: skip
    read = from_json(file, SIDE)
    assert read.conversation == Conversation("Be brief.\n\nRhyme.", (Turn("Hi."),))
    assert read.settings == UNSET | {"system_prompt": "Be brief.\n\nRhyme."}


def test_tool_messages_are_skipped_and_counted() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    read = from_json(
        file_of(
            user("Add."),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": {"sum": 5}},
            {"role": "assistant", "function_call": {"name": "add", "arguments": "{}"}},
            {"role": "function", "name": "add"},
            {"type": "function_call", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "output": "5"},
            {"type": "web_search_call", "status": "completed"},
            {"type": "mcp_list_tools", "tools": []},
            {"type": "mcp_approval_request", "name": "add"},
            {"role": "ipython", "content": "5"},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "add", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "5"}]},
            {"role": "assistant", "content": "It is 5.", "tool_calls": [call]},
            {"role": "assistant", "content": ""},
            user("Thanks."),
            {"role": "assistant", "content": "", "reasoning_content": "Another.", "tool_calls": [call]},
        ),
        SIDE,
    )
    answered = Turn("Add.", replies=(Reply("It is 5.", ended=True),))
    thought = Turn("Thanks.", replies=(Reply(reasoning="Another.", ended=True),))
    assert (read.conversation.turns, read.skipped) == ((answered, thought), 12)
    assert from_json(file_of(user("Hi.")), SIDE).skipped == 0


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": None, "refusal": "I can't."}, "I can't.", ""),
        ({"refusal": "I can't."}, "I can't.", ""),
        ({"content": [{"type": "refusal", "refusal": "I can't."}]}, "I can't.", ""),
        ({"content": "Well.", "refusal": "I can't."}, "Well.\n\nI can't.", ""),
        ({"content": "Yes.", "refusal": {"reason": 1}}, "Yes.", ""),
        ({"content": "4", "reasoning_content": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning": None, "reasoning_content": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning": "2+2", "reasoning_content": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning_content": ["2+2"]}, "4", ""),
        ({"content": "4", "reasoning": {"effort": "low"}, "reasoning_content": "2+2"}, "4", "2+2"),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "2+2"}]}, "", "2+2"),
        ({"content": [{"type": "thinking", "thinking": "2+2"}, {"type": "text", "text": "4"}]}, "4", "2+2"),
        ({"content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "4"}]}, "4", ""),
        ({"content": [{"type": "thinking", "thinking": ""}, {"type": "text", "text": "4"}]}, "4", ""),
        ({"content": "4", "reasoning_content": [{"type": "text", "text": "2+2"}]}, "4", "2+2"),
        ({"content": [{"type": "text", "text": "4"}, {"type": "tool_use", "name": "add"}]}, "4", ""),
        ({"content": [{"type": "output_text", "text": "a", "annotations": []}, "b"]}, "a\n\nb", ""),
    ],
)
def test_an_answer_of_another_program_may_have_several_forms(
    message: dict[str, object], text: str, reasoning: str
) -> None:
    turns = from_json(file_of(user("Hi."), message | {"role": "assistant"}), SIDE).conversation.turns
    assert turns == (Turn("Hi.", replies=(Reply(text, reasoning, ended=True),)),)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": RED.data_url}},
        {"type": "image_url", "image_url": RED.data_url},
        {"type": "input_image", "image_url": RED.data_url, "detail": "auto"},
        {"type": "image_url", "image_url": {"url": RED.data_url.replace("png", "jpg")}},
    ],
)
def test_a_picture_of_another_program_may_have_several_forms(part: object) -> None:
    turns = from_json(file_of(user([{"type": "input_text", "text": "Look:"}, part])), SIDE).conversation.turns
    assert turns == (Turn("Look:", (RED,)),)


def test_a_picture_with_the_wrong_type_gets_its_own() -> None:
    wrong = [RED.data_url.replace("png", "jpeg"), BLUE.data_url.replace("jpeg", "png")]
    assert from_json(file_of(*map(pictured, wrong)), SIDE).conversation.turns == (Turn("", (RED,)), Turn("", (BLUE,)))


def test_the_settings_of_a_request_are_taken() -> None:
    body = {
        "model": "fake/llama", "temperature": 0.5, "top_p": 1, "max_completion_tokens": 200, "max_tokens": None,
        "seed": 7, "reasoning_effort": "low", "stream": False, "tools": [], "n": 1, "user": "Ada",
    }  # fmt: skip
    taken = UNSET | {
        "model": "fake/llama", "temperature": "0.5", "top_p": "1", "max_tokens": "200",
        "seed": "7", "reasoning_effort": "low", "streaming": "off",
    }  # fmt: skip
    assert from_json(file_of(user("x"), **body), SIDE).settings == taken
    assert from_json(file_of(user("x"), max_tokens=5, stream=True), SIDE).settings == UNSET | {"max_tokens": "5"}
    assert from_json(file_of(user("x"), system="Rhyme."), SIDE).settings == UNSET | {"system_prompt": "Rhyme."}
    for items in ("Hi.", [user("Hi.")]):
        body = json.dumps({"input": items, "instructions": "Rhyme.", "max_output_tokens": 5}).encode()
        read = from_json(body, SIDE)
        assert read.settings == UNSET | {"system_prompt": "Rhyme.", "max_tokens": "5"}
        assert read.conversation.turns == (Turn("Hi."),)
    parts = [{"type": "text", "text": "Rhyme.", "cache_control": {"type": "ephemeral"}}]
    assert from_json(file_of(user("x"), system=parts), SIDE).settings == UNSET | {"system_prompt": "Rhyme."}
    effort = from_json(file_of(user("x"), reasoning={"effort": "low"}), SIDE).settings
    assert effort == UNSET | {"reasoning_effort": "low"}
    exported = {"settings": {"model": "mine"}, "model": "x", "seed": 7}
    assert from_json(file_of(user("x"), **exported), SIDE).settings == UNSET | {"model": "mine"}


@pytest.mark.parametrize(
    ("strategy", "taken"),
    [
        ({"type": "top_p", "temperature": 0.5, "top_p": 0.9}, {"temperature": "0.5", "top_p": "0.9"}),
        ({"type": "greedy"}, {"temperature": "0"}),
    ],
)
def test_the_settings_of_a_request_at_the_legacy_route_are_taken(
    strategy: dict[str, object], taken: dict[str, str]
) -> None:
    file = file_of(user("x"), model_id="m", sampling_params={"strategy": strategy, "max_tokens": 5})
    assert from_json(file, SIDE).settings == UNSET | {"model": "m", "max_tokens": "5"} | taken


@pytest.mark.parametrize("wrong", ["9e99", "-1", '"x"', "[]", "{}", "null", "true", "1" * 4000])
def test_wrong_settings_of_a_request_are_left_out(wrong: str) -> None:
    names = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "reasoning_effort", "stream")
    fields = "".join(f'"{name}": {wrong}, ' for name in names)
    file = f'{{{fields}"model": "m", "messages": [{{"role": "user", "content": "x"}}]}}'.encode()
    assert from_json(file, SIDE).settings == UNSET | {"model": "m"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "windows-1252"])
def test_a_file_in_another_encoding_is_imported(encoding: str) -> None:
    file = json.dumps([user("Größe – 5 €")], ensure_ascii=False).encode(encoding)
    assert from_json(file, SIDE).conversation.turns == (Turn("Größe – 5 €"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_control_characters_are_imported(encoding: str) -> None:
    file = json.dumps([user("a\x7fb\x85c")], ensure_ascii=False).encode(encoding)
    assert from_json(file, SIDE).conversation.turns == (Turn("a\x7fb\x85c"),)


def test_blank_messages_are_dropped() -> None:
    blank = [user(""), user(" \n"), user(None), user([]), {"role": "assistant", "content": " ", "reasoning": "\n"}]
    assert from_json(file_of(*blank), SIDE).conversation.turns == ()


def test_settings_are_texts_and_a_title_is_one_short_line() -> None:
    settings = {"system_prompt": "A", "model": "m", "temperature": 0.5, "seed": 7, "api_key": "k"}
    expected = UNSET | {"system_prompt": "A", "model": "m", "temperature": "0.5", "seed": "7"}
    read = from_json(file_of(user("x"), settings=settings, title="a\n\u202eb" + "c" * 999), SIDE)
    assert (read.settings, read.title) == (expected, "a b" + "c" * 97)
    system = {"role": "system", "content": "Be brief."}
    assert from_json(file_of(system, settings=settings), SIDE).settings == expected | {"system_prompt": "Be brief."}
    read = from_json(file_of(user("x"), settings=[1], title={"x": 1}), SIDE)
    assert (read.settings, read.title) == (UNSET, "")


@pytest.mark.parametrize("wrong", ["1e999", "-1", '"x"', "[]", "null", "1e9"])
def test_wrong_numbers_are_ignored(wrong: str) -> None:
    fields = f'"reasoning": "r", "reasoning_seconds": {wrong}, "numbers": {{"waited": {wrong}}}'
    file = f'[{{"role": "assistant", "content": "2", {fields}}}]'.encode()
    assert from_json(file, SIDE).conversation.turns == (Turn(replies=(Reply("2", "r", ended=True),)),)


SEGMENTS = b"\xff\xd8" + b"\xff\xe0\x00\x02" * 500_000 + base64.b64decode(BLUE.data)[2:]
DATA = RED.data_url
GIF = "data:image/png;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACADs="
JSON, NO_LIST = "The file is not valid JSON: `", "The file is not a list of 1 to 2,000 messages."
NOT_TEXT = "Message 1 is not a system, user or assistant message of text and pictures."
NOT_OURS = "Message 1 has pictures that cannot be imported."
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", JSON),
    "too large": (b" " * (MAX_BYTES + 1), "The file is larger than 25 MB."),
    "NaN": (file_of(user("x"), settings={"seed": math.nan}), JSON),
    "nested": (f'[{{"role": "user", "content": {"[" * 100_000}'.encode(), f"{JSON}recursion limit exceeded"),
    "many lists": (b"[" + b"[]," * (8 * 2**20) + b"[]]", "The file has too many parts to be a conversation."),
    "many numbers": (b"[1" + b",1" * 900_000 + b"]", NOT_TEXT),
    "many parts": (file_of(user([{"type": "x"}] * 400_000)), NOT_TEXT),
    "another object": (b'{"name": "x"}', NO_LIST),
    "no messages": (b"[]", NO_LIST),
    "too many messages": (file_of(*[user("x")] * (MAX_MESSAGES + 1)), NO_LIST),
    "another role": (file_of(user("x"), {"role": "bot", "content": "y"}), "Message 2 is not a system, user or"),
    "a number after a tool": (file_of({"role": "tool", "content": "y"}, 5), "Message 2 is not a system, user or"),
    "a user's message without content": (file_of({"role": "user", "text": "x"}), NOT_TEXT),
    "an answer without content": (file_of({"role": "assistant", "text": "x"}), NOT_TEXT),
    "a late developer message": (file_of(user("x"), {"role": "developer", "content": "b"}), "Message 2 is a system"),
    "a late system message": (file_of(user("x"), {"role": "system", "content": "b"}), "Message 2 is a system message"),
    "content that is a number": (file_of(user(5)), NOT_TEXT),
    "a sound": (file_of(user([{"type": "input_audio", "input_audio": {}}])), NOT_TEXT),
    "a picture of the model": (file_of(pictured(DATA) | {"role": "assistant"}), NOT_OURS),
    "a picture by its URL": (file_of(pictured("https://evil/x.png")), NOT_OURS),
    "a picture of another type": (file_of(pictured(GIF)), NOT_OURS),
    "a picture full of segments": (
        file_of(pictured("data:image/jpeg;base64," + base64.b64encode(SEGMENTS).decode())), NOT_OURS,
    ),
    "five pictures": (file_of(user(pictured(DATA)["content"] * 5)), NOT_OURS),
}  # fmt: skip


@pytest.mark.timeout(20)  # without its limits, the import would spend minutes on some of them
@pytest.mark.parametrize(("content", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_with_one_sentence_and_one_fix(content: bytes, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        from_json(content, SIDE)
    assert caught.value.sentence.startswith(sentence)
    for text in (caught.value.sentence, caught.value.fix):
        assert text.isprintable() and text.endswith(".") and len(text) < 160 and text.count(". ") == 0


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["user", "assistant", "developer", "tool", "text", "input_text", "refusal", "x", DATA, "\0"])
)
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "messages", "settings", "title", "version", "sent",
     "numbers", "waited", "reasoning", "reasoning_seconds", "model", "reasoning_content", "refusal", "tool_calls"]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
MESSAGES = st.dictionaries(KEYS, VALUES, max_size=3).map(lambda more: user("x") | more)


@given(st.lists(MESSAGES, min_size=1, max_size=3), VALUES)
def test_every_json_is_imported_or_refused(messages: list[object], settings: object) -> None:
    try:
        read = from_json(json.dumps({"messages": messages, "settings": settings, "title": settings}).encode(), SIDE)
    except InputError:
        return
    assert set(read.settings) == set(SETTINGS)
    if read.conversation.turns:
        again = to_json(read.conversation, read.settings, read.title)
        assert from_json(again.encode(), SIDE).conversation == read.conversation
