"""Workarounds for Gradio 6.31, each with the reason it is needed and what would make it unnecessary."""

import asyncio
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import gradio as gr
from annotated_types import MaxLen
from gradio import data_classes, processing_utils, routes, state_holder
from gradio.exceptions import InvalidPathError
from gradio.state_holder import SessionState
from gradio.utils import LRUCache
from jinja2 import ChoiceLoader, DictLoader, FileSystemLoader
from pydantic import ValidationError

from llama_ui.core.logs import log_unexpected

log = logging.getLogger(__name__)
TEMPLATES, PAGE = Path(gr.__file__).parent / "templates", "frontend/index.html"
IDENTITY = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*|<link rel="manifest"[^>]*>\s*')


def apply(demo: gr.Blocks, head: str) -> None:
    """Apply the workarounds. Call it after `demo.queue()`, before Gradio is mounted. `head`: HTML from `identity`."""
    # Gradio keeps a session's hash, which the caller chooses, as long as the session. Until models limit its length.
    for body in (data_classes.SimplePredictBody, data_classes.PredictBody):
        body.model_fields["session_hash"].metadata = [MaxLen(64)]
        body.model_rebuild(force=True)
    # Gradio fetches a URL that a caller names in place of a file; the page uploads files. Until that can be disabled.
    processing_utils.async_ssrf_protected_get = _refuse_to_fetch
    # Twice in each step of a reply, Gradio searches for matplotlib: 6 % of all work. Until it searches once.
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type] # Python's way to say that there is none
    # A hundred times a second, Gradio looks for progress bars in all of its slots, 10 for each visitor: 2 % of all work
    # at 600 of them. The app has none. And it looks for messages every millisecond, which is 3 %. Until it is told.
    demo._queue.progress_update_sleep_when_free, demo._queue.sleep_when_free = 60.0, 0.002
    state_holder.SessionState = Session  # type: ignore[misc] # same interface
    demo._queue.pending_messages_per_session = Mailboxes(2 * demo._queue.max_thread_count)
    _explain_errors(demo)
    _replace_identity(head)


class Session(SessionState):
    """A session without what Gradio computes, in 10 ms, and keeps for deep links: configuration, and last values.

    Tried: `state_session_capacity`, which limits how many sessions are kept. Until keeping can be disabled.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))  # type: ignore[arg-type] # all it reads

    def _update_value_in_config(self, key: int, value: Any) -> None: ...


async def _refuse_to_fetch(url: str) -> NoReturn:
    raise gr.Error("Upload the file; this app fetches no addresses.", print_exception=False)


def _explain_errors(demo: gr.Blocks) -> None:
    """Show an error of Gradio's own as one sentence, with an ID that the log explains.

    Tried: `show_error`, which shows the exception's text or nothing. Until Gradio has a handler for exceptions.
    """
    process = demo.process_api

    async def process_api(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except gr.Error:
            raise
        except (ValidationError, InvalidPathError) as refusal:  # its text repeats the input
            log.warning("A request was refused: %s", type(refusal).__name__)
            raise gr.Error("The request cannot be read.", print_exception=False) from None
        except Exception:
            error = log_unexpected("answering a request", with_message=False)
            raise gr.Error(str(error), print_exception=False) from None

    demo.process_api = process_api  # type: ignore[method-assign] # same arguments


def _replace_identity(head: str) -> None:
    """Put this HTML into the page's head, in place of Gradio's tags for previews of links and for installing.

    Gradio's template has `og:title` "Gradio", `og:url` "{url}" and a manifest at the root of the host, below which
    there may be other sites. Tried: `head`, which the browser adds, and those who show previews run no scripts;
    `Blocks(title=…)`, which fills only the second `og:title`; `favicon_path` and `pwa`, whose manifest has no path.
    Until these tags are parameters.
    """
    page = (TEMPLATES / PAGE).read_text(encoding="utf-8")
    if not (first := IDENTITY.search(page)):
        log.warning("This version of Gradio has another page: previews of links may not show this app.")
        return
    page = page[: first.start()] + head + IDENTITY.sub("", page[first.start() :])
    routes.templates.env.loader = ChoiceLoader([DictLoader({PAGE: page}), FileSystemLoader(TEMPLATES)])


class Mailboxes(LRUCache[str, Any]):
    """The messages on their way to each session, of which one in use is never the oldest.

    Gradio's cache evicts the oldest of 2,000 sessions, even while it reads a reply, and sending to it then stops the
    queue for everybody (gradio/queueing.py, `Queue.send_message`). Until that cache spares sessions in use.
    """

    def __contains__(self, session: object) -> bool:  # called with each message that a session reads
        if known := super().__contains__(session):
            self.move_to_end(str(session))
        return known

    def __missing__(self, session: str) -> Any:
        return asyncio.Queue()  # for a session that was evicted or has no hash: nobody reads it

    def __delitem__(self, session: str) -> None:
        self.pop(session, None)
