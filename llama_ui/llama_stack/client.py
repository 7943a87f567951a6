"""The client of one Llama Stack server. Imported late, since the vendor's client takes 0.8 s."""

from collections.abc import AsyncGenerator, Iterable, Sequence

import httpx
from llama_stack_client import AsyncLlamaStackClient, AsyncStream
from llama_stack_client._types import Omit

from llama_ui.core import errors
from llama_ui.core.events import Event, Finished, Notice, RequestSent
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.text import as_code
from llama_ui.llama_stack.dialects import Dialect
from llama_ui.llama_stack.discovery import Discovery
from llama_ui.llama_stack.error_replies import RequestContext, explain_event
from llama_ui.llama_stack.exception_map import connection_lost, map_exceptions, not_a_llama_stack
from llama_ui.llama_stack.models import Model, from_listed, same_model, unknown_model

CONNECT_TIMEOUT = 15.0
LOOKUP_TIMEOUT = 60.0  # the local stack may be slow on a busy machine
MAX_NAMES = 1000  # of models, that are remembered


class _VendorClient(AsyncLlamaStackClient):
    """The vendor's client without its version header, for which servers of another version answer 426."""

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        return {**super().default_headers, "X-LlamaStack-Client-Version": Omit()}


class LlamaStackClient:
    """The client of one server. All methods belong to one event loop and raise `ServerError`."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        http: httpx.AsyncClient | None = None,
        timeout: float = 300.0,
        visitors: int = 200,
    ) -> None:
        """`timeout` is the longest wait for the next chunk of a reply, in seconds; a large model may think for minutes.

        `visitors` is the number of concurrent replies. `http` replaces the connection pool, for tests.
        """
        self.base_url = base_url
        self._timeout = timeout
        connect = min(CONNECT_TIMEOUT, timeout)
        # Each visitor may have a reply and a lookup at once. No connection is used twice: llama-stack 0.7 closes one a
        # while after an error, 0.1 after an unknown route, and most servers after 5 idle seconds, so that the next
        # request on it would be lost. A new one costs 1 ms, 3 with TLS.
        limits = httpx.Limits(max_connections=2 * visitors + 10, max_keepalive_connections=0)
        self._lookup_timeout = httpx.Timeout(min(LOOKUP_TIMEOUT, timeout), connect=connect)
        self._vendor = _VendorClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=connect),
            max_retries=0,  # a chat request costs money and time: it is sent once
            http_client=http or httpx.AsyncClient(limits=limits, follow_redirects=True),
        )
        # Not through the constructor, which takes a key from the environment in place of None.
        self._vendor.api_key = api_key
        self.discovery = Discovery(base_url, self._get)
        self._names: dict[str, str] = {}  # the server's own names for models that visitors name differently

    async def models(self) -> list[Model]:
        """The models that the server lists, in its order."""
        match await self._get("/v1/models"):
            case {"data": list() as items}:
                return [model for item in items if (model := from_listed(item))]
        raise not_a_llama_stack(RequestContext(self.base_url))

    async def chat_models(self) -> list[str]:
        """The ids of the models that chat."""
        return list(dict.fromkeys(model.id for model in await self.models() if model.chats))

    async def stream(
        self, model: str, messages: Sequence[Message], options: SamplingOptions
    ) -> AsyncGenerator[Event, None]:
        """Sends a chat request and yields the events of the reply.

        A model that the server knows only under another name is requested again under that one. Closing this generator
        closes the request at once.
        """
        name = self._names.get(model, model)
        images = sum(len(message.images) for message in messages)
        while True:
            if name != model:
                yield Notice(f"This server's name for the model {as_code(model)} is {as_code(name)}.")
            yield RequestSent(name)
            request = RequestContext(self.base_url, name, self._timeout, self._vendor.api_key, images)
            try:
                dialect, stream = await self._open(request, messages, options)
                async with stream:
                    if missing := " and ".join(dialect.unsupported(options)):
                        route = as_code(dialect.route)
                        yield Notice(f"{missing} cannot be sent to this server: its route {route} has none.")
                    with map_exceptions(request):
                        ended = False
                        async for chunk in stream:
                            for event in _events(chunk, dialect, request):
                                request.has_content = True
                                ended = ended or isinstance(event, Finished)
                                yield event
                        # Where only the end of the connection ends the response, it may have been cut off.
                        if not (ended or {"transfer-encoding", "content-length"} & stream.response.headers.keys()):
                            raise connection_lost(request)
                return
            except errors.UnknownModel as error:
                if request.has_content:
                    raise
                name = await self._other_name(model, name, error)

    async def _open(
        self, request: RequestContext, messages: Sequence[Message], options: SamplingOptions
    ) -> tuple[Dialect, AsyncStream[object]]:
        """Sends the request in the server's dialect.

        Where the route is gone, another generation may have replaced the server: its dialect is then looked up.
        """
        dialect = await self.discovery.dialect()
        while True:
            try:
                with map_exceptions(request):
                    # Plain dicts: a chunk costs 16 µs, a typed one 88.
                    stream = await self._vendor.post(
                        dialect.route,
                        cast_to=object,
                        body=dialect.payload(request.model, messages, options),
                        stream=True,
                        stream_cls=AsyncStream[object],
                    )
                    request.has_response = True
                    if not stream.response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                        async with stream:
                            raise await _no_stream(stream.response, request)
                    return dialect, stream
            except errors.NotALlamaStack:
                previous, dialect = dialect, await self.discovery.dialect(refresh=True)
                if dialect == previous:
                    raise

    async def _other_name(self, model: str, name: str, error: errors.UnknownModel) -> str:
        """The server's own name for a model that it does not know as `name`; raises `UnknownModel` if there is none."""
        self._names.pop(model, None)
        try:
            listed = await self.chat_models()
        except errors.ServerError:
            raise error from error.__cause__
        other = same_model(model, listed)
        if other in (None, name):
            raise unknown_model(model, listed) from error.__cause__
        if len(self._names) >= MAX_NAMES:
            self._names.clear()
        self._names[model] = other
        return other

    async def _get(self, path: str) -> object:
        with map_exceptions(RequestContext(self.base_url, api_key=self._vendor.api_key)):
            return await self._vendor.get(path, cast_to=object, options={"timeout": self._lookup_timeout})

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._vendor.close()


def _events(chunk: object, dialect: Dialect, request: RequestContext) -> Iterable[Event]:
    """The events of a chunk; raises `ServerError` for an error in a form that the client library does not know."""
    if not isinstance(chunk, dict):
        return ()
    if "choices" not in chunk and "event" not in chunk and ("detail" in chunk or "message" in chunk):
        raise explain_event(chunk, "", request)
    return dialect.events(chunk)


async def _no_stream(response: httpx.Response, request: RequestContext) -> errors.ServerError:
    """The error for a response with status 200 that is no stream: it may still be one of the server's."""
    if "json" not in response.headers.get("content-type", ""):
        return not_a_llama_stack(request)
    await response.aread()
    body = response.json()
    error = body.get("error") if isinstance(body, dict) else None
    return explain_event(error, str(error), request) if error else not_a_llama_stack(request)
