"""The format of the log on stderr, and its line for each turn."""

import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter

# The innermost frames of a traceback to log: Gradio's and its web server's own are sixty.
FRAMES = 6
_JSON = structlog.processors.JSONRenderer(ensure_ascii=False)
_STAMP = structlog.processors.TimeStamper(fmt="iso", key="ts")
_LOGFMT = structlog.processors.LogfmtRenderer(key_order=("ts", "event", "id"), bool_as_flag=False)


def configure(log_format: str) -> None:
    """Sets up the logging of libraries and of the app: JSON where turns are logged as JSON, else plain lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if log_format == "json":
        first: list[Any] = [structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level, _STAMP]
        last: list[Any] = [ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, _JSON]
        handler.setFormatter(ProcessorFormatter(foreign_pre_chain=first, processors=last))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


class _PlainFormatter(logging.Formatter):
    """Indents all lines of a record but the first, so that no text in it can fake a record or a turn."""

    def format(self, record: logging.LogRecord) -> str:
        return _printable(super().format(record)).replace("\n", "\n    ")

    def formatException(self, ei: Any) -> str:
        return "".join(traceback.format_exception(*ei, limit=-FRAMES)).rstrip()


def log_turn(log_format: str, fields: Mapping[str, Any]) -> None:
    """Writes one line to stderr, as "json" or "logfmt", without control characters and without values of None."""
    values = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
    known = {name: value for name, value in values.items() if value is not None}
    line = (_JSON if log_format == "json" else _LOGFMT)(None, "", _STAMP(None, "", {"event": "turn", **known}))
    print(_printable(str(line)), file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
