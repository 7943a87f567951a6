"""A session in a terminal: messages, replies and commands."""

import json
import re
from pathlib import Path

import pytest

from llama_ui.core.errors import ChatError, InputError
from llama_ui.terminal.commands import execute
from tests.support.fake_stack import MODEL
from tests.terminal.conftest import SYSTEM, Terminal, sent

pytestmark = pytest.mark.loopback


async def test_a_session_starts_with_the_server_and_the_model(terminal: Terminal) -> None:
    await terminal.session().start()
    assert terminal.text.startswith(f"Server: {terminal.stack.url}\nModel: {MODEL}.")


async def test_a_conversation_keeps_its_history_and_its_system_prompt(terminal: Terminal) -> None:
    terminal.stack.enqueue("First reply.")
    terminal.stack.enqueue("Second reply.", finish_reason="length")
    await terminal.execute("One", "Two")
    first = [SYSTEM, ("user", "One")]
    assert sent(terminal.stack) == [first, [*first, ("assistant", "First reply."), ("user", "Two")]]
    replies = r"Assistant> First reply.\n.*7 tokens in, 1 out · stop\nAssistant> Second reply.\n"
    assert re.search(replies, terminal.text) and "token limit" in terminal.text


async def test_a_notice_is_printed_once(terminal: Terminal) -> None:
    session = terminal.session("--model", "llama")
    for _ in range(3):
        await execute(session, "hi")
    assert terminal.text.count("This server's name for the model llama is fake/llama.") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("//help me", "/help me"),
        ("/clear\n/model x", "/clear\n/model x"),
        ("//path:\n  fails", "//path:\n  fails"),
        ("  indented", "  indented"),
    ],
)
async def test_two_slashes_and_several_lines_are_a_message(terminal: Terminal, line: str, message: str) -> None:
    await terminal.execute(line)
    assert sent(terminal.stack)[0][-1] == ("user", message)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/modles x", "There is no command `/modles`. /help lists them."),
        ("/clear the table, please", "/clear takes no argument."),
        ("/model fake/lama", "The server has no model `fake/lama`. The closest that it has is `fake/llama`"),
        ("/code", "Nothing has been sent yet."),
        ("/save talk.md", "There is no conversation yet."),
        ("/save", "The file name is missing."),
        (f"/system {'x' * 32_001}", "The system prompt has 32,001 characters; at most 32,000"),
    ],
)
async def test_a_command_that_cannot_be_run_changes_nothing(terminal: Terminal, line: str, error: str) -> None:
    session = terminal.session()
    with pytest.raises(ChatError, match=f"^{re.escape(error)}"):
        await execute(session, line)
    await execute(session, "hi")
    assert sent(terminal.stack) == [[SYSTEM, ("user", "hi")]]
    assert terminal.stack.requests[0]["model"] == MODEL


async def test_the_system_prompt_and_the_conversation_are_cleared(terminal: Terminal) -> None:
    await terminal.execute("/system", "/system Answer in `French`.", "One", "/system -", "Two", "/clear", "Three")
    assert terminal.text.startswith(f"System prompt: {SYSTEM[1]}\nSystem prompt: Answer in `French`.\n")
    assert "\nNo system prompt.\n" in terminal.text and "\nConversation cleared.\n" in terminal.text
    one = [("user", "One"), ("assistant", "Hello there.")]
    assert sent(terminal.stack) == [
        [("system", "Answer in `French`."), one[0]],
        [*one, ("user", "Two")],
        [("user", "Three")],
    ]


async def test_models_are_listed_and_chosen(terminal: Terminal) -> None:
    terminal.stack.models += [terminal.stack.models[0] | {"id": "other/llama-large"}]
    await terminal.execute("/models", "/model llama-large", "/models", "hi", "/model")
    chosen = "Model: other/llama-large\n"
    listed = f"* {MODEL}\n  other/llama-large\n{chosen}  {MODEL}\n* other/llama-large\n"
    assert terminal.text.startswith(listed) and terminal.text.endswith(chosen)
    assert terminal.stack.requests[0]["model"] == "other/llama-large"


async def test_a_server_that_lists_no_models_is_asked_for_any(terminal: Terminal) -> None:
    terminal.stack.models = []
    with pytest.raises(ChatError, match="The server has no model `its/own`"):
        await terminal.execute("/model its/own", "/models", "hi")
    assert terminal.text.startswith("Model: its/own\nThe server lists no chat model.\n")
    assert terminal.stack.requests[0]["model"] == "its/own"


async def test_the_code_of_the_last_request_is_printed(terminal: Terminal) -> None:
    await terminal.execute("Tell me a joke", "Another", "/system Be brief.", "/code")
    code = terminal.text.partition("from llama_stack_client import LlamaStackClient")[2]
    for part in (terminal.stack.url, f"model='{MODEL}'", "Tell me a joke", "Another", SYSTEM[1]):
        assert part in code
    assert "Be brief." not in code
    assert code.count("Hello there.") == 1, "the last reply is not part of its own request"


@pytest.mark.parametrize("name", ["talk.json", "my talk"])
async def test_a_conversation_is_saved_and_no_file_replaced(terminal: Terminal, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r" cannot be written: File exists\. Choose another name\."):
        await terminal.execute("Tell me a joke", f"/save {name}", f"/save {name}")
    assert terminal.text.endswith(f"Saved as {name}\n")
    text = (tmp_path / name).read_text()
    assert all(part in text for part in ("Tell me a joke", "Hello there.", SYSTEM[1], MODEL))
    assert not name.endswith("json") or json.loads(text)


async def test_options_are_set_shown_and_cleared(terminal: Terminal) -> None:
    lines = ("/settings", "/set temperature 0,5", "/set stop END", '/set extra_body {"top_k": 4}', "/settings", "hi")
    await terminal.execute(*lines, "/set stop -", "again")
    assert terminal.text.startswith("No option is set.\nTemperature: 0.5\nStop sequences: END\n")
    assert '\ntemperature: 0.5\nstop: END\nextra_body: {"top_k": 4}\n' in terminal.text
    assert "\nStop sequences: not set\n" in terminal.text
    first, second = terminal.stack.requests
    assert (first["temperature"], first["stop"], first["top_k"]) == (0.5, ["END"], 4)
    assert "stop" not in second and second["temperature"] == 0.5


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/set temprature 1", "There is no option `temprature`. The options are temperature, top_p, "),
        ("/set seed", "The value is missing. Enter it after /set seed, or - to clear the option."),
        ("/set", "There is no option `(no text)`."),
        ("/set temperature 3", "Temperature must be 0–2, or empty."),
        ('/set response_format {"type": "objct"}', "JSON schema is not valid at `type`: "),
        ("/settings all", "/settings takes no argument."),
    ],
)
async def test_an_option_that_cannot_be_set_changes_nothing(terminal: Terminal, line: str, error: str) -> None:
    session = terminal.session()
    with pytest.raises(ChatError, match=f"^{re.escape(error)}"):
        await execute(session, line)
    await execute(session, "hi")
    assert terminal.stack.requests[0].keys() == {"model", "messages", "stream", "stream_options"}


async def test_samples_and_a_verdict_are_printed(terminal: Terminal) -> None:
    choices = [{"index": index, "delta": {"content": text}} for index, text in enumerate(("{}", "two", "[]"))]
    terminal.stack.enqueue(*[{"choices": [choice]} for choice in choices])
    await terminal.execute("/set n 3", '/set response_format {"type": "object"}', "hi")
    assert "Assistant> {}\nSample 2:\nAssistant> two\nSample 3:\nAssistant> []\n" in terminal.text
    assert "\nThe reply matches the schema.\n" in terminal.text
