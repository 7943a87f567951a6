"""The child process of the local stack: `python -m llama_ui.local_stack.worker SCRATCH DOWNLOAD [MODEL [fetch]]`.

It fetches the model in DOWNLOAD, then starts the engine (llama.cpp's server) and in front of it the OGX server, both in
this process: a crash of one ends the other. SCRATCH becomes the working directory. With `fetch`, it only fetches.

When stdin ends, the parent (`launcher.py`) is gone: the worker removes its directories and ends its process group. It
prints lines of JSON, each with some of `report` (a sentence), `part` (what starts now), `done` and `total` (bytes of a
download), and at last `ready` (a URL, or the path of what was fetched) or `error` (a sentence and a fix).
"""

import importlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TextIO

import yaml

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.catalog import real_name
from llama_ui.local_stack.model import fetch, send
from llama_ui.scratch import lock

START_TIMEOUT = 180  # seconds for the engine to load the model, and again for the OGX server to start
ENGINE_SETTINGS = Path(__file__).with_name("engine.yaml")
SERVER_VARIABLES = {
    "NO_PROXY": "*",
    "HF_HUB_OFFLINE": "1",
    "OTEL_SDK_DISABLED": "true",
    "OGX_LOG_FORMAT": "json",  # in the default format a traceback holds up all requests for seconds
    "OGX_CONFIG": str(Path(__file__).with_name("ogx.yaml")),
}

# The servers get only these variables, so that no key reaches them, and neither a proxy nor a setting for another Llama
# Stack server changes how they behave. What fetches the model before also gets those with the prefixes below.
_SYSTEM = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV"}
_WINDOWS = {"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA"}
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "XDG_")
PIP_VARIABLES = (*_NETWORK, "PIP_", "NETRC")
HUB_VARIABLES = (*_NETWORK, "HF_", "HUGGING_FACE_HUB_TOKEN")


def environment(environ: Mapping[str, str], prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """The variables of `environ` for the worker: the system's, and those with one of the prefixes."""
    variables = {
        name: value
        for name, value in environ.items()
        if name.upper() in _SYSTEM | _WINDOWS or name.upper().startswith(prefixes)
    }
    package_root = str(Path(__file__).resolve().parent.parent.parent)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, environ.get("PYTHONPATH")]))
    return variables | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def forget_fetch_variables() -> None:
    """Removes the variables from this process that only the fetching of the model needed."""
    for name in os.environ.keys() - environment(os.environ).keys():
        del os.environ[name]


def main() -> None:
    """Runs the stack until it fails or the parent is gone."""
    scratch, download = map(Path, sys.argv[1:3])
    model = sys.argv[3] if len(sys.argv) > 3 else None
    only_fetch = len(sys.argv) > 4
    scratch.mkdir(mode=0o700)
    _lock = lock(scratch)  # held until this process ends
    os.chdir(scratch)
    # Messages get a descriptor of their own, so that nothing a library prints can be mistaken for one.
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        threading.Thread(target=_end_with_parent, args=[scratch, download], daemon=True).start()
        path = fetch(model, download, messages)
        if only_fetch:
            send(messages, ready=str(path))
            return
        forget_fetch_variables()
        os.environ |= SERVER_VARIABLES | dict.fromkeys(("TMPDIR", "TEMP", "TMP", "OGX_CONFIG_DIR"), str(scratch))
        _serve(path, real_name(model), messages)
    except LocalStackError as error:
        send(messages, error=[error.sentence, error.fix])
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _end(scratch, download)


def _end_with_parent(*directories: Path) -> None:
    os.read(0, 1)  # nothing is ever written there
    _end(*directories)


def _end(*directories: Path) -> None:
    """Removes the directories, and ends this process and its group at once."""
    for directory in 3 * directories:  # again, since another thread or process may still put files there
        shutil.rmtree(directory, ignore_errors=True)
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)  # not `exit`: the engine's destructor would wait 30 s for an open stream


def _serve(model: Path, name: str, messages: TextIO) -> None:
    send(messages, report="Starting the model", part="The model engine")
    _limit_time(START_TIMEOUT)
    engine = _start_engine(model, name)  # it serves as long as this object lives
    os.environ["ENGINE_URL"] = engine.listening_address  # for ogx.yaml
    send(messages, report="Starting the OGX server", part="The OGX server")
    _limit_time(0)
    for module in ("ogx.core.server.server", "ogx.providers.remote.inference.openai"):
        importlib.import_module(module)
    _limit_time(START_TIMEOUT)
    _run_ogx(messages)


def _limit_time(seconds: int) -> None:
    """Lets the system end this process after `seconds`; 0 lifts the limit. A thread could not, see `_start_engine`."""
    if sys.platform != "win32":
        signal.alarm(seconds)


def _start_engine(model: Path, name: str) -> Any:
    """Loads and serves the model. Meanwhile it holds the interpreter's lock, and no other thread runs."""
    try:
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        fix = "On Linux install libgomp1 and libstdc++6, or connect a Llama Stack server with --base-url URL."
        raise LocalStackError(f"The model engine cannot be loaded: {error}.", fix) from error
    try:
        return xllamacpp.Server(_engine_settings(xllamacpp.CommonParams(), str(model), name))
    except RuntimeError as error:
        time.sleep(0.2)  # the engine logs the reason in a thread of its own, which cannot be awaited
        fix = "Give another GGUF file with --local-model, or connect a Llama Stack server with --base-url URL."
        raise LocalStackError("The model engine cannot load the model file.", fix) from error


def _engine_settings(params: Any, model: str, name: str) -> Any:
    for path, value in yaml.safe_load(ENGINE_SETTINGS.read_text()).items():
        *parents, attribute = path.split(".")
        setattr(reduce(getattr, parents, params), attribute, value)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    # Its threads wait for each other at every step: without a core to spare, whatever else runs would stall them all.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, cores - 1)
    params.model.path, params.model_alias = model, {name}
    return params


def _run_ogx(messages: TextIO) -> None:
    """Serves OGX. The engine has to answer already: OGX asks it for its models at the start, then every 300 s."""
    uvicorn: Any = importlib.import_module("uvicorn")
    app = "ogx.core.server.server:create_app"
    config = uvicorn.Config(app, factory=True, host="127.0.0.1", port=0, lifespan="on", access_log=False)
    server = uvicorn.Server(config)
    start_up = server.startup

    async def start_up_and_send(sockets: Any = None) -> None:
        await start_up(sockets=sockets)
        if server.started:
            _limit_time(0)
            send(messages, ready=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")

    server.startup = start_up_and_send
    server.run()


if __name__ == "__main__":
    main()
