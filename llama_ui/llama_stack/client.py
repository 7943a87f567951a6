"""The client of one Llama Stack server. Imported late, since the vendor's client takes 0.8 s."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

import httpx
from llama_stack_client import AsyncLlamaStackClient, AsyncStream
from llama_stack_client._types import Omit

from llama_ui.core import errors
from llama_ui.core.events import Event, Finished, Notice, RequestSent, Sample
from llama_ui.core.messages import Message, SamplingOptions
from llama_ui.core.text import as_code
from llama_ui.llama_stack.credentials import Credentials
from llama_ui.llama_stack.dialects import Dialect, Payload
from llama_ui.llama_stack.discovery import Discovery
from llama_ui.llama_stack.error_replies import RequestContext
from llama_ui.llama_stack.exception_map import map_exceptions, not_a_llama_stack
from llama_ui.llama_stack.models import Model, from_listed, same_model, unknown_model
from llama_ui.llama_stack.reader import ReplyReader
from llama_ui.transport.environment import find_proxy
from llama_ui.transport.http import http_client

CONNECT_TIMEOUT = 15.0
LOOKUP_TIMEOUT = 60.0  # a server may ask each of its providers, and the local stack may be slow on a busy machine
MAX_NAMES = 1000  # of models, that are remembered

_FOR_SOME_ENGINES = ("stream_options", "continue_final_message", "add_generation_prompt")  # others do without
Refusals = dict[str, str | None]  # fields that an engine refuses, and the names that it asks for, if any


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
        environ: Mapping[str, str] | None = None,
        provider_data: Mapping[str, object] | None = None,
    ) -> None:
        """Connects to nothing yet; raises `Misconfigured` if a variable in `environ` that it needs cannot be used.

        `timeout` is the longest wait for the next chunk of a reply, in seconds; a large model may think for minutes.
        `visitors` is the number of concurrent replies, each with a lookup at once. `environ` has the variables that
        name proxies and certificates. `http` replaces the connection pool, for tests.
        """
        url = httpx.URL(base_url)
        self.base_url = str(url.copy_with(username=None, password=None)).rstrip("/")
        credentials, proxy = Credentials(url, api_key, provider_data), find_proxy(url, environ or {})
        self.has_key = bool(credentials.headers())
        self._context = RequestContext(
            self.base_url,
            has_key=self.has_key,
            has_password=bool(url.userinfo),
            has_provider_data=bool(provider_data),
            secrets=credentials.secrets(),
            proxy=str(proxy or ""),
            proxy_answers=proxy is not None and proxy.url.startswith("http") and url.scheme == "http",
        )
        self._timeout, self._connect_timeout = timeout, min(CONNECT_TIMEOUT, timeout)
        self._vendor = _VendorClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout, connect=self._connect_timeout),
            max_retries=0,  # a chat request costs money and time: it is sent once
            http_client=http or http_client(url, proxy, environ or {}, connections=2 * visitors + 10),
            default_headers=credentials.headers(),
        )
        self._vendor.api_key = None  # it takes one from the environment
        self.discovery = Discovery(self.base_url, self._get)
        self._names: dict[str, str] = {}  # the server's own names for models that visitors name differently
        self._refused: dict[str, Refusals] = {}  # of the engine behind each model

    async def models(self) -> list[Model]:
        """The models that the server lists, in its order; none where it has no list."""
        try:
            listed = await self._get("/v1/models")
        except errors.ServerError as error:
            if getattr(error.__cause__, "status_code", None) not in (400, 404, 405, 410, 501):
                raise
            if not await self._has_route((await self.discovery.dialect()).route):
                raise
            return []
        with suppress(ValueError):  # JSON under another content type
            listed = json.loads(listed) if isinstance(listed, str) else listed
        if isinstance(listed, dict) and ({"data", "models"} & listed.keys() or listed.get("object") == "list"):
            listed = listed.get("data") or listed.get("models") or []
        if not isinstance(listed, list):
            raise not_a_llama_stack(self._context)
        return [model for item in listed if (model := from_listed(item))]

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
        name, seen = self._names.get(model, model), model
        refused, lasting = Refusals(), Refusals()  # those for this conversation, and those for any
        images = sum(len(message.images) for message in messages)
        several = (options.n or 1) > 1
        context = replace(self._context, timeout=self._timeout, images=images, has_system=messages[0].role == "system")
        while True:
            if name != seen:
                yield Notice(f"This server's name for the model {as_code(model)} is {as_code(name)}.")
            seen = name
            if several and await self._takes_one(name):
                raise errors.FieldRefused("The server sends one reply to a request.", "Ask for one.", "n", None)
            yield RequestSent(name)
            request = replace(context, model=name)
            try:
                left_out = self._refused.get(name, {}) | lasting | refused
                dialect, response = await self._open(request, messages, options, left_out)
                async with aclosing(response):
                    if missing := " and ".join(dialect.unsupported(options)):
                        route = as_code(dialect.route)
                        yield Notice(f"{missing} cannot be sent to this server: its route {route} has none.")
                    with map_exceptions(request):
                        async for event in ReplyReader(response, dialect, request).events():
                            several = several and not isinstance(event, Sample)
                            if lasting and not isinstance(event, Finished):
                                self._remember_refusals(name, lasting)
                            yield event
                if several:  # the server took no notice of it
                    self._remember_refusals(name, {"n": None})
                return
            except errors.UnknownModel as error:
                if request.has_content:
                    raise
                name = await self._other_name(model, name, error)
            except (errors.FieldRefused, errors.TooLong) as error:
                field, instead = getattr(error, "field", "max_tokens"), getattr(error, "instead", None)
                if field == "n":
                    self._remember_refusals(name, {"n": None})
                if request.has_content or field in refused | lasting or not _can_go(field, instead, options):
                    raise
                (lasting if isinstance(error, errors.FieldRefused) else refused)[field] = instead

    async def _takes_one(self, name: str) -> bool:
        """Whether the server, or the engine behind this model, is known to send one reply to a request."""
        return "n" in self._refused.get(name, {}) or "n" in (await self.discovery.dialect()).lacks

    def _remember_refusals(self, name: str, refusals: Refusals) -> None:
        _remember(self._refused, name, self._refused.get(name, {}) | refusals)

    async def _open(
        self,
        request: RequestContext,
        messages: Sequence[Message],
        options: SamplingOptions,
        refused: Refusals,
    ) -> tuple[Dialect, httpx.Response]:
        """Sends the request in the server's dialect, without the fields that the engine refuses.

        Such a field is left out, if nobody has asked for it, or gets the name that the engine asks for. Where the route
        is gone, another generation may have replaced the server: its dialect is then looked up.
        """
        dialect = await self.discovery.dialect()
        while True:
            body = _without(refused, dialect.payload(request.model, messages, options), options)
            try:
                return dialect, await self._post(dialect.route, body, request)
            except errors.NotALlamaStack:
                previous, dialect = dialect, await self.discovery.dialect(refresh=True)
                if dialect == previous:
                    raise

    async def _post(self, route: str, body: Payload, request: RequestContext) -> httpx.Response:
        with map_exceptions(request):
            # A proxy that never answers keeps to none of httpx's timeouts.
            async with asyncio.timeout(self._timeout):
                stream = await self._vendor.post(
                    route,
                    cast_to=object,
                    body=body,
                    # A proxy that compresses would hold the stream back. `ReplyReader` limits the time of each read.
                    options={
                        "headers": {"Accept-Encoding": "identity"},
                        "timeout": httpx.Timeout(None, connect=self._connect_timeout),
                    },
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
        request.has_response = True
        return stream.response

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
        _remember(self._names, model, other)
        return other

    async def _has_route(self, route: str) -> bool:
        """Whether a route exists: one for POST alone answers GET with 405."""
        try:
            await self._get(route)
        except errors.ServerError as error:
            return getattr(error.__cause__, "status_code", 404) != 404
        return True

    async def _get(self, path: str) -> object:
        """The JSON at a path."""
        longest = min(LOOKUP_TIMEOUT, self._timeout)
        timeout = httpx.Timeout(longest, connect=self._connect_timeout)
        with map_exceptions(self._context):
            async with asyncio.timeout(longest):
                return await self._vendor.get(path, cast_to=object, options={"timeout": timeout})

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._vendor.close()


def _without(refused: Refusals, fields: Payload, options: SamplingOptions) -> Payload:
    """The fields, and those of the legacy route's `sampling_params`, as an engine takes them that refuses some."""
    body: Payload = {}
    for name, value in fields.items():
        if name in refused and _can_go(name, refused[name], options):
            body = ({instead: _in_place_of(name, value)} if (instead := refused[name]) else {}) | body
        elif name == "sampling_params" and isinstance(value, dict):
            body[name] = _without(refused, value, options)
        else:
            body[name] = value
    return body


def _can_go(field: str, instead: str | None, options: SamplingOptions) -> bool:
    """Whether a field that is refused can be left out, or be sent under another name."""
    if field == "chat_template_kwargs":  # which may also be an extra field
        return options.thinking is not None
    return bool(instead) or field in _FOR_SOME_ENGINES or options.app_limit


def _in_place_of(name: str, value: object) -> object:
    """The value of a field under another name: the thinking, which is on or off, as a reasoning effort."""
    if name == "chat_template_kwargs":
        return "medium" if isinstance(value, dict) and value.get("enable_thinking") else "none"
    return value


def _remember[T](memory: dict[str, T], model: str, value: T) -> None:
    """Remembers something about a model; visitors may name any number of them."""
    if len(memory) >= MAX_NAMES:
        memory.clear()
    memory[model] = value
