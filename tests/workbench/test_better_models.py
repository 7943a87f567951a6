"""The local stack changes to a better model, or stays as it was. The hub is one of the test's own."""

import asyncio
import contextlib
import hashlib
import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llama_ui.core.errors import LocalStackError
from llama_ui.core.events import Text
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack import connection as connection_module
from llama_ui.llama_stack.connection import Connection
from llama_ui.local_stack import launcher
from llama_ui.local_stack.catalog import BETTER_MODELS, DEMONSTRATION_NAME, read_choice, write_choice
from llama_ui.local_stack.launcher import LocalStack
from llama_ui.parsers import NAMED_LOCAL_MODELS
from llama_ui.settings import Settings
from llama_ui.workbench import better_models
from tests.support import SECONDS
from tests.support.app_process import ROOT, free_port
from tests.support.demonstration import link_demonstration
from tests.support.fake_stack import FakeStack
from tests.support.hub import FakeHub
from tests.support.received import received

pytestmark = pytest.mark.loopback
NAME = "smollm2-1.7b"
FILE = BETTER_MODELS[NAME].file
LABEL = BETTER_MODELS[NAME].label
CONTENT = b"GGUF" + bytes(range(256)) * 12_000
# Fetches as the real worker does. Serves at the address of a fake stack, except a model that is unusable.
WORKER = """
import json, pathlib, sys
from llama_ui.local_stack import model, worker
if sys.argv[4:]:
    worker.main()
name = sys.argv[3] if sys.argv[3:] else None
pathlib.Path(sys.argv[1]).mkdir()
if name:
    model.fetch(name, pathlib.Path(sys.argv[2]), sys.stdout)
if name == UNUSABLE:
    print(json.dumps({"error": ["The model engine cannot load the model file.", ""]}))
else:
    print(json.dumps({"ready": URL}), flush=True)
    sys.stdin.read()
"""
UseModels = Callable[..., Connection]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(NAME, CONTENT) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield fake


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def cached(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("*")} - {"fetch.lock"}


@pytest.fixture
async def connect(stack: FakeStack, cache: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[UseModels]:
    """Makes the connection of an app with the local stack: `connect(unusable=name, **settings)`."""
    monkeypatch.setattr(connection_module, "DEFAULT_URLS", ())
    async with contextlib.AsyncExitStack() as cleanup:

        def make(unusable: str | None = "", **settings: object) -> Connection:
            code = WORKER.replace("URL", repr(stack.url)).replace("UNUSABLE", repr(unusable))
            monkeypatch.setattr(launcher, "WORKER", ("-c", code))
            connection = Connection(Settings(cache=cache, **settings))  # type: ignore[arg-type]
            cleanup.push_async_callback(connection.disconnect)
            cleanup.callback(connection.close)
            return connection

        yield make


async def reply(connection: Connection) -> str:
    stream = connection.stream("", [Message("user", "Hi.")], SamplingOptions())
    return "".join([event.text async for event in received(stream) if isinstance(event, Text)])


async def change(connection: Connection, name: str = NAME) -> list[tuple[int, int]]:
    return [step async for step in better_models.use(connection, name)]


async def until_held(hub: FakeHub, changing: asyncio.Task[list[tuple[int, int]]]) -> None:
    """Waits until the hub holds the download. Raises what ends it before."""
    holding = asyncio.create_task(asyncio.to_thread(hub.held.wait, SECONDS))
    await asyncio.wait([holding, changing], return_when=asyncio.FIRST_COMPLETED)
    hub.held.set()  # ends the thread
    if changing.done():
        await changing


async def assert_unchanged(connection: Connection, process: list[psutil.Process], cache: Path) -> None:
    """That the local stack is the one before, and no other process and no file is left."""
    assert psutil.Process().children() == process
    assert await reply(connection) == "Hello there."
    assert (await connection.server_info()).demo
    assert cached(cache) == set()


def test_the_names_are_those_of_the_option() -> None:
    assert tuple(BETTER_MODELS) == NAMED_LOCAL_MODELS


async def test_a_better_model_is_fetched_while_the_present_one_serves_and_then_used_and_remembered(
    hub: FakeHub, connect: UseModels, cache: Path
) -> None:
    connection = connect()
    assert list(better_models.offered(connection)) == []  # nothing has been started
    assert (await connection.server_info()).demo
    assert [better.name for better in better_models.offered(connection)] == list(BETTER_MODELS)
    assert "tiny demo model" in connection.summary()
    hub.holds_at = 2_500_000
    changing = asyncio.create_task(change(connection))
    await until_held(hub, changing)
    assert await reply(connection) == "Hello there."
    hub.release.set()
    steps = await changing
    assert steps[0] == (0, len(CONTENT)) and steps[-1] == (len(CONTENT), len(CONTENT))
    assert all(before <= after for before, after in itertools.pairwise(steps))
    assert not (await connection.server_info()).demo
    assert connection.summary().count(f"the local stack with {LABEL}.") == 1
    assert [better.name for better in better_models.offered(connection)] == ["smollm2-360m"]
    assert await reply(connection) == "Hello there."
    assert (cache / FILE).read_bytes() == CONTENT
    assert cached(cache) == {FILE, Path(FILE).with_suffix(".sha256").name, "local-model"}

    connection.close()
    requests = len(hub.requests)
    again = connect()
    assert not (await again.server_info()).demo
    assert len(hub.requests) == requests


async def test_a_lost_connection_is_continued_where_it_broke_off(hub: FakeHub, connect: UseModels, cache: Path) -> None:
    hub.breaks_at = [2_000_000]
    await change(connect())
    assert hub.requests[-1] == ("GET", "bytes=2000000-")
    assert (cache / FILE).read_bytes() == CONTENT


def break_off(hub: FakeHub) -> None:
    hub.ends_at = 2_000_000


def change_content(hub: FakeHub) -> None:
    hub.sha256 = "0" * 64


def fill_disk(hub: FakeHub) -> None:
    hub.size = 10**15


def remove_file(hub: FakeHub) -> None:
    hub.path = "/%s/another"


@pytest.mark.parametrize(
    ("damage", "sentence", "fix"),
    [
        (break_off, f"{LABEL} could not be fetched.", "Check the network"),
        (change_content, f"{LABEL} was refused: its download is not what was expected.", "Try again."),
        (fill_disk, f"The disk has no room for {LABEL}.", "LLAMA_UI_CACHE"),
        (remove_file, f"There is no {LABEL}.", "Check the name"),
    ],
)
async def test_a_download_that_fails_is_explained_and_changes_nothing(
    damage: Callable[[FakeHub], None], sentence: str, fix: str, hub: FakeHub, connect: UseModels, cache: Path
) -> None:
    damage(hub)
    connection = connect()
    await connection.client()
    process = psutil.Process().children()
    with pytest.raises(LocalStackError) as caught:
        await change(connection)
    assert caught.value.sentence == sentence
    assert fix in caught.value.fix
    await assert_unchanged(connection, process, cache)


async def test_without_a_network_nothing_changes(
    connect: UseModels, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    connection = connect()
    await connection.client()
    process = psutil.Process().children()
    with pytest.raises(LocalStackError, match=r"could not be fetched\. Check the network"):
        await change(connection)
    await assert_unchanged(connection, process, cache)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_cancel_ends_the_download_and_leaves_the_stack_as_it_was(
    cancelled: bool, hub: FakeHub, connect: UseModels, cache: Path
) -> None:
    hub.holds_at = 2_500_000
    connection = connect()
    await connection.client()
    process = psutil.Process().children()
    changing = better_models.use(connection, NAME)
    assert await anext(changing) == (0, len(CONTENT))
    assert await asyncio.to_thread(hub.held.wait, SECONDS)
    assert is_downloading(cache)
    if cancelled:
        waiting = asyncio.create_task(_exhaust(changing))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await changing.aclose()
    await assert_unchanged(connection, process, cache)
    hub.holds_at = None
    assert (await change(connection))[-1] == (len(CONTENT), len(CONTENT))


def is_downloading(cache: Path) -> bool:
    return any(cache.glob("llama-ui-fetch-*"))


async def _exhaust(steps: AsyncGenerator[tuple[int, int], None]) -> None:
    async for _ in steps:
        pass


async def test_the_end_of_the_app_ends_a_download(hub: FakeHub, connect: UseModels, cache: Path) -> None:
    hub.holds_at = 2_500_000
    connection = connect()
    changing = asyncio.create_task(change(connection))
    await until_held(hub, changing)
    processes = psutil.Process().children(recursive=True)
    assert len(processes) == 2
    connection.close()
    with pytest.raises(LocalStackError, match="was stopped"):
        await changing
    assert not psutil.wait_procs(processes, timeout=SECONDS)[1]
    assert cached(cache) == set()


APP = f"""
import asyncio, sys
from pathlib import Path
from llama_ui.local_stack.launcher import LocalStack

async def main():
    async for _ in LocalStack(Path(sys.argv[1])).fetch("{NAME}"):
        pass

asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_that_ends_the_app_ends_a_download(
    end: int, hub: FakeHub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    hub.holds_at = 2_500_000
    with subprocess.Popen([sys.executable, "-c", APP, str(cache)], cwd=ROOT, stderr=subprocess.DEVNULL) as app:
        assert hub.held.wait(SECONDS)
        processes = psutil.Process(app.pid).children(recursive=True)
        assert len(processes) == 1
        app.send_signal(end)
        app.wait(SECONDS)
        assert not psutil.wait_procs(processes, timeout=SECONDS)[1]
    assert cached(cache) == set()
    assert not list((tmp_path / "scratch").iterdir())


async def test_one_model_is_fetched_at_a_time(hub: FakeHub, connect: UseModels) -> None:
    hub.holds_at = 2_500_000
    connection = connect()
    first = asyncio.create_task(change(connection))
    await until_held(hub, first)
    with pytest.raises(LocalStackError, match=r"is being downloaded already\. Wait"):
        await change(connection)
    hub.release.set()
    assert (await first)[-1] == (len(CONTENT), len(CONTENT))


async def test_a_model_that_cannot_be_started_is_replaced_by_the_one_before(
    hub: FakeHub, connect: UseModels, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = connect(unusable=NAME)
    with pytest.raises(LocalStackError) as caught:
        await change(connection)
    assert caught.value.sentence == f"{LABEL} cannot be used. The model engine cannot load the model file."
    assert DEMONSTRATION_NAME in caught.value.fix
    assert await reply(connection) == "Hello there."
    assert (await connection.server_info()).demo
    assert read_choice(cache) is None


@pytest.mark.parametrize(
    ("settings", "name", "sentence"),
    [
        ({}, "smollm2-135b`", "does not offer to change to `smollm2-135b'`"),
        ({"host": "0.0.0.0"}, NAME, "does not offer to change"),
        ({"local_model": "smollm2-360m"}, NAME, "does not offer to change"),
        ({"base_url": True}, NAME, "The app does not use the local stack."),
    ],
)
async def test_only_what_is_offered_can_be_used(
    settings: dict[str, object], name: str, sentence: str, connect: UseModels, stack: FakeStack, cache: Path
) -> None:
    if "local_model" in settings:
        store(cache, "smollm2-360m")
    if "base_url" in settings:
        settings = {"base_url": stack.url}
    connection = connect(**settings)
    with pytest.raises(LocalStackError, match=sentence):
        await change(connection, name)
    assert (list(better_models.offered(connection)) == []) == bool(settings)


# At the start


def store(cache: Path, name: str) -> Path:
    """Puts the file of a better model into the cache, as if it had been fetched."""
    cache.mkdir(exist_ok=True)
    path = cache / BETTER_MODELS[name].file
    path.write_bytes(CONTENT)
    path.with_suffix(".sha256").write_text(hashlib.sha256(CONTENT).hexdigest())
    return path


async def test_a_chosen_model_whose_file_is_gone_is_replaced_by_the_demonstration_model(
    hub: FakeHub, connect: UseModels, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(cache, NAME).unlink()
    write_choice(cache, NAME)
    assert (await connect().server_info()).demo
    printed = capsys.readouterr().err
    assert f"{LABEL} cannot be used. Its file in the cache is missing or cannot be read." in printed
    assert f"{DEMONSTRATION_NAME} is used instead." in printed
    assert not hub.requests


async def test_a_chosen_model_that_the_engine_refuses_is_replaced_by_the_demonstration_model(
    connect: UseModels, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(cache, NAME)
    write_choice(cache, NAME)
    assert (await connect(unusable=NAME).server_info()).demo
    assert f"{LABEL} cannot be used. The model engine cannot load the model file." in capsys.readouterr().err


@pytest.mark.parametrize("choice", ["", "unknown\n", "\N{PILE OF POO}"])
def test_a_choice_that_is_no_better_model_is_ignored(choice: str, tmp_path: Path) -> None:
    (tmp_path / "local-model").write_text(choice, encoding="utf-16")
    assert read_choice(tmp_path) is None
    (tmp_path / "local-model").write_text(choice)
    assert read_choice(tmp_path) is None


async def test_the_option_wins_over_the_choice(connect: UseModels, cache: Path) -> None:
    for name in BETTER_MODELS:
        store(cache, name)
    write_choice(cache, NAME)
    connection = connect(local_model="smollm2-360m")
    assert not (await connection.server_info()).demo
    assert "SmolLM2-360M-Instruct" in connection.summary()
    connection.close()
    assert read_choice(cache) == NAME


async def test_a_model_given_by_name_is_fetched_at_the_start_with_progress_and_a_damaged_file_again(
    hub: FakeHub, connect: UseModels, cache: Path
) -> None:
    (path := store(cache, NAME)).write_bytes(CONTENT[:-1])
    sentences: list[str] = []
    connect()
    stack = LocalStack(cache, NAME, sentences.append)
    stack.start()
    stack.stop()
    assert sentences[:2] == ["Preparing the local stack", f"Fetching {LABEL} from the Hugging Face Hub (once)"]
    assert sentences[-1] == f"Downloading {FILE} (3 MB, once): 100 %"
    assert path.read_bytes() == CONTENT


async def test_a_choice_that_cannot_be_stored_is_not_an_error(
    connect: UseModels, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect()
    store(cache, NAME)
    (cache / "local-model").mkdir()
    stack = LocalStack(cache)
    stack.choose(NAME)
    stack.start()
    assert stack.model == NAME
    stack.stop()
    assert f"The next start will not use {LABEL}" in capsys.readouterr().err


@pytest.fixture
def demonstration(cache: Path) -> Path:
    """The demonstration model in this test's cache, linked from the user's, where it is fetched once."""
    return link_demonstration(cache)


@pytest.mark.real_stack
async def test_the_real_local_stack_changes_to_a_model_from_the_hub(
    demonstration: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "DEFAULT_URLS", ())
    others = set(psutil.Process().children())  # of other tests
    with (
        FakeHub(NAME, await asyncio.to_thread(demonstration.read_bytes)) as hub,
        contextlib.closing(Connection(Settings(cache=cache))) as connection,
    ):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        before = await connection.server_info()
        assert (before.models, before.demo) == ([f"local/{DEMONSTRATION_NAME}"], True)
        steps = await change(connection)
        assert steps[-1] == (hub.size, hub.size)
        after = await connection.server_info()
        assert (after.models, after.demo) == ([f"local/{LABEL}"], False)
        assert await reply(connection)
        await connection.disconnect()
    assert set(psutil.Process().children()) <= others
