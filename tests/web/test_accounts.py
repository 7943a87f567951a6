"""Visitors who sign in with Hugging Face, as Gradio simulates it outside of a Space."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio.oauth
import httpx
import pytest
from gradio_client import Client

from llama_ui.hosting.logins import account
from llama_ui.settings import load
from tests.support.fake_stack import MODEL, FakeStack
from tests.support.page import reply_text, served

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore:Gradio does not support OAuth")]
LIMITS = {"messages_per_minute": 1, "visitors_per_address": 1}


@pytest.fixture
def sign_in(monkeypatch: pytest.MonkeyPatch, stack: FakeStack) -> Iterator[Callable[[str], Client]]:
    """Signs in to a public page under a name, which may be blank for nobody, and connects a client to it."""
    info = {"userinfo": {"preferred_username": ""}}
    monkeypatch.setattr(gradio.oauth, "_get_mocked_oauth_info", lambda: info)
    with served(base_url=stack.url, trusted_proxies="127.0.0.1", hf_oauth=True, **LIMITS) as url:

        def connect(name: str) -> Client:
            info["userinfo"] = {"preferred_username": name}
            cookie = ""
            if name:
                # From another site, as from the Hub's page.
                headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
                back = httpx.get(f"{url}login/callback", headers=headers, timeout=60)
                assert (back.status_code, back.headers["location"]) == (307, "/")
                cookie = back.headers["set-cookie"].partition(";")[0]
            return Client(url, verbose=False, headers={"cookie": cookie})

        yield connect


def ask(client: Client) -> str:
    return reply_text(client.predict("Hi", model=MODEL, api_name="/chat"))


def test_limits_count_for_each_account_and_for_the_address_of_those_without_one(
    sign_in: Callable[[str], Client],
) -> None:
    assert ask(sign_in("ada")) == "Hello there."
    assert "You may send 1 message a minute here." in ask(sign_in("ada")), "in another session, too"
    assert ask(sign_in("bob")) == "Hello there."
    assert ask(sign_in("")) == "Hello there."
    assert "Your network may send 1 message a minute here." in ask(sign_in(""))


def test_signing_in_may_begin_again_after_a_redirect_from_another_site(sign_in: Callable[[str], Client]) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    again = httpx.get(f"{sign_in('ada').src}login/huggingface?_nb_redirects=1", headers=headers, timeout=60)
    assert again.status_code == 307


@pytest.mark.parametrize(("variables", "offered"), [({}, True), ({"LLAMA_UI_AUTH": "ada:secret"}, False)])
def test_only_a_space_without_a_login_offers_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], offered: bool, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    space = {"SYSTEM": "spaces", "OAUTH_CLIENT_ID": "id", **variables}
    assert load([], space, tmp_path / ".env").hf_oauth is offered
    assert not load([], {"OAUTH_CLIENT_ID": "id"}, tmp_path / ".env").hf_oauth


def test_the_page_offers_to_sign_in_and_out(sign_in: Callable[[str], Client]) -> None:
    config = sign_in("ada").config
    texts = [str(component["props"].get("elem_id")) for component in config["components"]]
    assert "account" in texts


@pytest.mark.parametrize(
    ("session", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"oauth_info": {"userinfo": {"preferred_username": "ada"}}}, "@ada"),
        ({"oauth_info": {"userinfo": {"preferred_username": "ada"}, "expires_at": 1}}, ""),
        ({"oauth_info": {"userinfo": {}}}, ""),
    ],
)
def test_an_account_is_that_of_a_token_that_is_still_valid(session: object, name: str) -> None:
    assert account({"session": session}) == name


def test_without_the_option_nobody_can_sign_in(url: str) -> None:
    assert httpx.get(f"{url}login/huggingface", timeout=60).status_code == 404
