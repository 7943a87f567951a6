"""Install the servers of the contract tests, and old clients, each into a virtual environment of its own.

`python tests/support/servers/install.py` installs all servers that are missing. The environments are in the user's
cache, or in the folder LLAMA_UI_SERVERS. The files beside this one pin the packages of each server.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs

HERE = Path(__file__).parent


def install(name: str) -> Path:
    """The folder of a server's environment, which is created unless it has the pinned packages."""
    pins = HERE / f"{name}.txt"
    return _environment(name, pins.read_bytes(), "-r", str(pins))


def install_client(*requirements: str) -> Path:
    """The folder of an environment with these requirements. The first one, such as "x==0.3.5", gives it its name."""
    return _environment(requirements[0].replace("==", "-"), " ".join(requirements).encode(), *requirements)


def _environment(name: str, content: bytes, *packages: str) -> Path:
    """The folder of an environment with these packages, which is created again when `content` has changed."""
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
    for pins in HERE.glob("*.txt"):
        print(install(pins.stem))
