"""The page can be installed as an app."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import CHROMIUM
from tests.support.app_process import AppProcess
from tests.support.chromium import FLAGS
from tests.support.fake_stack import FakeStack

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("variables", [{}, {"LLAMA_UI_AUTH": "alice:wonder"}], ids=["open", "before a login"])
def test_chromium_can_install_the_page(
    browser: Browser, stack: FakeStack, tmp_path: Path, variables: dict[str, str]
) -> None:
    with AppProcess(("--base-url", stack.url), variables, tmp_path) as app:
        profile = tmp_path / "profile"  # Chromium installs nothing in the private windows that `new_page` opens
        context = browser.browser_type.launch_persistent_context(profile, executable_path=CHROMIUM, args=FLAGS)
        page = context.new_page()
        page.goto(app.url)
        expect(page.locator("#message textarea").or_(page.get_by_label("username"))).to_be_visible()
        devtools = context.new_cdp_session(page)
        manifest = devtools.send("Page.getAppManifest")
        assert (manifest["url"], manifest["errors"]) == (f"{app.url}/manifest.json", [])
        assert json.loads(manifest["data"])["name"] == "Llama Stack Chat"
        assert devtools.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
        page.goto(f"{app.url}/static/icon.svg")  # has no manifest, which Chromium reports
        assert devtools.send("Page.getInstallabilityErrors")["installabilityErrors"] != []
        context.close()
