"""The chat page: what it is put together from, and how it is served."""

import json
import os
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.tunneling import CURRENT_TUNNELS
from starlette.middleware import Middleware

from llama_ui.core.images import MAX_IMAGES
from llama_ui.hosting import health, uploads
from llama_ui.hosting.logins import Logins
from llama_ui.hosting.security import SecurityMiddleware
from llama_ui.hosting.turns import Turns
from llama_ui.llama_stack.connection import Connection
from llama_ui.settings import Settings
from llama_ui.web import gradio_patches, html, layout
from llama_ui.web.chat_interface import PRIVATE, RAW, LlamaChatInterface
from llama_ui.web.handlers import Handlers
from llama_ui.web.tab_handlers import TabHandlers

# What may be uploaded at all. More than an attachment may have, so that one that is too large is told of in the page.
MAX_UPLOAD = "25mb"
# Gradio's limit on what is under way in the whole app, its lookups and those who wait in line included: 40 by default.
EVENTS_PER_VISITOR = 10
# Whose conversations are kept, between two of their messages; the page's are in the browser.
PROGRAMS = 500
TITLE = "Llama Stack Chat"
QUIET: dict[str, Any] = PRIVATE | {"concurrency_limit": None}
STATIC = Path(__file__).with_name("static")
SCRIPTS = ("chat.js", "conversations.js", "timings.js")


def build(settings: Settings, connection: Connection, turns: Turns) -> gr.Blocks:
    """The page. What it shows of the server comes from `connection`, for every visitor anew."""
    uploads.folder()  # where Gradio is to put them, before it looks for another place
    page = Handlers(settings, connection, turns)
    demo = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(uploads.SWEEP_INTERVAL, uploads.MAX_AGE))
    with demo:
        gr.Markdown(f"# 🦙 {TITLE}", elem_id="title")
        status = gr.HTML(html.status("wait", "Connecting…"), elem_id="status")
        with gr.Accordion("Check the connection", open=False, elem_id="details") as details:
            findings = gr.HTML("", elem_id="findings")
        with gr.Row(elem_id="main"):  # laid out by style.css: on a narrow page the chat comes right after the prompt
            with gr.Column(elem_id="prompt"):
                system_prompt = layout.render_system_prompt(settings)
            with gr.Column(elem_id="settings"):
                model, refresh, options = layout.render_model(settings)
            with gr.Column(elem_id="kept"):
                shelf = layout.render_shelf()
            entered = [system_prompt, model, *options]
            with gr.Column(elem_id="chat"), gr.Tabs(elem_id="tabs"):
                with gr.Tab("Chat"):
                    chat, complaint = _chat(page, entered)
                code = layout.render_code()
                with gr.Tab("Time") as time:
                    took = gr.HTML("", elem_id="took")
                compare = layout.render_compare()
        details.expand(page.check, [model], [findings], **QUIET)
        refresh.click(page.watch, [model], [status, model], **QUIET)
        time.select(None, chat.chatbot, took, js="timings", **PRIVATE)
        conversation = [chat.chatbot, *entered]
        tabs = TabHandlers(settings, connection, turns)
        _wire_shelf(shelf, tabs, chat, entered)
        _wire_compare(compare, tabs, conversation)
        code.tab.select(tabs.code, conversation, code.outputs, **QUIET | {"preprocess": False})
        demo.load(None, js="chat.begin", **PRIVATE)
        restored = demo.load(None, None, conversation, js="conversations.begin", **PRIVATE)
        filled = [status, model, system_prompt, *options, chat.textbox, complaint]
        restored.then(page.arrive, [model, shelf.file], filled, js="conversations.arrive", **QUIET)
    gradio_patches.mend(demo)
    return demo


def _chat(page: Handlers, entered: list[Any]) -> tuple[LlamaChatInterface, gr.HTML]:
    complaint = gr.HTML("", elem_id="complaint", render=False)
    chat = LlamaChatInterface(
        page,
        additional_inputs=entered,
        examples=[[{"text": text}] for text in layout.EXAMPLES],
        cache_examples=False,  # a Space would ask the model while it is built
        chatbot=layout.chatbot(),
        textbox=layout.message_box(),
        editable=True,
        complaint=complaint,
        api_name="chat",
        api_description="Streams a reply. The message is a text, or one with files: pictures and text "
        "files. Options that are left out are not sent to the server.",
        analytics_enabled=False,
    )
    complaint.render()
    return chat, complaint


def _wire_shelf(shelf: layout.Shelf, tabs: TabHandlers, chat: LlamaChatInterface, entered: list[Any]) -> None:
    conversation = [chat.chatbot, *entered]
    shelf.restore.click(None, None, conversation, js="conversations.restored", **PRIVATE)
    shelf.fresh.click(None, js="conversations.fresh", **PRIVATE)
    shelf.link.click(None, [chat.chatbot, chat.textbox, *entered], js="conversations.link", **PRIVATE)
    for button, function in ((shelf.json, "conversations.json"), (shelf.markdown, "conversations.markdown")):
        exported = button.click(tabs.exported, [shelf.file, *conversation], shelf.file, js=function, **RAW)
        exported.success(None, shelf.file, js="conversations.download", **PRIVATE)
        exported.failure(None, js="conversations.failed", **PRIVATE)
    imported = shelf.upload.upload(tabs.imported, shelf.upload, shelf.file, **RAW)
    imported.success(None, shelf.file, js="conversations.imported", **PRIVATE)
    imported.failure(None, js="conversations.failed", **PRIVATE)


def _wire_compare(compare: layout.CompareTab, tabs: TabHandlers, conversation: list[Any]) -> None:
    raw = RAW | {"concurrency_limit": None}
    compare.tab.select(tabs.second_models, None, compare.second, **QUIET)
    replayed = compare.replay.click(tabs.replay, conversation, compare.shown, **raw)
    both = compare.ask_both.click(tabs.ask_both, [compare.message, compare.second, *conversation], compare.shown, **raw)
    compare.stop.click(None, cancels=[replayed, both], **PRIVATE)


def launch(demo: gr.Blocks, settings: Settings, connection: Connection, turns: Turns) -> str:
    """Serves the page in the background. Returns its address. Raises OSError with a sentence where it cannot listen."""
    script = _script(settings)
    gate = Middleware(SecurityMiddleware, settings=settings, turns=turns, script=script)
    os.environ["FORWARDED_ALLOW_IPS"] = settings.trusted_proxies  # read by uvicorn, which believes this machine else
    gradio_patches.expect_slow_clients()
    try:
        app, url, _ = demo.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=settings.share,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=MAX_UPLOAD,
            max_threads=EVENTS_PER_VISITOR * settings.max_visitors + 100,
            show_error=False,
            state_session_capacity=PROGRAMS,
            run_history=False,  # it would list what visitors sent
            ssr_mode=False,
            footer_links=["api", "settings"],
            theme=layout.theme(),
            head=f"<script>{script}</script>",
            auth=Logins(settings.logins).check if settings.logins else None,  # type: ignore[arg-type] # it is awaited
            auth_message="After several wrong passwords wait a minute." if settings.logins else None,
            app_kwargs={"middleware": [gate], "routes": health.routes(connection, turns)},
            css=(STATIC / "style.css").read_text(),
        )
    except OSError as error:
        if settings.port is None:
            raise OSError("no free port was found from 7860 on; choose one with --port.") from error
        raise OSError(
            f"port {settings.port} on {settings.host} is in use or cannot be listened on; "
            "choose another with --port (GRADIO_SERVER_PORT)."
        ) from error
    gradio_patches.after_launch(demo, app)
    return url


def _script(settings: Settings) -> str:
    limits = json.dumps({"chars": settings.max_message_chars, "images": MAX_IMAGES})
    scripts = [(STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return f"const LIMITS = {limits};\n{'\n'.join(scripts)}"


def close_tunnels() -> None:
    """Ends the child processes behind public links."""
    for tunnel in CURRENT_TUNNELS:
        tunnel.kill()
