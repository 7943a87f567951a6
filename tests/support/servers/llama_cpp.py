"""llama.cpp's own server with the local stack's model, in a process of its own: `python -m ….llama_cpp PORT KEY`."""

import sys
import threading
from pathlib import Path

import platformdirs
import xllamacpp

from llama_ui.local_stack import model


def main() -> None:
    """Serves until the process is ended."""
    params = xllamacpp.CommonParams()
    cache = platformdirs.user_cache_path("llama-ui")
    params.model.path = str(model.fetch(None, Path(cache, "llama-ui-fetch-tests"), sys.stderr))
    params.model_alias = {"tiny"}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], int(sys.argv[1]), [sys.argv[2]]
    params.n_ctx, params.n_parallel, params.n_predict, params.n_gpu_layers = 2048, 2, 256, 0
    params.endpoint_slots, params.use_jinja, params.ui = True, True, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    _server = xllamacpp.Server(params)  # it serves as long as this object lives
    threading.Event().wait()


if __name__ == "__main__":
    main()
