"""The local stack: a real Llama Stack (OGX) server in front of a small real model, both child processes of the app."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import httpx

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.children import CONNECT_FIX, Child, Children
from llama_ui.local_stack.model import provide

PROVIDER = "local"
DEMONSTRATION_NAME = "SmolLM2-135M-Instruct"
MODEL_ID = f"{PROVIDER}/{DEMONSTRATION_NAME}"
ENGINE_SECONDS = 60.0  # to load the model
OGX_SECONDS = 60.0  # to start, once the engine answers


class LocalStack:
    """Starts, watches and ends the two children. Its methods may be called from different threads."""

    def __init__(self, cache: Path, model: str | None = None, report: Callable[[str], None] = print) -> None:
        """`cache` keeps the demonstration model; `model`, a value of `--local-model`, is used in its place.

        `report` gets short sentences about the progress, in the thread that called `start`.
        """
        self._cache = cache.expanduser().absolute()  # children have working directories of their own
        self._model = model
        self._report = report
        self._children = Children()
        self._servers: list[Child] = []

    def start(self) -> str:
        """Blocks until the stack can chat. Returns its base URL, such as `http://127.0.0.1:41234`.

        Raises LocalStackError, also when `stop` was called meanwhile, and then has left nothing behind.
        """
        self.stop()
        children = self._children = Children()
        try:
            return self._start(children)
        except BaseException as error:
            stopped = children.ended
            children.end()
            if stopped and isinstance(error, Exception):
                children.check()  # whatever failed, failed because of `stop`
            raise

    def alive(self) -> bool:
        """Whether both children run."""
        return bool(self._servers) and all(child.alive() for child in self._servers)

    def stop(self) -> None:
        """Ends both children at once, and a start that is under way. May be called at any time, and again."""
        self._children.end()

    def _start(self, children: Children) -> str:
        _check_installed()
        self._report("Preparing the local stack")
        ogx = children.start("ogx", "The OGX server")  # first, since its imports take the longest
        model = provide(self._model, self._cache, children, self._report)
        name = DEMONSTRATION_NAME if self._model is None else model.stem
        self._report("Starting the model")
        engine = children.start("engine", "The model engine")
        engine.order(model=str(model), name=name)
        engine_url = children.answer(engine, ENGINE_SECONDS)
        self._report("Starting the OGX server")
        ogx.order(**ogx_config(engine_url))
        url = children.answer(ogx, OGX_SECONDS)
        _check_model(url, f"{PROVIDER}/{name}")
        self._servers = [engine, ogx]
        children.check()
        return url


def _check_installed() -> None:
    """Raises LocalStackError where a package is missing. Imports none: that would cost seconds and memory."""
    for package in ("xllamacpp", "ogx"):
        if importlib.util.find_spec(package) is None:
            raise LocalStackError(
                f"The local stack cannot be started, because the Python package {package} is not installed.",
                f"It may not exist for this platform. {CONNECT_FIX}",
            )


def ogx_config(engine_url: str) -> dict[str, object]:
    """The smallest configuration of an OGX server that chats: one provider, and no chat stored.

    Its files are in its working directory. The port is not in it, because the server takes a free one.
    """
    engine = {"base_url": f"{engine_url}/v1", "api_key": "none"}
    return {
        "version": 2,
        "distro_name": "llama-ui",
        "apis": ["inference"],
        "providers": {
            "inference": [{"provider_id": PROVIDER, "provider_type": "remote::openai", "config": engine}],
        },
        "storage": {
            "backends": {
                "kv_default": {"type": "kv_sqlite", "db_path": "kv.db"},
                "sql_default": {"type": "sql_sqlite", "db_path": "sql.db"},
            },
            "stores": {
                "metadata": {"namespace": "registry", "backend": "kv_default"},
                "inference": {"table_name": "chats", "backend": "sql_default", "enabled": False},
            },
        },
        "server": {"host": "127.0.0.1", "insecure": True},
    }


def _check_model(url: str, model_id: str) -> None:
    """Raises LocalStackError unless the server lists the model."""
    try:
        with httpx.Client(trust_env=False, timeout=10) as client:
            listed = [model["id"] for model in client.get(f"{url}/v1/models").raise_for_status().json()["data"]]
    except httpx.HTTPError as error:
        raise LocalStackError("The OGX server does not answer.", CONNECT_FIX) from error
    if model_id not in listed:
        raise LocalStackError(f"The OGX server does not offer the model {model_id}.", CONNECT_FIX)
