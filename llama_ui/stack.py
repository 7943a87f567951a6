"""The Llama Stack server. The only file that imports the vendor's client, which takes 0.8 s: import it late."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import httpx
from llama_stack_client import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncLlamaStackClient,
    AsyncStream,
    DefaultAsyncHttpxClient,
)
from llama_stack_client._types import Omit

from llama_ui import errors
from llama_ui.dialects import CHAT_COMPLETIONS
from llama_ui.events import Event
from llama_ui.messages import Message, Options

# The longest wait for the next byte of a reply, in seconds. A large model on a small machine thinks for minutes.
READ_TIMEOUT = 300.0
CONNECT_TIMEOUT = 5.0
LOOKUP_TIMEOUT = 10.0
# The client's default of 100 makes visitors wait for each other.
CONNECTIONS = 1000


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the server lists it. `kind` is "llm", "embedding", ...; None where the server does not say."""

    id: str
    kind: str | None

    @property
    def chats(self) -> bool:
        return self.kind in (None, "llm")


class _Client(AsyncLlamaStackClient):
    """The vendor's client, without the header by which a server of another version turns it away (426)."""

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        return {**super().default_headers, "X-LlamaStack-Client-Version": Omit()}


class LlamaStack:
    """One server. All methods belong to one event loop; each raises `errors.ServerError`."""

    def __init__(self, base_url: str, api_key: str | None = None, http: httpx.AsyncClient | None = None) -> None:
        """`http` replaces the connection pool, for tests."""
        self.base_url = base_url
        self._client = _Client(
            base_url=base_url,
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            # A chat request costs money and time: it is sent once.
            max_retries=0,
            http_client=http or DefaultAsyncHttpxClient(limits=httpx.Limits(max_connections=CONNECTIONS)),
        )
        # Not through the constructor: given None it would take a key from the environment by itself.
        self._client.api_key = api_key

    async def models(self) -> list[Model]:
        """The models that the server lists, in its order."""
        answer = await self._get("/v1/models")
        listed = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise self._no_llama_stack()
        return [model for item in listed if (model := _model(item))]

    async def version(self) -> str | None:
        """The server's version; None where it does not say, as with a plain OpenAI-compatible engine."""
        try:
            answer = await self._get("/v1/version")
        except errors.NoSuchPath:
            return None
        version = answer.get("version") if isinstance(answer, dict) else None
        return version if isinstance(version, str) else None

    async def _get(self, path: str) -> object:
        with self._explained(""):
            return await self._client.get(path, cast_to=object, options={"timeout": LOOKUP_TIMEOUT})

    async def stream(self, model: str, messages: Sequence[Message], options: Options) -> AsyncGenerator[Event, None]:
        """One reply as it is generated. Closing this generator closes the request to the server at once."""
        dialect = CHAT_COMPLETIONS
        with self._explained(model):
            # As plain dicts a chunk costs 16 us instead of the 88 us of the typed form.
            stream = await self._client.post(
                dialect.route,
                cast_to=object,
                body=dialect.payload(model, messages, options),
                stream=True,
                stream_cls=AsyncStream[object],
            )
            async with stream:
                if not stream.response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self._no_llama_stack()
                async for chunk in stream:
                    if isinstance(chunk, dict):
                        for event in dialect.events(chunk):
                            yield event

    async def aclose(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @contextmanager
    def _explained(self, model: str) -> Iterator[None]:
        """Turns what the client library raises into a `ServerError`; the original stays as its cause."""
        try:
            yield
        except APITimeoutError as error:
            raise errors.TimedOut(
                f"The server at {self.base_url} took too long to answer.", "Try again, or look at its log."
            ) from error
        except APIConnectionError as error:
            raise errors.from_transport(error.__cause__, self.base_url) from error
        except APIStatusError as error:
            raise errors.from_status(error.status_code, _detail(error), model, self.base_url) from error
        except APIError as error:
            raise errors.Refused(
                f"The server broke off with an error: {errors.quoted(error.message)}.", "Try again."
            ) from error
        except httpx.HTTPError as error:
            raise errors.from_transport(error, self.base_url) from error
        except ValueError as error:
            raise self._no_llama_stack() from error

    def _no_llama_stack(self) -> errors.ServerError:
        return errors.NoSuchPath(
            f"What answers at {self.base_url} does not speak Llama Stack.", "Check the address; leave /v1 off its end."
        )


def _model(listed: object) -> Model | None:
    """Old servers list `identifier` and `model_type`; new ones `id`, and the kind inside `custom_metadata`."""
    if not isinstance(listed, dict):
        return None
    model_id = listed.get("identifier") or listed.get("id")
    metadata = listed.get("custom_metadata")
    kind = listed.get("model_type") or (metadata.get("model_type") if isinstance(metadata, dict) else None)
    return Model(model_id, kind if isinstance(kind, str) else None) if isinstance(model_id, str) else None


def _detail(error: APIStatusError) -> str:
    """The server's own sentence, out of `{"error": {"message"}}`, `{"detail"}` or whatever it sent."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error") or body.get("detail") or body.get("message")
        body = inner.get("message") if isinstance(inner, dict) else inner
    return body if isinstance(body, str) else error.message
