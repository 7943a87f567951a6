"""The code of a request sends what the page sends, for every text and every generation of servers.

`pytest --contract tests/workbench/test_snippet.py` runs it with each client that it names.
"""

import ast
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llama_ui.core.conversation import Conversation, Reply, Turn
from llama_ui.core.messages import REASONING_EFFORTS, Image, Message, SamplingOptions
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, LEGACY, OPENAI_COMPATIBLE, Dialect
from llama_ui.terminal.repl import EXIT_WORDS
from llama_ui.workbench.snippet import MIN_FOLDED, Code, code, loop
from tests.support import SECONDS
from tests.support.app_process import clean
from tests.support.fake_stack import MODEL, FakeStack, Hold
from tests.support.pictures import picture
from tests.support.servers import RealServer
from tests.support.servers.install import install_client
from tests.support.servers.recorded import RecordedServer

URL = "http://127.0.0.1:8321"
KEY = "sk-not-in-the-code"
PICTURE, PHOTO = picture("red"), picture("blue", "JPEG")
HOSTILE = [
    '"', "'", '"""', "'''", "\\", "\\n", "\n", "\r\n", "\nEOF\n", "EOF", "$(rm -rf /)", "`rm`", "$HOME ${x}", "!!",
    " !x ", "\0", "\x1b[31m", "\x7f\x85", "\u2028\u2029\u202e", "</script>", "👩\u200d💻 ü 漢字", "{arguments}{{}}",
    "%s #{x}", '"\n)\nimport os\nos.abort()\n(', "<image-1.png in base64>", 'base64_of("image-1.png")', "\t",
    "word " * 30, "'\\ud801',\n", '\n    "\\ud801",\n',
]  # fmt: skip

texts = st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"])), min_size=1).map("".join)
answers = texts.filter(str.strip)
users = st.builds(Message, st.just("user"), texts, st.lists(st.sampled_from([PICTURE, PHOTO]), max_size=3).map(tuple))
conversations = st.builds(
    lambda system, turns, last: [
        *([Message("system", system)] if system.strip() else []),
        *(message for user, answer in turns for message in (user, Message("assistant", answer))),
        last,
    ],
    texts,
    st.lists(st.tuples(users, answers), max_size=2),
    users,
)


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}


numbers = st.none() | st.floats(0, 1)
choices = st.builds(
    SamplingOptions,
    numbers,
    numbers,
    st.none() | st.integers(1, 2**31),
    st.none() | st.integers(0, 2**31),
    st.none() | st.sampled_from(REASONING_EFFORTS),
    st.booleans(),
    response_format=st.none() | st.builds(lambda text: schema_format({"description": text}), texts),
    top_logprobs=st.none() | st.integers(1, 20),
    n=st.none() | st.integers(2, 8),
    stop=st.none() | st.lists(texts, min_size=1, max_size=4),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    thinking=st.none() | st.booleans(),
    extra_body=st.none() | st.builds(lambda text: {"top_k": 40, "note": {"deep": [text, None, True]}}, texts),
)
servers = st.sampled_from(
    [
        ("1.5.0", CHAT_COMPLETIONS), (None, CHAT_COMPLETIONS), ("0.3.5", CHAT_COMPLETIONS),
        ("0.2.12", OPENAI_COMPATIBLE), ("0.2.12", LEGACY), ("0.1.9", LEGACY),
    ]
)  # fmt: skip
addresses = st.sampled_from(
    [URL, "https://[::1]:8321/it's~(1);$x&y=!!", 'http://h/a[1-2]\\*,@:+"', "https://example.org/%7Bx%7D%20/stack"]
)
type Arguments = tuple[str, str | None, Dialect, str, list[Message], SamplingOptions]  # of `code`
requests = st.builds(
    lambda url, server, *more: (url, *server, *more), addresses, servers, texts, conversations, choices
)
# For examples that start a program each.
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

CONVERSATION = [
    Message("system", 'Be brief.\nSay "it\'s" `so`.'),
    Message("user", "".join(HOSTILE), (PICTURE, PHOTO, PICTURE)),
    Message("assistant", "A pixel.\n\n```sh\necho $(date) \\\n  !!\n```"),
    Message("user", "", (PHOTO,)),
    Message("assistant", "A photo."),
    Message("user", "And 'this'? 👩\u200d💻\0" + "\n".join(HOSTILE)),
]
PLAIN = [Message("user", "Hi.")]


def payload(arguments: Arguments) -> dict[str, Any]:
    """What the page itself sends."""
    _, _, dialect, model, messages, options = arguments
    return dialect.payload(model, messages, options)


def around(python: str) -> str:
    """The code without the values that it sends, and without the URL."""
    module = ast.parse(python)
    for node in ast.walk(module):
        if isinstance(node, ast.keyword) and node.arg != "api_key":
            node.value = ast.Constant("a value")
    return ast.unparse(module)


def write_images(made: Code, folder: Path) -> None:
    for name, image in made.images:
        (folder / name).write_bytes(base64.b64decode(image.data))


# Python


@given(requests)
@example((URL, "0.2.12", LEGACY, "m", CONVERSATION, SamplingOptions(0.5, 0.9, 10)))
@example((URL, "1.5.0", CHAT_COMPLETIONS, "m", CONVERSATION, SamplingOptions()))
def test_the_python_code_sends_the_payload_and_no_text_becomes_code(arguments: Arguments) -> None:
    url, version, dialect, _, messages, options = arguments
    made = code(*arguments)
    assert all(character.isprintable() or character == "\n" for character in made.python)
    harmless = [Message(message.role, "Hi.", message.images) for message in messages]
    assert around(made.python) == around(code(URL, version, dialect, "m", harmless, options).python)
    files = {name: base64.b64decode(image.data) for name, image in made.images}
    client = MagicMock()
    with (
        patch.dict(os.environ, LLAMA_STACK_CLIENT_API_KEY=KEY),
        patch.dict(sys.modules, llama_stack_client=MagicMock(LlamaStackClient=client)),
        patch.object(Path, "read_bytes", lambda path: files[path.name]),
    ):
        exec(made.python, {})
    assert client.call_args.kwargs == {"base_url": url, "api_key": KEY}
    create = client().inference.chat_completion if dialect is LEGACY else client().chat.completions.create
    sent = create.call_args.kwargs
    assert sent | sent.pop("extra_body", {}) == payload(arguments)


def test_messages_are_readable_in_the_python_code() -> None:
    story = 'Once upon a time there was a llama.\n\nIt said "hum", and nobody knew what it meant by that. It\'s true.'
    made = code(URL, None, CHAT_COMPLETIONS, "m", [Message("assistant", story), *PLAIN], SamplingOptions())
    expected = """
    messages=[
        {'role': 'assistant',
         'content': 'Once upon a time there was a llama.\\n'
                    '\\n'
                    'It said "hum", and nobody knew what it meant by that. It\\'s true.'},
        {'role': 'user', 'content': 'Hi.'},
    ],
"""
    assert expected in made.python


@pytest.mark.parametrize(
    ("version", "dialect", "client"),
    [
        ("0.1.0", LEGACY, "0.1.9"),
        ("0.2.12", LEGACY, "0.2.23"),
        ("0.3.0rc1", CHAT_COMPLETIONS, "0.3.5"),
        ("0.20.1", CHAT_COMPLETIONS, "0.7.5"),
        ("1.5.0", CHAT_COMPLETIONS, "0.7.5"),
        (None, OPENAI_COMPATIBLE, "0.2.23"),
    ],
)
def test_the_first_line_installs_the_client_that_the_server_accepts(
    version: str | None, dialect: Dialect, client: str
) -> None:
    made = code(URL, version, dialect, "m", PLAIN, SamplingOptions())
    assert made.python.splitlines()[0] == f"# pip install llama-stack-client=={client}"


# curl


def run_with_fake_curl(shell: str, made: Code, folder: Path) -> tuple[list[str], bytes]:
    """The arguments and the standard input that a shell gives to `curl`."""
    write_images(made, folder)
    (folder / "command").write_text(made.curl, encoding="utf-8", newline="")
    program = folder / "bin" / "curl"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" > arguments\ncat > part && mv part body\n")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environ = clean(os.environ) | {"PATH": path, "LLAMA_STACK_CLIENT_API_KEY": KEY, "HOME": "/never"}
    subprocess.run([shell, "command"], cwd=folder, env=environ, check=True, stdin=subprocess.DEVNULL)
    return (folder / "arguments").read_text(encoding="utf-8").split("\0")[:-1], (folder / "body").read_bytes()


@pytest.mark.parametrize("shell", ["sh", "bash"])
@FEW
@given(arguments=requests)
@example((URL, "0.2.12", LEGACY, "m", CONVERSATION, SamplingOptions()))
@example((URL, "1.5.0", CHAT_COMPLETIONS, "m", [Message("user", "".join(HOSTILE))], SamplingOptions()))
@example((URL, "1.5.0", CHAT_COMPLETIONS, "m", [Message("user", "long " * 100_000, (PICTURE,))], SamplingOptions()))
def test_the_curl_command_sends_the_payload(tmp_path: Path, shell: str, arguments: Arguments) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    passed, body = run_with_fake_curl(shell, code(*arguments), tmp_path)
    assert json.loads(body) == payload(arguments)
    assert f"{arguments[0]}{arguments[2].route}" in passed
    assert f"Authorization: Bearer {KEY}" in passed


# JSON and pictures


@given(requests)
def test_the_json_is_the_payload_with_names_in_place_of_images(arguments: Arguments) -> None:
    url, version, dialect, model, messages, options = arguments
    made = code(*arguments)
    names = {image: f"<{name} in base64>" for name, image in made.images}
    named = [
        replace(message, images=tuple(Image(image.media_type, names[image]) for image in message.images))
        for message in messages
    ]
    assert json.loads(made.json) == payload((url, version, dialect, model, named, options))
    controls = {chr(number) for number in [*range(10), *range(11, 32), *range(127, 160), 0x2028, 0x202E]}
    assert not controls & set(made.curl + made.json)


def test_equal_images_share_a_file() -> None:
    made = code(URL, None, CHAT_COMPLETIONS, "m", CONVERSATION, SamplingOptions())
    assert made.images == (("image-1.png", PICTURE), ("image-2.jpg", PHOTO))


# The earlier messages


@given(requests)
@example((URL, "0.2.12", LEGACY, "m", CONVERSATION, SamplingOptions()))
@example((URL, "1.5.0", CHAT_COMPLETIONS, "m", CONVERSATION, SamplingOptions()))
def test_the_earlier_messages_are_a_part_of_each_form(arguments: Arguments) -> None:
    made, sent = code(*arguments), payload(arguments)["messages"]
    start = int(sent[0]["role"] == "system")
    earlier = sent[start:-1] if len(sent) - start > MIN_FOLDED else []
    assert made.folded == len(earlier)
    for before, between, after in (made.python_parts, made.curl_parts, made.json_parts):
        assert before.endswith("\n") and (between.endswith("\n") if earlier else not between) and after
    files = {name: image.data for name, image in made.images}
    assert eval(f"[{made.python_parts[1]}]", {"base64_of": files.get}) == earlier
    in_json = made.json_parts[1]
    for name, image in made.images:
        in_json = in_json.replace(f"<{name} in base64>", image.data)
    if "in base64>" not in made.json_parts[1]:  # else a text may have the same words as the name of an image
        assert json.loads(f"[{in_json.rstrip().removesuffix(',')}]") == earlier
        assert made.curl_parts[1].replace("\\", "") == in_json.replace("\\", "")


def test_the_lines_of_the_earlier_messages_are_whole() -> None:
    messages = [Message("system", "Be brief."), *PLAIN, Message("assistant", "Hello."), Message("user", "And?")]
    made = code(URL, None, CHAT_COMPLETIONS, "m", messages, SamplingOptions())
    assert made.python_parts[1] == (
        "        {'role': 'user', 'content': 'Hi.'},\n        {'role': 'assistant', 'content': 'Hello.'},\n"
    )
    assert made.json_parts[0].endswith('"Be brief."\n    },\n')
    assert made.json_parts[2].startswith('    {\n      "role": "user",\n      "content": "And?"\n    }\n  ],\n')
    assert code(URL, None, CHAT_COMPLETIONS, "m", messages[:2], SamplingOptions()).json_parts[1] == ""


# Without streaming

OFF = SamplingOptions(streaming=False)


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OPENAI_COMPATIBLE, LEGACY], ids=lambda dialect: dialect.route)
def test_without_streaming_the_whole_reply_is_printed(dialect: Dialect, capsys: pytest.CaptureFixture[str]) -> None:
    made = code(URL, "0.2.12", dialect, "m", PLAIN, OFF)
    message = SimpleNamespace(content="Hello.")
    response = SimpleNamespace(choices=[SimpleNamespace(message=message)], completion_message=message)
    client = MagicMock()
    client().inference.chat_completion.return_value = client().chat.completions.create.return_value = response
    with patch.dict(sys.modules, llama_stack_client=MagicMock(LlamaStackClient=client)):
        exec(made.python, {})
    assert capsys.readouterr().out == "Hello.\n"
    assert made.curl.startswith("curl --fail-with-body ")
    assert code(URL, "0.2.12", dialect, "m", PLAIN, SamplingOptions()).curl.startswith("curl -N --fail-with-body ")


@pytest.mark.loopback
def test_the_installed_client_prints_the_whole_reply(stack: FakeStack, tmp_path: Path) -> None:
    made = code(stack.url, "1.5.0", CHAT_COMPLETIONS, MODEL, PLAIN, OFF)
    ended = run([sys.executable, "-c", made.python], tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "Hello there.\n"), ended.stderr
    assert stack.requests == [CHAT_COMPLETIONS.payload(MODEL, PLAIN, OFF)]


# The conversation loop

LINES = ["hello", "", "what did I say?", "BYE"]


def loop_payloads(
    dialect: Dialect, model: str, system_prompt: str, options: SamplingOptions, reply: str
) -> list[dict[str, Any]]:
    """The requests of the loop for `LINES`, if each is answered by `reply`."""
    first, second = Turn(LINES[0], replies=(Reply(reply),)), Turn(LINES[2])
    expected = []
    for turns in [(replace(first, replies=()),), (first, second)]:
        expected.append(dialect.payload(model, Conversation(system_prompt, turns).messages(), replace(options, n=None)))
        expected[-1].pop("stream_options", None)
    return expected


@given(addresses, servers, texts, texts, choices)
@example(URL, ("1.5.0", CHAT_COMPLETIONS), "m", " \n", SamplingOptions())
def test_the_loop_sends_the_conversation_and_no_text_becomes_code(
    url: str, server: tuple[str | None, Dialect], model: str, system_prompt: str, options: SamplingOptions
) -> None:
    version, dialect = server
    python = loop(url, version, dialect, model, system_prompt, options)
    assert all(character.isprintable() or character == "\n" for character in python)
    deltas = [SimpleNamespace(type="text", text=text, content=text) for text in ("Hel", "lo.")]
    chunks = [
        SimpleNamespace(event=SimpleNamespace(delta=delta), choices=[SimpleNamespace(delta=delta)]) for delta in deltas
    ]
    message = SimpleNamespace(content="Hello.")
    whole = SimpleNamespace(choices=[SimpleNamespace(message=message)], completion_message=message)
    client = MagicMock()
    create = client().inference.chat_completion if dialect is LEGACY else client().chat.completions.create
    create.return_value = chunks if options.streaming else whole
    with (
        patch.dict(os.environ, LLAMA_STACK_CLIENT_API_KEY=KEY),
        patch.dict(sys.modules, llama_stack_client=MagicMock(LlamaStackClient=client)),
        patch("builtins.input", side_effect=LINES),
    ):
        exec(python, {})
    assert client.call_args.kwargs == {"base_url": url, "api_key": KEY}
    sent = [call.kwargs | call.kwargs.get("extra_body", {}) for call in create.call_args_list]
    for body in sent:
        body.pop("extra_body", None)
    assert sent == loop_payloads(dialect, model, system_prompt, options, "Hello.")


def test_the_loop_is_short_and_ends_on_the_words_of_the_terminal() -> None:
    python = loop(URL, "1.5.0", CHAT_COMPLETIONS, "m", "Be brief.", SamplingOptions())
    assert python.count("\n") <= 35
    assert json.dumps(EXIT_WORDS)[1:-1] in python


def start_loop(stack: FakeStack) -> subprocess.Popen[str]:
    """The loop with the installed client."""
    python = loop(stack.url, "1.5.0", CHAT_COMPLETIONS, MODEL, "Be brief.", SamplingOptions())
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", python]
    environ = clean(os.environ) | {"NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8")


@pytest.mark.loopback
def test_the_loop_keeps_the_history_until_a_word_ends_it(stack: FakeStack) -> None:
    with start_loop(stack) as process:
        out, err = process.communicate("\n".join([*LINES, "not sent"]), timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    assert out == "User> Hello there.\nUser> User> Hello there.\nUser> "
    assert stack.requests == loop_payloads(CHAT_COMPLETIONS, MODEL, "Be brief.", SamplingOptions(), "Hello there.")


@pytest.mark.loopback
def test_the_loop_goes_on_after_a_failure_without_its_message(stack: FakeStack) -> None:
    stack.enqueue(status=400, body={"error": {"message": "Not like that."}})
    stack.enqueue("Hel", {"error": {"message": "Out of memory."}})
    stack.enqueue("Hello.")
    with start_loop(stack) as process:
        out, _ = process.communicate("refused\nbroken off\nhello\nagain\n", timeout=SECONDS)
    assert process.returncode == 0, "the end of the input ends the loop"
    assert "Error: " in out and "Not like that." in out and "Hel\nError: " in out and "Out of memory." in out
    contents = [[message["content"] for message in request["messages"]] for request in stack.requests]
    assert contents[-2:] == [["Be brief.", "hello"], ["Be brief.", "hello", "Hello.", "again"]]


@pytest.mark.loopback
def test_ctrl_c_ends_the_loop_in_the_middle_of_a_reply(stack: FakeStack) -> None:
    hold = Hold()
    stack.enqueue("Hel", hold)
    with start_loop(stack) as process:
        assert process.stdin
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert hold.reached.wait(SECONDS)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
        hold.release.set()
    assert process.returncode == 0
    assert out.startswith("User> ") and "Traceback" not in err


# The code, run


# The versions of servers, their dialects, and the servers of the contract tests that have them.
GENERATIONS = [
    ("1.5.0", CHAT_COMPLETIONS, "ogx-1.5.0"),
    ("0.7.3", CHAT_COMPLETIONS, "llama-stack-0.7.3"),
    ("0.6.1", CHAT_COMPLETIONS, "llama-stack-0.6.1"),
    ("0.5.4", CHAT_COMPLETIONS, "llama-stack-0.5.4"),
    ("0.4.7", CHAT_COMPLETIONS, "llama-stack-0.4.7"),
    ("0.3.5", CHAT_COMPLETIONS, "llama-stack-0.3.5"),
    ("0.2.12", OPENAI_COMPATIBLE, "llama-stack-0.2.12"),
    ("0.2.12", LEGACY, "llama-stack-0.2.12"),
    ("0.1.9", LEGACY, ""),
    (None, CHAT_COMPLETIONS, ""),
]
EACH_GENERATION = pytest.mark.parametrize(
    ("version", "dialect"), [row[:2] for row in GENERATIONS], ids=[f"{row[0]} {row[1].route}" for row in GENERATIONS]
)
SET = SamplingOptions(temperature=0.5, top_p=0.9, max_tokens=10, seed=7, reasoning_effort="low")
type Run = Callable[[Code, Path], subprocess.CompletedProcess[str]]


def run_python(made: Code, folder: Path) -> subprocess.CompletedProcess[str]:
    write_images(made, folder)
    return run_program(made.python, folder)


def run_program(python: str, folder: Path, lines: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Installs the client of the first line, and runs the program with these lines as its input."""
    (folder / "ask.py").write_text(python, encoding="utf-8")
    environment = install_client(*python.splitlines()[0].removeprefix("# pip install ").split())
    return run([str(environment / "bin" / "python"), "ask.py"], folder, "".join(f"{line}\n" for line in lines))


def run_curl(made: Code, folder: Path) -> subprocess.CompletedProcess[str]:
    write_images(made, folder)
    (folder / "ask.sh").write_text(made.curl, encoding="utf-8")
    return run(["sh", "ask.sh"], folder)


def run(command: list[str], folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "timeout": SECONDS}
    environ = clean(os.environ) | {"LLAMA_STACK_CLIENT_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=folder, env=environ, input=text, **options)


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordedServer]:
    with RecordedServer() as server:
        yield server


@pytest.fixture
def server(dialect: Dialect, stack: FakeStack, recording: RecordedServer) -> FakeStack | RecordedServer:
    """A server with one dialect. The legacy one is a recording."""
    recording.reset()
    stack.act_as_engine("tiny")
    stack.key, stack.routes = KEY, [dialect.route]
    return recording if dialect is LEGACY else stack


@pytest.mark.contract
@pytest.mark.parametrize("run_code", [run_python, run_curl])
@EACH_GENERATION
def test_the_code_sends_the_payload_and_prints_the_reply(
    server: FakeStack | RecordedServer, version: str | None, dialect: Dialect, run_code: Run, tmp_path: Path
) -> None:
    ended = run_code(code(server.url, version, dialect, "tiny", CONVERSATION, SET), tmp_path)
    assert ended.returncode == 0, ended.stderr
    payload = dialect.payload("tiny", CONVERSATION, SET)
    words = ["Hello", " there", "."]
    if isinstance(server, FakeStack):
        assert (server.requests, server.keys) == ([payload], [f"Bearer {KEY}"])
    else:
        assert server.bodies == [payload]
        words = ["tok0 ", "tok1 ", "tok2 "]
    assert all(word in ended.stdout for word in words)
    assert run_code is run_curl or ended.stdout == "".join(words) + "\n"


@pytest.mark.contract
@pytest.mark.parametrize("run_code", [run_python, run_curl])
@EACH_GENERATION
def test_the_code_without_streaming_prints_the_whole_reply(
    server: FakeStack | RecordedServer, version: str | None, dialect: Dialect, run_code: Run, tmp_path: Path
) -> None:
    ended = run_code(code(server.url, version, dialect, "tiny", CONVERSATION, OFF), tmp_path)
    assert ended.returncode == 0, ended.stderr
    bodies = server.bodies if isinstance(server, RecordedServer) else server.requests
    assert bodies == [dialect.payload("tiny", CONVERSATION, OFF)]
    text = "tok0 tok1 tok2 " if isinstance(server, RecordedServer) else "Hello there."
    assert f'"{text}"' in ended.stdout if run_code is run_curl else ended.stdout == f"{text}\n"


@pytest.mark.contract
@pytest.mark.parametrize("options", [SET, OFF], ids=["streaming", "whole"])
@EACH_GENERATION
def test_the_loop_keeps_the_history(
    server: FakeStack | RecordedServer, version: str | None, dialect: Dialect, options: SamplingOptions, tmp_path: Path
) -> None:
    ended = run_program(loop(server.url, version, dialect, "tiny", "Be brief.", options), tmp_path, LINES)
    assert ended.returncode == 0, ended.stderr
    is_recorded = isinstance(server, RecordedServer)
    text = "tok0 tok1 tok2 " if is_recorded else "Hello there."
    assert ended.stdout == f"User> {text}\nUser> User> {text}\nUser> "
    bodies = server.bodies if isinstance(server, RecordedServer) else server.requests
    assert bodies == loop_payloads(dialect, "tiny", "Be brief.", options, text)


@pytest.mark.contract
@EACH_GENERATION
def test_the_loop_goes_on_after_a_failure_in_the_stream(
    server: FakeStack | RecordedServer, version: str | None, dialect: Dialect, tmp_path: Path
) -> None:
    server.enqueue("tok0 ", {"error": {"message": "An unexpected error occurred."}})
    python = loop(server.url, version, dialect, "tiny", "", SamplingOptions())
    ended = run_program(python, tmp_path, ["fails", "hello"])
    assert ended.returncode == 0, ended.stderr
    assert "tok0 \nError: " in ended.stdout and "An unexpected error occurred." in ended.stdout
    bodies = server.bodies if isinstance(server, RecordedServer) else server.requests
    assert [message["content"] for message in bodies[-1]["messages"]] == ["hello"]


@pytest.mark.contract
@EACH_GENERATION
def test_a_failure_in_the_stream_is_printed(
    server: FakeStack | RecordedServer, version: str | None, dialect: Dialect, tmp_path: Path
) -> None:
    server.enqueue("tok0 ", {"error": {"message": "An unexpected error occurred."}})
    ended = run_python(code(server.url, version, dialect, "tiny", PLAIN, SamplingOptions()), tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "tok0 ")
    assert "An unexpected error occurred." in ended.stderr.splitlines()[-1]


@pytest.mark.contract
@pytest.mark.parametrize("name", sorted({row[2] for row in GENERATIONS} - {""}))
def test_a_real_server_answers_the_code_for_its_generation(name: str, tmp_path: Path) -> None:
    with RealServer(name) as server:
        server.await_ready()
        for version, dialect, _ in [row for row in GENERATIONS if row[2] == name]:
            for run_code in (run_python, run_curl):
                server.reset()
                ended = run_code(code(server.url, version, dialect, server.model, CONVERSATION, SET), tmp_path)
                assert ended.returncode == 0, ended.stdout + ended.stderr
                assert all(word in ended.stdout for word in ("Hello", " there", "."))
                assert len(server.engine.requests) == 1
