"""Simulated visitors: they send what the page of each chat UI sends, without the cost of a browser.

After `open`, `send` calls `on_update` with the length of the reply whenever more of it arrives, and returns at its
end. `stop` and `leave` end the reply early.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import orjson

type OnUpdate = Callable[[int], None]
MODEL = "bench"


class Visitor(Protocol):
    """A simulated visitor. `leave` drops the connection, as closing the tab does."""

    async def open(self) -> None: ...
    async def send(self, text: str, on_update: OnUpdate) -> None: ...
    async def stop(self) -> None: ...
    async def leave(self) -> None: ...


class Direct:
    """Reads the stream of the scripted server itself: the best possible result."""

    def __init__(self, http: aiohttp.ClientSession, url: str, history: list[dict[str, str]] | None = None) -> None:
        self._http = http
        self._url = url
        self._history = history or []
        self._response: aiohttp.ClientResponse | None = None

    async def open(self) -> None:
        pass

    async def send(self, text: str, on_update: OnUpdate) -> None:
        body = {"model": MODEL, "messages": [*self._history, {"role": "user", "content": text}], "stream": True}
        length = 0
        async with self._http.post(f"{self._url}/v1/chat/completions", json=body) as self._response:
            async for message in _messages(self._response):
                for choice in message["choices"]:
                    if word := choice["delta"].get("content"):
                        length += len(word)
                        on_update(length)

    async def stop(self) -> None:
        await self.leave()

    async def leave(self) -> None:
        if self._response:
            self._response.close()


class GradioPage:
    """Sends each request of a `gr.ChatInterface` page, in the page's order.

    It reads the page's events from `/config` and follows the chains that they trigger. It doesn't run JavaScript: an
    event without a request adds the message to the conversation, or changes nothing.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._session = uuid.uuid4().hex[:11]
        self._values: dict[int, Any] = {}
        self._dependencies: list[dict[str, Any]] = []
        self._arrived: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._stream: asyncio.Task[None] | None = None
        self._replying: tuple[int, str] | None = None

    async def open(self) -> None:
        async with self._http.get(f"{self._url}/config") as response:
            config = orjson.loads(await response.read())
        self._dependencies = config["dependencies"]
        self._values = {item["id"]: item["props"].get("value") for item in config["components"]}
        self._chatbot = next(item["id"] for item in config["components"] if item["type"] == "chatbot")
        self._multimodal = any(item["type"] == "multimodaltextbox" for item in config["components"])
        for dependency in self._dependencies:
            if dependency["backend_fn"] and "load" in [target[1] for target in dependency["targets"]]:
                await self._run(dependency, _ignore)

    async def send(self, text: str, on_update: OnUpdate) -> None:
        submit = next(dep for dep in self._dependencies if [target[1] for target in dep["targets"]] == ["submit"])
        self._text = text
        self._values[submit["inputs"][0]] = {"text": text, "files": []} if self._multimodal else text
        await self._follow(submit, on_update)

    async def remember(self, history: list[dict[str, Any]]) -> None:
        """Fill the conversation with these messages."""
        self._values[self._chatbot] = history
        # Events after an undo copy the conversation from the page to the stored one.
        undo = next(dep for dep in self._dependencies if [target[1] for target in dep["targets"]] == ["undo"])
        for store in [dep for dep in self._dependencies if dep["trigger_after"] == undo["id"]]:
            await self._run(store, _ignore)

    async def stop(self) -> None:
        assert self._replying
        function, event = self._replying
        body = {"session_hash": self._session, "fn_index": function, "event_id": event}
        async with self._http.post(f"{self._url}/gradio_api/cancel", json=body):
            pass

    async def leave(self) -> None:
        if self._stream:
            self._stream.cancel()

    async def _follow(self, dependency: dict[str, Any], on_update: OnUpdate) -> None:
        """Run an event, and then, at the same time, those that it triggers. Returns at the end of the reply."""
        if dependency["backend_fn"]:
            await self._run(dependency, on_update)
        elif self._chatbot in dependency["outputs"]:
            message = {
                "role": "user",
                "metadata": None,
                "content": [{"type": "text", "text": self._text}],
                "options": None,
            }
            self._values[self._chatbot] = [*(self._values[self._chatbot] or []), message]
        if self._chatbot in dependency["outputs"] and dependency["types"]["generator"]:
            return
        after = [dep for dep in self._dependencies if dep["trigger_after"] == dependency["id"]]
        await asyncio.gather(*(self._follow(dep, on_update) for dep in after if not dep["trigger_only_on_failure"]))

    async def _run(self, dependency: dict[str, Any], on_update: OnUpdate) -> None:
        body = {
            "data": [self._values.get(number) for number in dependency["inputs"]],
            "fn_index": dependency["id"],
            "session_hash": self._session,
            "event_data": None,
            "trigger_id": (dependency["targets"] or [[None]])[0][0],
        }
        if dependency["queue"] is False:
            answer = await self._post("run/predict", body)
            self._store(dependency, answer["data"])
            return
        event = (await self._post("queue/join", body))["event_id"]
        arrived = self._arrived.setdefault(event, asyncio.Queue())
        if dependency["types"]["generator"]:
            self._replying = dependency["id"], event
        if self._stream is None or self._stream.done():
            self._stream = asyncio.create_task(self._listen())
        outputs: list[Any] = []
        while True:
            message = await arrived.get()
            match message["msg"]:
                case "process_generating":
                    data = message["output"]["data"]
                    outputs = [_patch(*pair) for pair in zip(outputs, data, strict=True)] if outputs else data
                    self._see(dependency, outputs, on_update)
                case "process_completed":
                    if not message["success"]:
                        raise RuntimeError(f"failed: {message['output']}")
                    outputs = message["output"].get("data") or outputs
                    self._see(dependency, outputs, on_update)
                    self._store(dependency, outputs)
                    return

    async def _post(self, route: str, body: dict[str, Any]) -> Any:
        async with self._http.post(f"{self._url}/gradio_api/{route}", data=orjson.dumps(body), headers=JSON) as answer:
            answer.raise_for_status()
            return orjson.loads(await answer.read())

    async def _listen(self) -> None:
        """Read the page's stream of messages, which the server closes when no event is pending."""
        url = f"{self._url}/gradio_api/queue/data?session_hash={self._session}"
        async with self._http.get(url) as response:
            async for message in _messages(response):
                if event := message.get("event_id"):
                    self._arrived.setdefault(event, asyncio.Queue()).put_nowait(message)
                elif message["msg"] == "close_stream":
                    return

    def _see(self, dependency: dict[str, Any], outputs: list[Any], on_update: OnUpdate) -> None:
        if dependency["types"]["generator"] and self._chatbot in dependency["outputs"] and outputs:
            last = outputs[dependency["outputs"].index(self._chatbot)][-1]
            if last["role"] == "assistant" and (last.get("metadata") or {}).get("id") != "waiting":
                content = last["content"]
                on_update(sum(len(part["text"]) for part in content) if isinstance(content, list) else len(content))

    def _store(self, dependency: dict[str, Any], data: list[Any]) -> None:
        for number, value in zip(dependency["outputs"], data, strict=False):
            if not isinstance(value, dict) or value.get("__type__") != "update":
                self._values[number] = value
            elif "value" in value:
                self._values[number] = value["value"]


JSON = {"Content-Type": "application/json"}


def _ignore(_: int) -> None:
    pass


async def _messages(response: aiohttp.ClientResponse) -> Any:
    """The data of server-sent events."""
    response.raise_for_status()
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield orjson.loads(line[6:])


def _patch(value: Any, changes: list[list[Any]]) -> Any:
    """Apply the changes of an output since the last one, as Gradio's page does."""
    for action, path, new in changes:
        if not path:
            value = value + new if action == "append" else new
            continue
        place = value
        for step in path[:-1]:
            place = place[step]
        match action:
            case "append":
                place[path[-1]] += new
            case "add" if isinstance(place, list):
                place.insert(path[-1], new)
            case "delete":
                del place[path[-1]]
            case _:
                place[path[-1]] = new
    return value
