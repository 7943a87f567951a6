"""What is mended in Gradio 6.31, where it has no setting for it."""

import asyncio
import logging
import os
import re
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import gradio as gr
from annotated_types import MaxLen
from fastapi import FastAPI
from gradio import http_server, processing_utils
from gradio.block_function import BlockFunction
from gradio.blocks import Block, BlocksConfig
from gradio.data_classes import PredictBody, SimplePredictBody
from gradio.exceptions import InvalidPathError
from gradio.queueing import Queue
from gradio.renderable import Renderable
from gradio.state_holder import SessionState
from gradio_client import utils as client_utils  # type: ignore[import-untyped] # it has no types
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.config import HTTP_PROTOCOLS, LOGGING_CONFIG
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llama_ui.core.logs import log_unexpected

log = logging.getLogger(__name__)

# Searched for twice in every step of a reply: where there is none, that is a search of the whole path.
if find_spec("matplotlib") is None:
    sys.modules["matplotlib"] = None  # type: ignore[assignment] # Python's own way to say that there is none
# How often events are summed up, with pandas, after every one of them by default. Nobody looks at the sums.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
# What the web server has to say is logged as all else is: by itself it would write lines of another form.
LOGGING_CONFIG["loggers"].clear()
# Seconds for a request's head, and on a connection that is kept until the next one.
HEAD_TIMEOUT = 20.0
# Seconds for which what is on its way to a page, or to a program, waits to be fetched.
UNFETCHED = 120.0
SHOWN_TAG = """'<span class="as-written">'+e.trimEnd().replace(/&/g,'&amp;').replace(/</g,'&lt;')+'</span>'"""


def mend(demo: gr.Blocks) -> None:
    """What can be set as soon as the page is put together."""
    demo.api_open = False  # no way around the queue: a reply that is asked for without it has no end
    _remember_configs(demo)
    _fill_in_arguments(demo)
    _tell_of_errors(demo)
    demo._queue.pending_messages_per_session = Mailboxes(demo._queue)  # type: ignore[assignment] # in its place


def _remember_configs(demo: gr.Blocks) -> None:
    """Made anew with every visitor's arrival, for each component: most of what an arrival costs.

    Gradio keeps them for links to a state of the page, which this app has none of.
    """
    for key, block in demo.default_config.blocks.items():
        _CONFIGS[block] = _config_for_block(key, [], block)


def _remembered_config(_id: int, rendered_ids: list[int], block: Block, renderable: Renderable | None = None) -> Any:
    if renderable or block not in _CONFIGS:
        return _config_for_block(_id, rendered_ids, block, renderable)
    config = _CONFIGS[block]
    return {**config, "props": dict(config["props"])}  # in which each visitor's values are written


def _keep_nothing(_state: SessionState, _key: int, _value: Any) -> None:
    """Gradio would keep whole conversations, of thousands of sessions, for the same links."""


SessionState._update_value_in_config = _keep_nothing  # type: ignore[assignment,method-assign] # in its place
_CONFIGS: WeakKeyDictionary[Block, dict[str, Any]] = WeakKeyDictionary()
_config_for_block = BlocksConfig.config_for_block
BlocksConfig.config_for_block = staticmethod(_remembered_config)  # type: ignore[method-assign] # in its place


def _fill_in_arguments(demo: gr.Blocks) -> None:
    """Lets a program leave out the last arguments of a function, instead of having to know every option there is.

    Gradio leaves room for what is not a program's to give, such as a session's state, only where none is left out.
    """
    check = demo.validate_inputs

    def fill_in(block_fn: BlockFunction, inputs: list[Any]) -> Any:
        if len(inputs) < len(block_fn.inputs):
            given = iter([*inputs])
            inputs[:] = [None if block.skip_api else next(given, None) for block in block_fn.inputs]
        return check(block_fn, inputs)

    demo.validate_inputs = fill_in  # type: ignore[method-assign] # it is given the list that is used afterwards


def _tell_of_errors(demo: gr.Blocks) -> None:
    """What goes wrong in Gradio itself becomes one sentence with an id in the page, and the rest in the log."""
    process = demo.process_api

    async def process_api(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except gr.Error:
            raise
        except (ValidationError, InvalidPathError) as error:  # which repeat what was sent
            log.warning("A request was refused: %s", type(error).__name__)
            raise gr.Error("The request cannot be read.", print_exception=False) from None
        except Exception:
            told = log_unexpected("answering a request", in_words=False)
            raise gr.Error(str(told), print_exception=False) from None

    demo.process_api = process_api  # type: ignore[method-assign] # in its place


class Mailboxes(dict[str, Any]):
    """What is on its way to each session, which is forgotten when nobody has come to fetch it for a while.

    Gradio has 2,000 of them, each for good: as many made-up sessions would push out those of all others. Whether there
    is one it asks (`in`) when an event is added, and every 10 s while somebody fetches.
    """

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._queue = queue
        self._asked: dict[str, float] = {}
        self._forgetting = set[asyncio.Task[None]]()

    def __contains__(self, session: object) -> bool:
        known = super().__contains__(session)
        if known:
            self._asked[str(session)] = time.monotonic()
        return known

    def __setitem__(self, session: str, box: Any) -> None:
        super().__setitem__(session, box)
        self._asked[session] = time.monotonic()
        self._look_in(UNFETCHED, session, box)

    def __missing__(self, session: str) -> Any:
        return asyncio.Queue()  # for what is still on its way to a session that is forgotten, or has no name

    def __delitem__(self, session: str) -> None:
        self.pop(session, None)
        self._asked.pop(session, None)

    def _look_in(self, seconds: float, session: str, box: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look, session, box)

    def _look(self, session: str, box: Any) -> None:
        if self.get(session) is not box:
            return
        left = self._asked[session] + UNFETCHED - time.monotonic()
        if left > 0:
            self._look_in(left, session, box)
            return
        task = asyncio.get_running_loop().create_task(self._forget(session))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, session: str) -> None:
        await self._queue.clean_events(session_hash=session)  # as when a page is closed: its replies end
        del self[session]
        self._queue.pending_event_ids_session.pop(session, None)


def expect_slow_clients() -> None:
    """A request whose head does not come is not waited for: uvicorn would, and each takes a file."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:ImpatientProtocol"


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection on which a request's head takes too long."""

    _head: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By default 5: when the app is busy for so long, what was sent by then would be lost.
        self.timeout_keep_alive = int(HEAD_TIMEOUT)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._forget_head()
        self._head = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _forget_head(self) -> None:
        if self._head:
            self._head.cancel()


async def _fetch_nothing(url: str) -> NoReturn:
    """Gradio would fetch what a program names by its address in the place of a file."""
    raise gr.Error("Files are sent, not named by an address.")


processing_utils.async_ssrf_protected_get = _fetch_nothing


def _arguments(*given: Any) -> Any:
    """For a wrong parameter of a program's Gradio would answer that something went wrong."""
    try:
        return _construct_args(*given)
    except TypeError as error:
        raise HTTPException(422, str(error).partition(" Please click")[0]) from None


_construct_args = client_utils.construct_args
client_utils.construct_args = _arguments

# On a Space Gradio would watch for changes of the code, in a thread that fails without a package of Hugging Face's.
http_server.get_space = lambda: None  # type: ignore[attr-defined] # in its place


# What is changed in the page's scripts: in which, where, how, and what is not as it should be where that is not found.
#
# Gradio shows a tag that HTML does not know, follows one that it allows, and drops any other, at times with all the
# text behind it: `Array<Object>`. Its Markdown renderer has a place for what is to be done with a tag, left empty.
EDITS = [
    (
        "markdown-code-*.js",
        re.compile(r"(?<==\{)(?=code\(e,t,n\)\{)"),
        f"html(e){{return {SHOWN_TAG}}},",
        "tags in messages may not be shown",
    ),
    ("markdown-code-*.js", re.compile("(?<=noopener noreferrer)"), " nofollow", "links in messages can be followed"),
    ("browser-*.js", re.compile("(?<=noopener noreferrer)"), " nofollow", "links in messages can be followed"),
]


# A session's name is kept as long as the session, at times in several places; the page's has a dozen characters.
for body in (SimplePredictBody, PredictBody):
    body.model_fields["session_hash"].metadata.append(MaxLen(64))
    body.model_rebuild(force=True)


def after_launch(demo: gr.Blocks, app: FastAPI) -> None:
    """What can be set only when the app listens."""
    demo.limiter = None  # which `max_threads` set, too: as few threads as Gradio has by default suffice
    for name, code in _edited_scripts().items():
        app.router.routes.insert(0, Route(f"/assets/{name}", partial(_script, code)))
    if demo.share:
        # The link is there by now. With this the page would be put together from files of another server.
        demo.share = False
        app.router.routes.insert(0, Route("/robots.txt", lambda _: PlainTextResponse("User-agent: *\nDisallow: /")))


def _edited_scripts() -> dict[str, str]:
    """Name and code of each script of the page that is served otherwise than Gradio has it."""
    scripts: dict[str, str] = {}
    for pattern, place, text, without in EDITS:
        (file,) = Path(gr.__file__).parent.glob(f"templates/frontend/assets/{pattern}")
        code = scripts.get(file.name) or file.read_text(encoding="utf-8")
        scripts[file.name], found = place.subn(text, code)
        if found != 1:
            log.warning("This version of Gradio has other scripts: %s.", without)
    return scripts


def _script(code: str, _: Request) -> Response:
    return Response(code, media_type="text/javascript")
