"""The server that all visitors talk to: the one configured, the one found, or the local stack."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from llama_ui.core.errors import NoServer
from llama_ui.core.events import Event, Queued
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.llama_stack import models
from llama_ui.llama_stack.queue import AdmissionQueue
from llama_ui.local_stack.launcher import LocalStack
from llama_ui.settings import Settings

if TYPE_CHECKING:
    from llama_ui.llama_stack.client import LlamaStackClient

# Llama Stack's default, and the one of its text generation guide.
DEFAULT_URLS = ("http://localhost:8321", "http://localhost:5000")
PROBE_TIMEOUT = 1.0
# Seconds after which a look at the server makes an attempt that failed again; a visitor's message does so at once.
RETRY = 60.0


@dataclass(frozen=True)
class ServerInfo:
    """What the server says of itself. `name` has the version, `models` the ids of those that chat.

    `blind`: the ids of those that are known to take no pictures.
    """

    url: str
    name: str
    models: list[str]
    text_only: list[str]
    local: bool


class Connection:
    """Finds or starts the server in the background, and waits for it where it is needed.

    An attempt that failed is made again by the next one who asks, so a visitor who sends a message after the cause is
    mended needs no restart of the app.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = LocalStack(settings.cache, settings.local_model, self._report)
        self.queue = AdmissionQueue(settings.max_visitors)
        self._lock = threading.Lock()
        self._attempt: Future[LlamaStackClient] | None = None
        self._began = 0.0
        self.uses_local = False
        self._blind: list[str] = []
        self.progress = "Connecting"

    def start(self) -> Future["LlamaStackClient"]:
        """Begins an attempt, unless one is under way or has succeeded. Returns at once."""
        with self._lock:
            if self._attempt is None or self._spent(self._attempt):
                self._attempt, self._began = Future(), time.monotonic()
                threading.Thread(target=self._run, args=[self._attempt], daemon=True, name="connect").start()
            return self._attempt

    @property
    def ready(self) -> bool:
        return self._attempt is not None and self._attempt.done() and not self._spent(self._attempt)

    async def client(self) -> "LlamaStackClient":
        """The server, as soon as it is ready. Raises `ChatError` where there is none to be had."""
        # Shielded: one visitor who leaves does not end the attempt for the others.
        return await asyncio.shield(asyncio.wrap_future(self.start()))

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        """As `LlamaStack.stream`, once it is ready and there is room. A blank model: the one to begin with."""
        stack = await self.client()
        with self.queue.join() as moved:
            place = self.queue.position(moved)
            while place:
                yield Queued(place)
                await moved.wait()
                moved.clear()
                place = self.queue.position(moved)
                if place == 0:
                    yield Queued(0)
            chosen = await self.resolve_model(model)
            if any(message.images for message in messages) and (self.uses_local or chosen in self._blind):
                raise models.text_only_model(chosen)
            async with aclosing(stack.stream(chosen, messages, options)) as stream:
                async for event in stream:
                    yield event

    async def resolve_model(self, model: str) -> str:
        """The model itself; where it is blank, the one to begin with."""
        if chosen := model.strip() or self._settings.model:
            return chosen
        return models.first_choice(await (await self.client()).chat_models())

    async def check_ready(self) -> None:
        """Raises ChatError where the server does not answer now, or is still being made ready."""
        attempt = self._attempt
        if attempt is None or (self._spent(attempt) and time.monotonic() > self._began + RETRY):
            attempt = self.start()  # not each time: it may start the local stack, and strangers can look, too
        if not attempt.done():
            raise NoServer(f"{self.progress}…", "")
        await attempt.result().chat_models()

    async def server_info(self) -> ServerInfo:
        """What the server says of itself now. Raises `ChatError`."""
        stack = await self.client()
        identity, listed = await asyncio.gather(stack.identity(), stack.models())
        chat = {model.id: model for model in listed if model.chats}
        # The local stack's engine has no part that sees, whatever the model.
        self._blind = [name for name, model in chat.items() if model.supports_vision is False or self.uses_local]
        return ServerInfo(stack.base_url, identity.name, list(chat), self._blind, self.uses_local)

    def summary(self) -> str:
        """One line on which server was chosen. Raises what the last attempt raised; call it after one has ended."""
        assert self._attempt is not None
        stack = self._attempt.result()
        if not self.uses_local:
            return f"Server: {stack.base_url}"
        return (
            f"Server: {stack.base_url}, the local stack with a tiny demonstration model. "
            "For a real one start with --base-url URL."
        )

    def close(self) -> None:
        """Stops the local stack, if one was started."""
        self._local.stop()

    def _spent(self, attempt: Future["LlamaStackClient"]) -> bool:
        if not attempt.done():
            return False
        return attempt.exception() is not None or (self.uses_local and not self._local.alive())

    def _report(self, progress: str) -> None:
        self.progress = progress

    def _run(self, attempt: Future["LlamaStackClient"]) -> None:
        try:
            attempt.set_result(self._connect())
        except BaseException as error:  # whatever it is, the ones who wait must hear of it
            attempt.set_exception(error)

    def _connect(self) -> "LlamaStackClient":
        from llama_ui.llama_stack.client import LlamaStackClient  # takes 0.8 s, which the page must not wait for

        settings = self._settings
        self.uses_local = False
        url = settings.base_url or next(filter(_is_llama_stack, DEFAULT_URLS), None)
        if url:
            return LlamaStackClient(url, settings.api_key, timeout=settings.timeout, visitors=settings.max_visitors)
        if settings.no_local:
            raise NoServer(
                "No Llama Stack server is configured, and none answers at " + " or ".join(DEFAULT_URLS) + ".",
                "Start the app with --base-url URL.",
            )
        self.uses_local = True
        return LlamaStackClient(self._local.start(), timeout=settings.timeout, visitors=settings.max_visitors)


def _is_llama_stack(url: str) -> bool:
    """Whether a Llama Stack answers there. Its health route needs no key; other programs use port 5000, too."""
    try:
        answer = httpx.get(f"{url}/v1/health", timeout=PROBE_TIMEOUT, trust_env=False)
        return answer.is_success and "status" in answer.json()
    except (httpx.HTTPError, ValueError, TypeError):
        return False
