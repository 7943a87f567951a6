"""The server that all visitors share: the configured one, one found at a default address, or the local stack."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import httpx

from llama_ui.core.errors import NoServer
from llama_ui.core.events import Event, Queued
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack.models import first_choice, text_only_model
from llama_ui.llama_stack.queue import AdmissionQueue
from llama_ui.local_stack.catalog import real_name
from llama_ui.local_stack.launcher import LocalStack
from llama_ui.settings import Settings

if TYPE_CHECKING:
    from llama_ui.llama_stack.client import LlamaStackClient

# Llama Stack's default, and that of its text generation guide.
DEFAULT_URLS = ("http://localhost:8321", "http://localhost:5000")
PROBE_TIMEOUT = 1.0
# Seconds after which `check_ready` repeats an attempt that failed; a visitor's message repeats it at once.
RETRY = 60.0
DEMO = "a tiny demo model, fine for a tour, not for answers"


@dataclass(frozen=True)
class ServerInfo:
    """What the page shows of the server."""

    url: str
    name: str  # with the version
    models: list[str]  # the ids of those that chat
    text_only: list[str]  # the ids of those that are known not to take images
    local: bool  # whether it is the local stack
    demo: bool = False  # whether that runs with the demonstration model
    lacks: tuple[str, ...] = ()  # the names of the sampling options that its route has no field for


class Connection:
    """Finds or starts the server in the background. An attempt that failed is repeated for the next caller."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.local = LocalStack(settings.cache, settings.local_model, partial(setattr, self, "progress"))
        self._lock = threading.Lock()
        self._attempt: Future[LlamaStackClient] | None = None
        self._attempted_at = 0.0
        self._text_only: list[str] = []
        self.queue = AdmissionQueue(settings.max_visitors)
        self.uses_local = False
        self.progress = "Connecting"

    def start(self) -> Future["LlamaStackClient"]:
        """Starts an attempt, unless one is under way or has succeeded, and returns at once."""
        with self._lock:
            if self._attempt is None or (self._attempt.done() and not self.ready):
                self._attempt, self._attempted_at = Future(), time.monotonic()
                run = partial(_complete, self._attempt, self._connect)
                threading.Thread(target=run, daemon=True, name="connect").start()
            return self._attempt

    @property
    def ready(self) -> bool:
        """Whether there is a server: the attempt has succeeded, and a local stack that it started still runs."""
        attempt = self._attempt
        succeeded = attempt is not None and attempt.done() and attempt.exception() is None
        return succeeded and (not self.uses_local or self.local.alive())

    async def client(self) -> "LlamaStackClient":
        """The server's client, as soon as it is ready; raises `ChatError` if no server can be used."""
        # Shielded: a caller that is cancelled does not end the attempt for the others.
        return await asyncio.shield(asyncio.wrap_future(self.start()))

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        """`LlamaStackClient.stream`, once server and queue are ready. A blank model stands for the first choice."""
        client = await self.client()
        with self.queue.join() as moved:
            if position := self.queue.position(moved):
                yield Queued(position)
            while position:
                await moved.wait()
                moved.clear()
                position = self.queue.position(moved)
                yield Queued(position)
            model = await self.resolve_model(model)
            if any(message.images for message in messages) and (self.uses_local or model in self._text_only):
                raise text_only_model(model)
            async with aclosing(client.stream(model, messages, options)) as events:
                async for event in events:
                    yield event

    async def resolve_model(self, model: str) -> str:
        """The model itself; if it is blank, the configured one or else the first choice of those listed."""
        if chosen := model.strip() or self.settings.model:
            return chosen
        return first_choice(await (await self.client()).chat_models())

    async def check_ready(self) -> None:
        """Raises `ChatError` if the server does not answer now, or is not ready yet."""
        attempt = self._attempt
        if attempt is None or time.monotonic() > self._attempted_at + RETRY:
            attempt = self.start()  # not each time: strangers may call this often, and it may start the local stack
        if not attempt.done():
            raise NoServer(f"{self.progress}…", "")
        await attempt.result().chat_models()

    async def server_info(self) -> ServerInfo:
        """What the server is now; raises `ChatError`."""
        client = await self.client()
        identity, listed = await asyncio.gather(client.discovery.identity(), client.models())
        chat = {model.id: model for model in listed if model.chats}
        # The engine of the local stack takes no images, whatever the model.
        self._text_only = [name for name, model in chat.items() if model.supports_vision is False or self.uses_local]
        demo = self.uses_local and self.local.model is None
        lacks = tuple(name for name in identity.dialect.lacks if name != "n")  # which as many requests stand for
        return ServerInfo(client.base_url, identity.name, list(chat), self._text_only, self.uses_local, demo, lacks)

    def summary(self) -> str:
        """One line about the server in use. Raises what the last attempt raised; call it after one has ended."""
        assert self._attempt is not None
        url = self._attempt.result().base_url
        if not self.uses_local:
            return f"Server: {url}"
        name = self.local.model and real_name(self.local.model)
        return f"Server: {url}, the local stack with {name or DEMO}. Connect yours: --base-url URL"

    async def disconnect(self) -> None:
        """Closes the connections to the server; call it in the event loop that has used them."""
        if (attempt := self._attempt) and attempt.done() and not attempt.exception():
            await attempt.result().aclose()

    def close(self) -> None:
        """Stops the local stack, if it was started."""
        self.local.stop()

    def _connect(self) -> "LlamaStackClient":
        from llama_ui.llama_stack.client import LlamaStackClient  # takes 0.8 s, which the page need not wait for

        settings = self.settings
        url = settings.base_url or next(filter(_is_llama_stack, DEFAULT_URLS), None)
        if url is None and settings.no_local:
            sentence = f"No Llama Stack server is configured, and none answers at {' or '.join(DEFAULT_URLS)}."
            raise NoServer(sentence, "Start the app with --base-url URL.")
        self.uses_local = url is None
        return LlamaStackClient(
            url or self.local.start(),
            None if self.uses_local else settings.api_key,
            timeout=settings.timeout,
            visitors=settings.max_visitors,
            environ=settings.environ,
            provider_data=None if self.uses_local else settings.provider_data,
        )


def _complete[T](future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # whatever it is, the callers that wait must get it
        future.set_exception(error)


def _is_llama_stack(url: str) -> bool:
    """Whether a Llama Stack answers there. Its health route needs no key; other programs use port 5000, too."""
    try:
        response = httpx.get(f"{url}/v1/health", timeout=PROBE_TIMEOUT, trust_env=False)
        return response.is_success and "status" in response.json()
    except (httpx.HTTPError, ValueError, TypeError):
        return False
