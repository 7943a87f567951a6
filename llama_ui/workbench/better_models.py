"""Better models for the local stack, fetched while the app runs."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from llama_ui.core.errors import LocalStackError
from llama_ui.core.text import as_code
from llama_ui.llama_stack.connection import Connection
from llama_ui.local_stack.catalog import BETTER_MODELS, BetterModel


def offered(connection: Connection) -> Sequence[BetterModel]:
    """The models that visitors may change the local stack to; none when the page is public or the model is set."""
    settings = connection.settings
    if not (connection.uses_local and connection.ready) or settings.public or settings.local_model:
        return ()
    return [model for model in BETTER_MODELS.values() if model.name != connection.local.model]


async def use(connection: Connection, name: str) -> AsyncGenerator[tuple[int, int], None]:
    """Fetches a better model, and restarts the local stack with it. Yields the bytes so far and in all.

    Closing it cancels the download. If the new model cannot be started, the present one is; raises `ChatError`.
    """
    await connection.client()
    if name not in [model.name for model in offered(connection)]:
        if not connection.uses_local:
            raise LocalStackError("The app does not use the local stack.", "Choose one of the server's models.")
        fix = "Start the app with --local-model to choose another model."
        raise LocalStackError(f"The local stack does not offer to change to {as_code(name)}.", fix)
    async with aclosing(connection.local.fetch(name)) as progress:
        async for step in progress:
            yield step
    previous = await connection.client()  # again, since it may have been restarted meanwhile
    connection.local.choose(name)
    try:
        await connection.client()
    finally:
        await previous.aclose()
    connection.local.check_choice(name)
