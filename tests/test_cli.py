"""A server that is excepted from the proxy, with the key that must reach nobody else."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import SECONDS
from tests.support.app_process import clean
from tests.support.fake_stack import FakeStack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.0.0.2 without being told"),
]


@pytest.mark.parametrize(
    "exceptions",
    [
        {"NO_PROXY": "127.0.0.2"},
        {"NO_PROXY": "*"},
        {"no_proxy": "example.org", "NO_PROXY": "example.com, 127.0.0.2"},
    ],
    ids=str,
)
def test_an_excepted_server_is_reached_without_the_proxy(exceptions: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, FakeStack(host="127.0.0.2") as stack:
        proxy.setblocking(False)
        variables = dict.fromkeys(("HTTP_PROXY", "http_proxy"), f"http://127.0.0.1:{proxy.getsockname()[1]}")
        variables |= {"LLAMA_STACK_CLIENT_BASE_URL": stack.url, "LLAMA_STACK_CLIENT_API_KEY": "secret"}
        chat = subprocess.run(
            [sys.executable, "-m", "llama_ui"],
            input="Hi",
            env={**clean(os.environ), "PYTHONPATH": str(Path.cwd()), **variables, **exceptions},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        with pytest.raises(BlockingIOError):  # nobody has connected
            proxy.accept()
    assert chat.stdout == "Hello there.\n", chat.stderr
    assert "Bearer secret" in stack.keys
