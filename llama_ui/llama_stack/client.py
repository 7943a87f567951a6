"""The Llama Stack server. The only file that imports the vendor's client, which takes 0.8 s: import it late."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import httpx
from llama_stack_client import APIStatusError, AsyncLlamaStackClient, AsyncStream, DefaultAsyncHttpxClient
from llama_stack_client._types import Omit, RequestOptions

from llama_ui.core import errors
from llama_ui.core.events import Event, Finished, Notice, RequestSent
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.text import as_code
from llama_ui.llama_stack import models
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, Dialect, choose
from llama_ui.llama_stack.error_replies import RequestContext, explain_event
from llama_ui.llama_stack.exception_map import connection_lost, explain, no_llama_stack
from llama_ui.llama_stack.models import Model

CONNECT_TIMEOUT = 5.0
LOOKUP_TIMEOUT = 10.0
# Servers close an idle connection after 5 s (uvicorn's default): a request must not meet that moment.
KEPT_ALIVE = 3.0
# Other names of models that are remembered.
MOST_NAMES = 1000
NO_CONNECTION = (errors.Unreachable, errors.ConnectionLost, errors.TimedOut)


@dataclass(frozen=True)
class ServerIdentity:
    """What a server is. `version` is None where it does not say, as with a plain OpenAI-compatible engine."""

    version: str | None
    dialect: Dialect

    @property
    def name(self) -> str:
        """ "OGX 1.5.0", "Llama Stack 0.7.3": the last series before the project was renamed is 0.7."""
        if self.version is None:
            return "OpenAI-compatible server"
        try:
            renamed = tuple(map(int, self.version.split(".")[:2])) >= (0, 8)
        except ValueError:
            renamed = False
        return f"{'OGX' if renamed else 'Llama Stack'} {self.version}"


class _Client(AsyncLlamaStackClient):
    """The vendor's client, without the header by which a server of another version turns it away (426)."""

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        return {**super().default_headers, "X-LlamaStack-Client-Version": Omit()}


class LlamaStackClient:
    """One server. All methods belong to one event loop; each raises `errors.ServerError`."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        http: httpx.AsyncClient | None = None,
        timeout: float = 300.0,
        visitors: int = 200,
    ) -> None:
        """`timeout`: the longest wait for the next byte of a reply, in seconds; a large model thinks for minutes.

        `visitors`: how many replies there may be at once. `http` replaces the connection pool, for tests.
        """
        # Room for each visitor's reply and a lookup beside it: with the client's 100 they would wait for each other.
        limits = httpx.Limits(max_connections=2 * visitors + 10, keepalive_expiry=KEPT_ALIVE)
        self.base_url = base_url
        self._timeout = timeout
        self._lookup_timeout = httpx.Timeout(min(LOOKUP_TIMEOUT, timeout), connect=min(CONNECT_TIMEOUT, timeout))
        self._lookup: asyncio.Task[Dialect] | None = None
        self._identity: ServerIdentity | None = None
        # The server's own names of models that visitors call otherwise.
        self._names: dict[str, str] = {}
        self._client = _Client(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            # A chat request costs money and time: it is sent once.
            max_retries=0,
            http_client=http or DefaultAsyncHttpxClient(limits=limits),
        )
        # Not through the constructor: given None it would take a key from the environment by itself.
        self._client.api_key = api_key

    async def models(self) -> list[Model]:
        """The models that the server lists, in its order."""
        answer = await self._get("/v1/models")
        listed = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise no_llama_stack(RequestContext(self.base_url))
        return [model for item in listed if (model := models.from_listed(item))]

    async def chat_models(self) -> list[str]:
        """The ids of the models that chat."""
        return list(dict.fromkeys(model.id for model in await self.models() if model.chats))

    async def identity(self) -> ServerIdentity:
        """What the server is now. Looks its dialect up anew: another server may be at the address by now."""
        self._lookup = None
        version, dialect = await asyncio.gather(self._version(), self._dialect())
        self._identity = ServerIdentity(version, dialect)
        return self._identity

    async def last_identity(self) -> ServerIdentity:
        """`identity`; where nobody answers, what the server was when it was last asked."""
        try:
            return await self.identity()
        except errors.ChatError:
            if not self._identity:
                raise
            return self._identity

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        """One reply as it is generated. Closing this generator closes the request to the server at once.

        A model that the server refuses is asked for again under the one name of its own for it, if there is one.
        """
        name = self._names.get(model, model)
        if name != model:
            yield Notice(f"This server's name for the model {as_code(model)} is {as_code(name)}.")
        began = False
        try:
            async with aclosing(self._reply(name, messages, options)) as reply:
                async for event in reply:
                    began = began or not isinstance(event, (Notice, RequestSent))
                    yield event
            return
        except errors.UnknownModel as error:
            if began:
                raise
            other = await self._other_name(model, name, error)
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            self._names[model] = other
        async with aclosing(self.stream(model, messages, options)) as reply:
            async for event in reply:
                yield event

    async def _other_name(self, model: str, name: str, error: errors.UnknownModel) -> str:
        """What else to call a model that the server refused under this name. Raises what to tell without any."""
        self._names.pop(model, None)
        try:
            listed = await self.chat_models()
        except errors.ServerError:
            raise error from error.__cause__
        other = models.same_model(model, listed)
        if other in (None, name):
            raise models.unknown_model(model, listed) from error.__cause__
        return other

    async def aclose(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _reply(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        images = sum(len(message.images) for message in messages)
        call = RequestContext(self.base_url, model, self._timeout, key=self._client.api_key, images=images)
        yield RequestSent(model)
        dialect, stream = await self._ask(call, messages, options)
        async with stream:
            if unsent := " and ".join(dialect.unsent(options)):
                yield Notice(f"{unsent} cannot be sent to this server: its route {as_code(dialect.route)} has none.")
            with self._explained(call):
                if not stream.response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                    raise await _no_stream(stream.response, call)
                ended = False
                async for chunk in stream:
                    if not isinstance(chunk, dict):
                        continue
                    if "choices" not in chunk and "event" not in chunk and ("detail" in chunk or "message" in chunk):
                        raise explain_event(chunk, "", call)
                    for event in dialect.events(chunk):
                        call.began = True
                        ended = ended or isinstance(event, Finished)
                        yield event
                if not ended and _open_ended(stream.response):
                    raise connection_lost(call)

    async def _ask(
        self, call: RequestContext, messages: Sequence[Message], options: SamplingOptions
    ) -> tuple[Dialect, AsyncStream[object]]:
        """Sends the request, in the server's dialect. Where a server of another generation has taken its place, which
        has no such route, the dialect is looked up again; the request has reached no model by then."""
        dialect = await self._dialect()
        try:
            return dialect, await self._post(dialect, call, messages, options)
        except errors.NotALlamaStack:
            self._lookup = None
            if dialect == (dialect := await self._dialect()):
                raise
        return dialect, await self._post(dialect, call, messages, options)

    async def _post(
        self, dialect: Dialect, call: RequestContext, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncStream[object]:
        with self._explained(call):
            try:
                # As plain dicts a chunk costs 16 us instead of the 88 us of the typed form.
                stream = await self._client.post(
                    dialect.route,
                    cast_to=object,
                    body=dialect.payload(call.model, messages, options),
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
            except APIStatusError as error:
                await _hang_up(error.response)
                raise
            call.answered = True
            return stream

    async def _dialect(self) -> Dialect:
        """The server's dialect. Looked up once for all, and again after the connection to the server was lost."""
        if self._lookup is None or (self._lookup.done() and self._lookup.exception()):
            self._lookup = asyncio.create_task(self._look_up())
            # Its failure counts as heard, though all who asked may have left by then.
            self._lookup.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._lookup)

    async def _look_up(self) -> Dialect:
        try:
            answer = await self._get("/v1/inspect/routes")
        except NO_CONNECTION:
            raise
        except errors.ServerError:  # a plain engine, or a gateway that refuses what it does not know
            return CHAT_COMPLETIONS
        listed = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            return CHAT_COMPLETIONS
        dialect = choose([str(item.get("route")) for item in listed if isinstance(item, dict)])
        if dialect is None:
            raise errors.NotALlamaStack(
                f"The Llama Stack at {self.base_url} has no chat route.", "Add the inference API to its configuration."
            )
        return dialect

    async def _version(self) -> str | None:
        try:
            answer = await self._get("/v1/version")
        except NO_CONNECTION:
            raise
        except errors.ServerError:
            return None
        version = answer.get("version") if isinstance(answer, dict) else None
        return version if isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version) else None

    async def _get(self, path: str) -> object:
        """What the server says of itself. Asked twice where it had closed a connection that was kept open."""
        with suppress(errors.NoAnswer):
            return await self._get_once(path)
        return await self._get_once(path)

    async def _get_once(self, path: str) -> object:
        with self._explained(RequestContext(self.base_url, key=self._client.api_key)):
            # On a connection that is not used again: what answers may be no Llama Stack, and close it without a word.
            options: RequestOptions = {"timeout": self._lookup_timeout, "headers": {"Connection": "close"}}
            return await self._client.get(path, cast_to=object, options=options)

    @contextmanager
    def _explained(self, call: RequestContext) -> Iterator[None]:
        """Turns what the client library raises into a `ServerError`; the original stays as its cause."""
        try:
            yield
        except Exception as error:
            told = error if isinstance(error, errors.ServerError) else explain(error, call)
            if isinstance(told, (errors.Unreachable, errors.ConnectionLost)):
                self._lookup = None  # whatever answers there next may be another server
            if told is None or told is error:
                raise
            raise told from error


async def _no_stream(response: httpx.Response, call: RequestContext) -> errors.ServerError:
    """What to tell of a 200 without a stream: it may be an error in disguise."""
    if "json" not in response.headers.get("content-type", ""):
        return no_llama_stack(call)
    await response.aread()
    body = response.json()
    error = body.get("error") if isinstance(body, dict) else None
    return explain_event(error, str(error), call) if error else no_llama_stack(call)


async def _hang_up(response: httpx.Response) -> None:
    """Closes the connection. Servers do so after an error, some a while after it: no next request may meet that."""
    if connection := response.extensions.get("network_stream"):
        await connection.aclose()


def _open_ended(response: httpx.Response) -> bool:
    """Whether the end of the connection alone marks the end of the answer, so that it may have been cut off."""
    return "transfer-encoding" not in response.headers and "content-length" not in response.headers
