"""Several replicas, and other people's machines: the configurations in deploy/, and the Space."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import yaml
from playwright.sync_api import expect

from llama_ui.core.images import MAX_BYTES, MAX_IMAGES
from llama_ui.hosting.security import MAX_BODY, MAX_UPLOAD_BODY
from llama_ui.settings import OPTIONS, Settings, load
from tests.hosting.test_health import measured
from tests.hosting.test_load import until, visitors
from tests.support import SECONDS
from tests.support.app_process import ROOT, AppProcess, clean, free_port
from tests.support.chromium import launch, open_chat
from tests.support.fake_stack import FakeStack, Hold
from tests.support.page import ask, raw

DEPLOY = ROOT / "deploy"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DEPLOYMENT, SERVICE = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
GRACE = 30
SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
StartApp = Callable[..., AppProcess]
pytestmark = [pytest.mark.slow, pytest.mark.loopback, pytest.mark.timeout(300)]

needs_nginx = pytest.mark.skipif(
    NGINX is None and not os.environ.get("CI"), reason="no nginx found (Debian: apt install nginx-light)"
)


@contextlib.contextmanager
def nginx(folder: Path, *replicas: AppProcess, client_timeout: str = "20s") -> Iterator[str]:
    """The URL of nginx with deploy/nginx.conf in front of these apps, with only addresses and timeouts replaced."""
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    (replica,) = re.findall(r"server app:7860( .*;)", text)
    lines = "\n".join(f"server 127.0.0.1:{app.port}{replica}" for app in replicas)
    text = text.replace(f"server app:7860{replica}", lines).replace("listen 80;", f"listen 127.0.0.1:{port};")
    text = re.sub(r"(client_\w+_timeout) 20s;", rf"\1 {client_timeout};", text)
    text = text.replace("fail_timeout=10s", "fail_timeout=300s")  # a busy machine may take longer for one visitor
    scratch = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in SCRATCH)
    text = text.replace("http {", f"http {{ {scratch}", 1).replace("/var/log/nginx/", f"{folder}/")
    (folder / "nginx.conf").write_text(text)
    with running_nginx(folder, f"http://127.0.0.1:{port}") as url:
        yield url


@contextlib.contextmanager
def running_nginx(folder: Path, url: str) -> Iterator[str]:
    """Runs nginx with `nginx.conf` in the folder, which answers at the URL."""
    assert NGINX, "no nginx found (Debian: apt install nginx-light)"
    command = [NGINX, "-p", str(folder), "-e", "stderr", "-c", "nginx.conf", "-g", f"daemon off; pid {folder}/pid;"]
    process = subprocess.Popen(command, stderr=(folder / "errors").open("w"))
    try:
        transport = httpx.HTTPTransport(retries=10)  # until it listens
        with httpx.Client(transport=transport, timeout=SECONDS) as http:
            assert http.get(url).is_success, (folder / "errors").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)


async def ask_as_a_new_visitor(url: str, begun: asyncio.Event) -> str:
    """A reply, or the part of it that arrived before the connection was lost. `begun` is set when it begins."""
    received = ""
    async with visitors(url, 1) as (visitor,):
        assert (await visitor.http.get(url)).is_success
        assert len(visitor.http.cookies) == 1
        with contextlib.suppress(httpx.TransportError):
            async with visitor.says("Hi") as updates:
                async for received in updates:
                    if "first" in received:
                        begun.set()
    return received


@needs_nginx
async def test_when_replicas_stop_the_others_replies_go_on_and_new_visitors_are_served(
    stack: FakeStack, start_app: StartApp, tmp_path: Path
) -> None:
    """One replica is killed and one shuts down, which lets its replies finish."""
    apps = [start_app("--base-url", stack.url, "--trusted-proxies", "127.0.0.1") for _ in range(3)]
    for app in apps:
        app.await_line("Server: ")
    killed, terminated, other = apps
    holds = [Hold() for _ in range(45)]
    for hold in holds:
        stack.enqueue("first ", hold, "and last")
    with nginx(tmp_path, *apps) as url:
        begun = [asyncio.Event() for _ in holds]
        running = [asyncio.create_task(ask_as_a_new_visitor(url, event)) for event in begun]
        async with asyncio.timeout(2 * SECONDS):
            for event in begun:  # nothing is buffered on the way: the rest of the reply does not exist yet
                await event.wait()
        lost, *shares = [int(measured(app.url)["llama_ui_replies",]) for app in apps]
        assert lost + sum(shares) == 45 and min(lost, *shares) > 0
        killed.process.kill()
        await asyncio.to_thread(killed.process.wait, SECONDS)
        terminated.process.terminate()
        await asyncio.to_thread(terminated.await_line, "Shutting down")
        for _ in range(20):  # whichever replica each would have had
            stack.enqueue("first words")
            assert "first words" in await ask_as_a_new_visitor(url, asyncio.Event())
        for hold in holds:
            hold.release.set()
        received = await asyncio.gather(*running)
        assert sum("first and last" in text for text in received) == sum(shares)
        await until(lambda: measured(other.url)["llama_ui_replies",] == 0, "all have ended")
    assert await asyncio.to_thread(terminated.process.wait, SECONDS) == 0


@needs_nginx
def test_nginx_sets_the_address_closes_operator_routes_and_ends_slow_or_large_requests(
    stack: FakeStack, start_app: StartApp, tmp_path: Path
) -> None:
    app = start_app(
        *("--base-url", stack.url, "--trusted-proxies", "127.0.0.1"),
        *("--messages-per-minute", "1", "--visitors-per-address", "2"),
    )
    app.await_line("Server: ")
    with nginx(tmp_path, app, client_timeout="2s") as url:
        received = []
        for number in range(3):
            headers = {"x-forwarded-for": f"203.0.113.{number}"}
            with httpx.Client(base_url=url, headers=headers, timeout=SECONDS, trust_env=False) as http:
                received.append(ask(http, "Hi"))
        assert ["Hello there." in text for text in received] == [True, True, False]
        assert "Your network may send 2 messages a minute here." in received[2]
        assert raw(url, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") == b""  # closed before the head is complete
        head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        assert raw(url, head % 100 + b'{"data":') == b""
        assert raw(url, head % (MAX_BODY * 2)).startswith(b"HTTP/1.1 413 ")
        assert raw(url, head.replace(b"gradio_api/queue/join", b"login") % 20_000).startswith(b"HTTP/1.1 413 ")
        for path in ("metrics", "readyz", "healthz"):
            assert httpx.get(f"{url}/{path}").status_code == 404
            assert httpx.get(f"{app.url}/{path}").is_success
        page = httpx.get(url, params={"message": "a-secret"})
        logged = (tmp_path / "access.log").read_text()
        assert '"GET /" 200' in logged and "a-secret" not in logged
        assert re.fullmatch(r"visitor=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax", page.headers["set-cookie"])
        again = httpx.get(url, cookies={"visitor": "x" * 32})  # not one of nginx's
        assert "x" * 32 not in again.headers["set-cookie"]


def test_the_ogx_server_of_the_compose_file_answers_the_app(stack: FakeStack, tmp_path: Path) -> None:
    """The real one, with a scripted engine behind it."""
    port = free_port()
    config = (DEPLOY / "ogx.yaml").read_text()
    text = config.replace("host: 0.0.0.0, port: 8321", f"host: 127.0.0.1, port: {port}")
    assert text != config
    (tmp_path / "ogx.yaml").write_text(text)
    stack.act_as_engine("llama3.2:1b")
    variables = {"INFERENCE_URL": f"{stack.url}/v1", "OGX_DATA": str(tmp_path), "HOME": str(tmp_path)}
    command = COMPOSE["services"]["ogx"]["command"]
    assert command == ["ogx", "run", "--insecure", "/etc/ogx.yaml"]
    with (tmp_path / "printed").open("w") as printed:
        server = subprocess.Popen(
            [sys.executable, "-c", "from ogx.cli.ogx import main; main()", "run", "--insecure", tmp_path / "ogx.yaml"],
            env=clean(os.environ) | variables,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=SECONDS) as http:
            assert http.get(f"{url}/v1/health").is_success, (tmp_path / "printed").read_text()
            listed = [model["id"] for model in http.get(f"{url}/v1/models").json()["data"]]
            assert listed == ["engine/llama3.2:1b"]
        with AppProcess(("--base-url", url), {}, tmp_path) as app:
            app.await_line("Server: ")
            assert "Hello there." in ask(app.url, "Hi")
            assert httpx.get(f"{app.url}/readyz", timeout=SECONDS).text == "ready\n"
    finally:
        server.terminate()
        server.wait(SECONDS)


def test_the_image_is_slim_runs_as_nobody_special_and_says_whether_it_lives() -> None:
    assert f"\nFROM python:{(ROOT / '.python-version').read_text().strip()}-slim\n" in DOCKERFILE
    (user,) = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert user != "root" and f"useradd --create-home --uid 1000 {user}" in DOCKERFILE
    assert '\nCMD ["python", "app.py"]\n' in DOCKERFILE, "a shell in between would not hand on the signal to end"
    copied = set(re.findall(r"^COPY (\S+)", DOCKERFILE, re.MULTILINE))
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored and {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize(
    "text", [DOCKERFILE, str(COMPOSE), str(DEPLOYMENT)], ids=["Dockerfile", "compose", "kubernetes"]
)
def test_only_settings_that_there_are_are_set(text: str) -> None:
    known = {option.variable for option in OPTIONS.values()}
    named = set(re.findall(r"\b(?:LLAMA_\w+|GRADIO_\w+|FORWARDED_\w+)", text))
    assert named and named <= known


def test_replies_have_the_time_to_finish_wherever_it_runs() -> None:
    assert int(COMPOSE["services"]["app"]["stop_grace_period"].rstrip("s")) > GRACE
    pod = DEPLOYMENT["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > GRACE + container["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_compose_brings_an_ogx_server_and_trusts_its_proxy_alone() -> None:
    services = COMPOSE["services"]
    assert services["app"]["environment"]["LLAMA_STACK_CLIENT_BASE_URL"] == "http://ogx:8321"
    assert "port: 8321" in (DEPLOY / "ogx.yaml").read_text()
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert services["app"]["environment"]["FORWARDED_ALLOW_IPS"] == network["subnet"]
    assert services["app"]["read_only"] and services["app"]["cap_drop"] == ["ALL"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"proxy": ["127.0.0.1:8080:80"]}
    for service in services.values():
        for mounted in service.get("volumes", []):
            source = mounted.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file()


def test_kubernetes_keeps_a_visitor_with_one_replica_and_asks_for_its_health() -> None:
    assert SERVICE["spec"]["sessionAffinity"] == "ClientIP" and SERVICE["spec"]["type"] == "ClusterIP"
    assert SERVICE["spec"]["selector"] == DEPLOYMENT["spec"]["selector"]["matchLabels"]
    assert DEPLOYMENT["spec"]["replicas"] >= 2
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    asked = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/healthz"}
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert load([], environment, Path("none")).trusted_proxies == "10.0.0.0/8"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert DEPLOYMENT["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]


def test_nginx_lets_through_what_the_app_accepts_and_waits_as_long_as_it_does() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    body, upload = (int(megabytes) * 2**20 for megabytes in re.findall(r"client_max_body_size (\d+)m;", text))
    assert body >= MAX_BODY and upload >= MAX_UPLOAD_BODY >= MAX_IMAGES * MAX_BYTES
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(seconds) > Settings().timeout
    assert "proxy_buffering off;" in text  # small replies are not delayed without it either


def sources() -> dict[Path, float]:
    """When each file of the app was written."""
    return {path: path.stat().st_mtime for path in (ROOT / "llama_ui").rglob("*.*") if path.suffix != ".pyc"}


def test_the_image_s_health_check_passes_while_the_app_runs_which_writes_nothing_to_its_folder(
    stack: FakeStack, start_app: StartApp, tmp_path: Path
) -> None:
    """In the image, its folder is not its own, and Docker may set a proxy."""
    before = sources()
    app = start_app("--base-url", stack.url)
    app.await_line("Server: ")
    assert httpx.get(app.url).is_success
    assert list(tmp_path.iterdir()) == [] and sources() == before
    (code,) = re.findall(r'CMD \["python", "-c", "(.*)"\]', DOCKERFILE)
    variables = {"GRADIO_SERVER_PORT": str(app.port), "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False, env=variables).returncode == 0
    app.process.kill()
    app.process.wait(SECONDS)
    assert subprocess.run(command, check=False, env=variables, stderr=subprocess.DEVNULL).returncode != 0


SPACE = {"SYSTEM": "spaces", "SPACE_ID": "somebody/chat", "GRADIO_SERVER_NAME": "127.0.0.1"}


def answered(app: AppProcess) -> str:
    """The log line of an answered turn."""
    with httpx.Client(base_url=app.url, timeout=SECONDS, headers={"host": "somebody-chat.hf.space"}) as http:
        assert http.get("/").is_success
        ask(http, "Hi", system_prompt="", temperature="0", top_p="1", max_tokens="5")
    line = app.await_line("event=turn .*outcome=answered")
    assert "Traceback" not in "".join(app.output)
    return line


def test_a_space_uses_the_server_of_its_secrets(start_app: StartApp, stack: FakeStack) -> None:
    secrets = {"LLAMA_STACK_CLIENT_BASE_URL": stack.url, "LLAMA_STACK_CLIENT_API_KEY": "a-key"}
    app = start_app(**SPACE, **secrets)
    assert stack.url in app.await_line("Server: ")
    assert "model=fake/llama" in answered(app)
    assert stack.keys[-1] == "Bearer a-key" and "a-key" not in "".join(app.output)


@pytest.mark.real_stack
def test_a_space_without_a_server_has_the_local_stack(start_app: StartApp) -> None:
    app = start_app(**SPACE)
    assert "the local stack" in app.await_line("Server: ")
    assert "model=local/" in answered(app)


@pytest.fixture
def device_api() -> Iterator[tuple[str, list[str]]]:
    """The address of what a ZeroGPU Space reports its start to, and the paths of its requests."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(200 if len(paths) == 1 else 500)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def test_a_zero_gpu_space_reports_its_start_and_goes_on_where_that_fails(
    start_app: StartApp, stack: FakeStack, device_api: tuple[str, list[str]], tmp_path: Path
) -> None:
    """With the package `spaces` that such a Space has. Its GPUs are simulated."""
    uv, folder = Path(sys.executable).with_name("uv"), tmp_path / "packages"
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, "spaces==0.51.3"], check=True)
    url, paths = device_api
    zero = {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": url, "PYTHONPATH": str(folder)}
    for starts, problem in ((1, False), (2, True)):
        app = start_app(**SPACE, **zero, LLAMA_STACK_CLIENT_BASE_URL=stack.url)
        app.await_line("Server: ")
        assert paths == ["/startup-report"] * starts
        assert ("The start of this ZeroGPU Space could not be reported" in "".join(app.output)) is problem
        with httpx.Client(base_url=app.url, timeout=SECONDS, headers={"host": "somebody-chat.hf.space"}) as http:
            ask(http, "Hi", system_prompt="", temperature="0", top_p="1", max_tokens="5")
        app.await_line("event=turn .*outcome=answered")


def test_a_server_at_a_port_that_a_space_cannot_reach_is_named(start_app: StartApp) -> None:
    app = start_app(**SPACE, LLAMA_STACK_CLIENT_BASE_URL="https://stack.test:8321")
    sentence = "A Space cannot reach port 8321 of stack.test. Serve Llama Stack at port 443, 80 or 8080."
    app.await_line("Server: ")
    assert sentence in "".join(app.output)
    with httpx.Client(base_url=app.url, timeout=SECONDS, headers={"host": "somebody-chat.hf.space"}) as http:
        assert sentence in http.get("/config").text


@pytest.mark.parametrize(
    ("url", "space", "problem"),
    [
        ("https://stack.test", True, False),
        ("http://stack.test:8080/base", True, False),
        ("http://stack.test:5000", True, True),
        ("http://localhost:8321", True, False),
        ("https://stack.test:8321", False, False),
        (None, True, False),
    ],
)
def test_only_on_a_space_some_ports_are_a_problem(url: str | None, space: bool, problem: bool) -> None:
    assert bool(Settings(base_url=url, space=space).unreachable) is problem


@needs_nginx
@pytest.mark.browser
def test_the_page_works_below_a_path(start_app: StartApp, stack: FakeStack, tmp_path: Path) -> None:
    app = start_app("--base-url", stack.url, GRADIO_ROOT_PATH="/llama-stack-chat", FORWARDED_ALLOW_IPS="127.0.0.1")
    app.await_line("Server: ")
    location = (DEPLOY / "nginx-subpath.conf").read_text().replace("127.0.0.1:7860", f"127.0.0.1:{app.port}")
    (tmp_path / "location.conf").write_text(location)
    port = free_port()
    scratch = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in SCRATCH)
    server = f"server {{ listen 127.0.0.1:{port}; include {tmp_path}/location.conf; }}"
    (tmp_path / "nginx.conf").write_text(f"events {{}} http {{ access_log off; {scratch} {server} }}")
    with running_nginx(tmp_path, f"http://127.0.0.1:{port}/llama-stack-chat/") as url:
        with launch() as browser, open_chat(browser, url) as chat:
            chat.ask("Hi")
            expect(chat.replies.last).to_contain_text("Hello there.")
            manifest = chat.page.context.new_cdp_session(chat.page).send("Page.getAppManifest")
            assert (manifest["url"], manifest["errors"]) == (f"{url}manifest.json", [])
            for icon in ("favicon.ico", *(icon["src"] for icon in json.loads(manifest["data"])["icons"])):
                assert httpx.get(urljoin(url, icon)).headers["content-type"].startswith("image/")
        assert httpx.get(url.rstrip("/")).headers["location"].endswith("/llama-stack-chat/")
        assert httpx.get(f"{url}metrics").status_code == 404


def test_a_space_listens_where_it_can_be_reached() -> None:
    assert load([], {"SYSTEM": "spaces"}, Path("none")).host == "0.0.0.0"
    assert load([], {}, Path("none")).host == "127.0.0.1"


def test_what_a_space_installs_can_be_installed_together() -> None:
    """A Space adds to requirements.txt what its README's front matter says, with these extras, and this package."""
    _, front, _ = (ROOT / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(front)
    wanted = f"gradio[oauth,mcp]=={fields['sdk_version']}\nspaces\n-r {ROOT / 'requirements.txt'}\n"
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "--quiet", "--python-version", str(fields["python_version"]), "-"]
    solved = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
    if "error sending request" in solved.stderr.lower() and not os.environ.get("CI"):
        pytest.skip("no package registry can be reached")
    assert solved.returncode == 0, solved.stderr
    assert f"gradio=={fields['sdk_version']}" in solved.stdout
