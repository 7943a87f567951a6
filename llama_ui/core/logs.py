"""Unexpected exceptions: an id for the person, and everything else in the log."""

import logging
import sys
import uuid

from llama_ui.core.errors import InternalError

log = logging.getLogger(__name__)


def log_unexpected(doing: str, reference: str | None = None, *, with_message: bool = True) -> InternalError:
    """Logs the current exception under an id, and returns the error to show, which has only the id.

    `with_message`: with the exception's message, which may repeat what was sent.
    """
    reference = reference or uuid.uuid4().hex[:8]
    error = sys.exception()
    if error and not with_message:
        error = RuntimeError(f"{type(error).__name__}, message withheld").with_traceback(error.__traceback__)
    log.error("Error %s while %s", reference, doing, exc_info=error)
    return InternalError(f"Something went wrong in this app (error {reference}).", "Try again.")
