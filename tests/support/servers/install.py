"""Installs the real servers that the contract tests run, and old clients, each into an environment of its own.

`python tests/support/servers/install.py` installs all servers; what is there already is left alone. They are kept in
the user's cache, or in the folder named by LLAMA_UI_SERVERS. Each server's packages are pinned in the file beside
this one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs

HERE = Path(__file__).parent
NAMES = ["ogx-1.5.0", "llama-stack-0.7.3", "llama-stack-0.3.5", "llama-stack-0.2.12"]


def install(name: str) -> Path:
    """The folder of a server's environment, made if it is not there as pinned. Raises CalledProcessError."""
    pins = HERE / f"{name}.txt"
    return _environment(name, pins.read_bytes(), "-r", str(pins))


def install_client(*requirements: str) -> Path:
    """The folder of an environment with these requirements, and with nothing that they do not name themselves.

    Made if it is not there. "llama-stack-client==0.3.5" comes first, and names it. Raises CalledProcessError.
    """
    return _environment(requirements[0].replace("==", "-"), " ".join(requirements).encode(), *requirements)


def _environment(name: str, content: bytes, *packages: str) -> Path:
    """The folder of an environment with these packages. It is made anew where `content` is not what it was made for."""
    folder = Path(os.environ.get("LLAMA_UI_SERVERS") or platformdirs.user_cache_path("llama-ui") / "servers") / name
    mark = folder / f"installed-{hashlib.sha256(content).hexdigest()[:16]}"
    if mark.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python", *packages]
    subprocess.run(command, check=True)
    mark.touch()
    return folder


if __name__ == "__main__":
    for name in NAMES:
        print(install(name))
