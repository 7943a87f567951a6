"""What is logged: each turn as one line, and what goes wrong. Nothing of what is said, unless that is asked for."""

import logging
import sys
import traceback
import uuid
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from llama_ui.core.errors import InternalError

log = logging.getLogger(__name__)
ORDER = ("ts", "event", "id")
PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Of what was called when something went wrong, the last so many: Gradio's and its web server's own are sixty.
CALLS = 6
_JSON = structlog.processors.JSONRenderer(ensure_ascii=False)
_STAMP = structlog.processors.TimeStamper(fmt="iso", key="ts")
_FORMATS: Mapping[str, Processor] = {
    "json": _JSON,
    "logfmt": structlog.processors.LogfmtRenderer(key_order=ORDER, bool_as_flag=False),
}


def configure(log_format: str) -> None:
    """What libraries and the app log is for people to read; where turns are JSON, it is JSON, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(PLAIN))
    if log_format == "json":
        known: list[Processor] = [structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level, _STAMP]
        told: list[Processor] = [ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, _JSON]
        handler.setFormatter(ProcessorFormatter(foreign_pre_chain=known, processors=told))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


class _Lines(logging.Formatter):
    """What belongs to a record's first line is indented, so that no text in it can make up a record, or a turn."""

    def format(self, record: logging.LogRecord) -> str:
        return _printable(super().format(record)).replace("\n", "\n    ")

    def formatException(self, ei: Any) -> str:
        return "".join(traceback.format_exception(*ei, limit=-CALLS)).rstrip()


def log_turn(log_format: str, fields: Mapping[str, Any]) -> None:
    """One line on stderr. What is None is left out; a text has nothing in it that a terminal obeys."""
    known = {name: _shown(value) for name, value in fields.items() if value is not None}
    line = _FORMATS[log_format](None, "", _STAMP(None, "", {"event": "turn", **known}))
    print(_printable(str(line)), file=sys.stderr, flush=True)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return _printable(value)
    return round(value, 3) if isinstance(value, float) else value


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def log_unexpected(doing: str, reference: str | None = None, *, in_words: bool = True) -> InternalError:
    """What to tell of the exception that is being handled: nothing but an id, under which the log has the rest.

    Without what the exception says unless `in_words`: where it is about a request, that may be what was sent.
    """
    reference = reference or uuid.uuid4().hex[:8]
    error = sys.exception()
    if error and not in_words:
        error = RuntimeError(f"{type(error).__name__}, without its words").with_traceback(error.__traceback__)
    log.error("Error %s while %s", reference, doing, exc_info=error)
    return InternalError(f"Something went wrong in this app (error {reference}).", "Try again.")
