"""The web application: the page as Gradio Blocks, and the FastAPI app that it is mounted in."""

import json
import os
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware

from llama_ui.core.conversation import SETTINGS
from llama_ui.core.images import MAX_IMAGES
from llama_ui.core.messages import MAX_SAMPLES, option_label
from llama_ui.core.option_values import MAX_JSON_CHARS, SENT_BY_THE_APP
from llama_ui.hosting import health, uploads
from llama_ui.hosting.logins import Logins
from llama_ui.hosting.page_cache import PageCache
from llama_ui.hosting.security import SecurityMiddleware
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import gradio_patches, html, identity, layout, renderer
from llama_ui.web.chat_interface import LlamaChatInterface
from llama_ui.web.handlers import Handlers
from llama_ui.web.tab_handlers import TabHandlers

# Larger than any attachment may be, so that the page can explain that a file is too large.
MAX_UPLOAD = "25mb"
# Gradio's limit on concurrent events counts them all: replies, lookups, and visitors who wait in the queue.
EVENTS_PER_VISITOR = 10
# Sessions whose conversations stay in the app: those of programs. The page's conversations stay in the browser.
PROGRAM_SESSIONS = 500
TITLE = "Llama Stack Chat"
STATIC = Path(__file__).with_name("static")


def build(settings: Settings, connection: Connection, turns: Turns) -> gr.Blocks:
    """The page. What it shows of the server is looked up for each visitor."""
    uploads.folder()  # sets the folder that Gradio puts uploads in
    page, tabs = Handlers(settings, connection, turns), TabHandlers(settings, connection, turns)
    demo = gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(uploads.SWEEP_INTERVAL, uploads.MAX_AGE),
    )
    with demo:
        skip = '<button class="plain skip" data-do="page.focusBox">Skip to the message box</button>'
        gr.HTML(skip, elem_id="skip", apply_default_css=False)
        with gr.Row(elem_id="app"):
            with gr.Column(elem_id="chats"):
                gr.HTML(html.render("chats"), apply_default_css=False)
            middle, inspect = gr.Column(elem_id="chat"), gr.Column(elem_id="inspect")
        with inspect:
            fields, code = layout.render_inspect(settings)
        with middle:
            status = layout.render_header()
            if settings.unreachable:
                gr.HTML(html.render("alert", sentences=[settings.unreachable]), elem_id="unreachable")
            if settings.hf_oauth:
                gr.LoginButton(visible=False)  # with it, Gradio has the routes to sign in
                demo.load(page.show_account, None, gr.HTML("", elem_id="account"))
            chat = LlamaChatInterface(page, fields)
            guide = gr.HTML(html.render("guide"), elem_id="guide", apply_default_css=False)
            layout.render_compare(tabs, chat)
            details = layout.render_server_panel(page, fields)
        layout.connect_checks(tabs, fields)
        layout.connect_code(tabs, chat, code)
        layout.render_files(tabs, chat)
        demo.load(None, js="page.init")
        layout.connect_arrival(demo, page, chat, [status, details, guide])
    for event in demo.fns.values():  # other programs can call /chat alone
        event.show_progress = "hidden"
        # On a button, which shows none: by default, each update of a reply makes Gradio update every component.
        event.show_progress_on = [chat.fake_api_btn]
        event.api_visibility = "public" if event.api_name == "chat" else "private"
    return demo


def create_app(settings: Settings, connection: Connection, turns: Turns) -> FastAPI:
    """The page and the routes for operators, with the security middleware in front."""
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)  # summarizing with pandas after each event, unused
    demo = build(settings, connection, turns)
    demo.state_session_capacity = PROGRAM_SESSIONS
    demo.max_threads = EVENTS_PER_VISITOR * settings.max_visitors + 100  # read by `queue`: concurrent events
    # `api_open`: a reply that does not go through the queue cannot be stopped. `max_size`: 1 on ZeroGPU by default.
    demo.queue(api_open=False, default_concurrency_limit=None, max_size=10 * demo.max_threads)
    demo.max_threads = 40  # Gradio's default; read at startup: threads
    demo.has_launched = True  # otherwise Gradio hands out any local file that a caller names (`_check_allowed`)
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    gradio_patches.apply(demo, identity.head(TITLE, style))
    limits: dict[str, object] = {"chars": settings.max_message_chars, "images": MAX_IMAGES, "samples": MAX_SAMPLES}
    limits |= {"json": MAX_JSON_CHARS, "reserved": SENT_BY_THE_APP}
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.js")))
    labels = json.dumps({name: option_label(name) for name in SETTINGS})
    script = f"const LIMITS = {json.dumps(limits)};\nconst LABELS = {labels};\n{scripts}"
    security = Middleware(SecurityMiddleware, settings=settings, turns=turns, script=script)
    middleware = [security, *([] if settings.logins else [Middleware(PageCache)])]
    routes = [*health.routes(connection, turns), *identity.routes(TITLE, settings), *renderer.routes()]
    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        demo,
        path="/",
        app_kwargs={"middleware": middleware, "routes": routes},
        auth=Logins(settings.logins).check if settings.logins else None,
        auth_message="After several wrong passwords wait a minute." if settings.logins else None,
        favicon_path=str(identity.FAVICON),
        footer_links=["api"],  # style.css hides it, and the menu presses it
        head=f"<script>{script}</script>",
        max_file_size=MAX_UPLOAD,
        pwa=True,
        run_history=False,  # a public list of what visitors sent
        show_error=False,
        ssr_mode=False,
        theme=layout.THEME,
    )
    return app
