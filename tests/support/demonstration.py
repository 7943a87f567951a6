"""The demonstration model, fetched once for all tests."""

from io import StringIO
from pathlib import Path

import platformdirs

from llama_ui.local_stack import model


def link_demonstration(cache: Path) -> Path:
    """Makes a cache with the demonstration model, linked from the user's cache. Returns the path there."""
    path = model.fetch(None, platformdirs.user_cache_path("llama-ui") / "llama-ui-fetch-tests", StringIO())
    cache.mkdir()
    (cache / path.name).symlink_to(path)
    return path
