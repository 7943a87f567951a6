"""What runs inside a child process of the local stack: `python -m llama_ui.child ROLE SCRATCH [ARGUMENT...]`.

The parent (`children.py`) writes the orders, one line of JSON, to the child's stdin and keeps that pipe open. The child
answers on stdout with one line of JSON: `{"ready": TEXT}`, or `{"error": SENTENCE, "fix": SENTENCE}`; only the role
`pip` prints what pip prints. When stdin ends, the parent is gone: the child removes SCRATCH, its working directory, and
ends with all that it started. The system closes the pipe whatever ended the parent, SIGKILL included.
"""

import contextlib
import importlib
import json
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

Orders = SimpleQueue[dict[str, Any]]

CONTEXT_TOKENS = 8192  # shared by all visitors
PARALLEL_REPLIES = 4
MAX_REPLY_TOKENS = 1024  # where the request names none: a small model may repeat itself for ever
PROMPT_CACHE_MIB = 256  # the engine's default lets it grow by 8 GiB


def main() -> None:
    """Plays the role that the command line names, until it ends or the parent does."""
    role, scratch = sys.argv[1:3]
    Path(scratch).mkdir(mode=0o700)
    os.chdir(scratch)
    orders: Orders = SimpleQueue()
    threading.Thread(target=_watch_parent, args=(orders, scratch), daemon=True).start()
    if role == "pip":
        sys.argv = ["pip", *sys.argv[3:]]
        runpy.run_module("pip", run_name="__main__")
        return
    # Answers get a descriptor of their own, so that nothing a library prints can be mistaken for one.
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        ROLES[role](orders, lambda **fields: _write_line(answers, fields))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)  # the engine's destructor would wait 30 s for an open stream


def _watch_parent(orders: Orders, scratch: str) -> None:
    """Hands on the orders, then awaits the end of stdin and ends this process and its group."""
    # Unbuffered: an interpreter that exits while a thread waits in a buffered read of stdin crashes.
    with contextlib.suppress(OSError, ValueError), open(0, "rb", buffering=0, closefd=False) as stdin:
        if line := stdin.readline():
            orders.put(json.loads(line))
            stdin.read()
    for _ in range(5):  # another thread may still put files there
        shutil.rmtree(scratch, ignore_errors=True)
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _write_line(descriptor: int, fields: dict[str, str]) -> None:
    os.write(descriptor, json.dumps(fields).encode() + b"\n")


def _engine(orders: Orders, answer: Callable[..., None]) -> None:
    """Orders: `model` (a path), `name`. Ready: the engine's address."""
    try:
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        fix = "On Linux install libgomp1 and libstdc++6, or connect a Llama Stack server with --base-url URL."
        return answer(error=f"The model engine cannot be loaded: {error}.", fix=fix)
    wanted = orders.get()
    try:
        # Loads the model; this thread keeps the interpreter's lock meanwhile, so the parent's end is noticed after it.
        server = xllamacpp.Server(_engine_settings(xllamacpp.CommonParams(), wanted["model"], wanted["name"]))
    except RuntimeError:
        time.sleep(0.2)  # the engine says why in a thread of its own, which nothing lets one await
        fix = "Give another GGUF file with --local-model, or connect a Llama Stack server with --base-url URL."
        return answer(error="The model engine cannot load the model file.", fix=fix)
    answer(ready=server.listening_address)
    threading.Event().wait()


def _engine_settings(params: Any, model: str, name: str) -> Any:
    """The settings that serve several visitors on few cores."""
    threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    params.model.path = model
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = PARALLEL_REPLIES
    params.kv_unified = True  # else each visitor has a quarter of the context
    params.n_batch = 256  # a dropped request frees the engine after one batch
    params.n_predict = MAX_REPLY_TOKENS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.sampling.temp = 0.6
    params.sampling.top_p = 0.9
    params.sampling.penalty_repeat = 1.15
    params.use_jinja = True
    params.ui = False
    params.offline = True
    params.endpoint_slots = False  # it shows what others write
    params.cors_origins = "http://127.0.0.1"  # the default lets every web page read the engine
    params.cors_origins_explicit = True
    params.cors_credentials = False
    return params


def _ogx(orders: Orders, answer: Callable[..., None]) -> None:
    """Orders: the OGX configuration. Ready: the server's address.

    The imports take seconds, so they come before the orders. Those come once the engine answers, since OGX asks it for
    its models at the start, and then only every 300 s.
    """
    uvicorn = importlib.import_module("uvicorn")
    for slow in ("ogx.core.server.server", "ogx.providers.remote.inference.openai"):
        importlib.import_module(slow)
    config = Path("config.yaml").absolute()
    config.write_text(json.dumps(orders.get()))  # JSON is YAML
    os.environ["OGX_CONFIG"] = str(config)
    app = "ogx.core.server.server:create_app"
    settings = uvicorn.Config(app, factory=True, host="127.0.0.1", port=0, lifespan="on", access_log=False)
    server = uvicorn.Server(settings)
    start_up = server.startup

    async def start_up_and_answer(sockets: Any = None) -> None:
        await start_up(sockets=sockets)
        if server.started:
            answer(ready=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")

    server.startup = start_up_and_answer
    server.run()


def _hub(orders: Orders, answer: Callable[..., None]) -> None:
    """Orders: `repo`, `file`. Ready: the path of the file in the Hugging Face Hub's own cache."""
    hub = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.errors")
    wanted = orders.get()
    place = f"hf://{wanted['repo']}/{wanted['file']}"
    try:
        return answer(ready=hub.hf_hub_download(wanted["repo"], wanted["file"]))
    except errors.GatedRepoError:
        error, fix = f"{place} is open only to those who were let in.", "Ask on the model's page, and set HF_TOKEN."
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError):
        error, fix = f"There is no {place}.", "Check the name; a private model also needs HF_TOKEN."
    except Exception as problem:  # the Hub's client lets through whatever its parts raise
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        error, fix = f"{place} could not be fetched.", "Check the network, or give a GGUF file with --local-model."
    answer(error=error, fix=fix)


ROLES: dict[str, Callable[[Orders, Callable[..., None]], None]] = {"engine": _engine, "ogx": _ogx, "hub": _hub}

if __name__ == "__main__":
    main()
