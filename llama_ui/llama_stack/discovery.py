"""What kind of server is at an address: its version and its dialect."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llama_ui.core import errors
from llama_ui.llama_stack.dialects import CHAT_COMPLETIONS, Dialect, choose


@dataclass(frozen=True)
class ServerIdentity:
    """A server's version and dialect."""

    version: str | None  # None for a plain OpenAI-compatible engine, which has none
    dialect: Dialect

    @property
    def name(self) -> str:
        """For example "OGX 1.5.0", or "Llama Stack 0.7.3" before the project was renamed in 0.8."""
        if self.version is None:
            return "OpenAI-compatible server"
        numbers = re.match(r"(\d+)\.(\d+)", self.version)
        renamed = numbers is not None and (int(numbers[1]), int(numbers[2])) >= (0, 8)
        return f"{'OGX' if renamed else 'Llama Stack'} {self.version}"


class Discovery:
    """Looks up the identity of one server. All methods raise `ServerError` where it cannot be reached.

    Never by a trial POST: llama-stack 0.1 breaks the connection of one to an unknown route.
    """

    def __init__(self, base_url: str, get: Callable[[str], Awaitable[object]]) -> None:
        """`get` returns the JSON at a path, or raises `ServerError`."""
        self._base_url = base_url
        self._get = get
        self._lookup: asyncio.Task[Dialect] | None = None
        self._identity: ServerIdentity | None = None

    async def dialect(self, *, refresh: bool = False) -> Dialect:
        """The server's dialect, looked up by the first caller for all of them, and again with `refresh`."""
        if refresh or self._lookup is None or (self._lookup.done() and self._lookup.exception()):
            self._lookup = asyncio.create_task(self._look_up())
            # Retrieves the exception, for which no caller may be left.
            self._lookup.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._lookup)

    async def identity(self, *, or_last: bool = False) -> ServerIdentity:
        """What the server is now; with `or_last`, what it was last where it cannot be reached."""
        try:
            version, dialect = await asyncio.gather(self._version(), self.dialect(refresh=True))
            self._identity = ServerIdentity(version, dialect)
        except errors.ServerError:
            if not (or_last and self._identity):
                raise
        return self._identity

    async def _look_up(self) -> Dialect:
        match await self._get_or_none("/v1/inspect/routes"):
            case {"data": list() as routes}:
                if dialect := choose([str(route.get("route")) for route in routes if isinstance(route, dict)]):
                    return dialect
                sentence = f"The Llama Stack at {self._base_url} has no chat route."
                raise errors.NotALlamaStack(sentence, "Add the inference API to its configuration.")
        return CHAT_COMPLETIONS  # a plain engine, or a gateway that rejects what it does not know

    async def _version(self) -> str | None:
        match await self._get_or_none("/v1/version"):
            case {"version": str(version)} if re.fullmatch(r"[\w.+-]{1,40}", version):
                return version
        return None

    async def _get_or_none(self, path: str) -> object:
        try:
            return await self._get(path)
        except (errors.Unreachable, errors.Moved, errors.ConnectionLost, errors.TimedOut):
            raise
        except errors.ServerError:
            return None
