"""The components of the page, with their texts."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from llama_ui.core.messages import REASONING_EFFORTS
from llama_ui.settings import Settings
from llama_ui.web.chat_interface import RAW, LlamaChatInterface
from llama_ui.web.tab_handlers import TabHandlers

PRESETS = {
    "Friendly": "You are a friendly assistant.",
    "Shakespeare": "You are shakespeare.",
    "Explainer": "You are a friendly assistant that explains complex topics simply.",
}
# Fonts that every system has: a web font would be requested from another server.
FONTS, MONO = ["ui-sans-serif", "system-ui", "sans-serif"], ["ui-monospace", "Consolas", "monospace"]
REPLAY = (
    "**Replay** answers the messages of the conversation again, with the current settings: change the system prompt, "
    "the model or the sampling first. **Ask both** sends one message to two models."
)


def render_system_prompt(settings: Settings) -> gr.Textbox:
    system_prompt = gr.Textbox(
        settings.system_prompt, label="System prompt", placeholder="No system prompt", lines=2, max_lines=10
    )
    with gr.Row(elem_id="presets"):
        for label, prompt in PRESETS.items():
            # Only in the browser: no request, and no endpoint for programs.
            _button(label).click(None, None, system_prompt, js=f"() => {json.dumps(prompt)}")
    return system_prompt


def _button(label: str, **options: Any) -> gr.Button:
    return gr.Button(label, size="sm", min_width=60, **options)


def render_model(settings: Settings) -> tuple[gr.Dropdown, gr.Button, list[gr.Textbox | gr.Dropdown]]:
    model = gr.Dropdown(
        value=settings.model,
        label="Model",
        info="Search models or paste an ID",
        allow_custom_value=True,
        elem_id="model",
    )
    refresh = gr.Button("Refresh models", size="sm", elem_id="refresh")
    with gr.Accordion("Sampling", open=False), gr.Row():
        # Text boxes, because an empty number box sends 0 (Gradio 6.31).
        sampling = [
            gr.Textbox(label=label, placeholder="Server default", max_lines=1, min_width=110)
            for label in ("Temperature", "Top p", "Max tokens", "Seed")
        ]
    effort = gr.Dropdown(
        [("Server default", ""), *REASONING_EFFORTS], label="Reasoning effort", info="Reasoning models only"
    )
    streaming = gr.Dropdown([("On", ""), ("Off", "off")], value="", label="Streaming")
    return model, refresh, [*sampling, effort, streaming]


def render_conversation_list(tabs: TabHandlers, chat: LlamaChatInterface, fields: Sequence[Component]) -> None:
    """The list of saved conversations, and the actions on the current one."""
    conversation = [chat.chatbot, *fields]
    file = gr.JSON(visible=False)
    export: dict[str, Any] = {"fn": tabs.export_file, "inputs": [file, *conversation], "outputs": file}
    gr.HTML('<h2>Conversations</h2><ul id="chat-list"></ul>', elem_id="saved-chats")
    with gr.Row(elem_id="chat-actions"):
        _button("New").click(None, js="conversations.startNew")
        _button("Copy link").click(None, [chat.chatbot, chat.textbox, *fields], js="conversations.copyLink")
        upload = gr.UploadButton("Import", size="sm", min_width=60, file_types=[".json"])
        imported = upload.upload(tabs.import_file, upload, file, **RAW)
        markdown = _button("Export Markdown").click(**export, js="conversations.exportMarkdown", **RAW)
        exported = _button("Export JSON").click(**export, js="conversations.exportJson", **RAW)
        gr.Button(visible="hidden", elem_id="restore").click(None, None, conversation, js="conversations.fill")
    for event, function in ((imported, "showImport"), (markdown, "download"), (exported, "download")):
        event.success(None, file, js=f"conversations.{function}")
        event.failure(None, js="conversations.onFileError")


def render_code(tabs: TabHandlers, conversation: Sequence[Component]) -> None:
    """The request of the last turn as code."""
    with gr.Tab("View code", elem_id="code") as tab:
        with gr.Tabs():
            python, curl, body = _code("Python", "python"), _code("curl", "shell"), _code("JSON", "json")
        images = gr.HTML("", elem_id="code-pictures")
    tab.select(tabs.code, conversation, [python, curl, body, images], preprocess=False)


def _code(label: str, language: Literal["python", "shell", "json"]) -> gr.Code:
    with gr.Tab(label, render_children=True):
        return gr.Code(language=language, show_label=False, wrap_lines=True, elem_id=f"code-{label.lower()}")


def render_compare(tabs: TabHandlers, conversation: Sequence[Component]) -> None:
    """Two answers to the same messages, side by side."""
    with gr.Tab("Compare", elem_id="compare") as tab:
        gr.Markdown(REPLAY)
        with gr.Row(equal_height=True):
            message = gr.Textbox(
                label="Message to both", placeholder="Empty: the messages of the conversation", scale=3, min_width=250
            )
            second = gr.Dropdown(
                label="Second model", allow_custom_value=True, scale=2, min_width=200, elem_id="compare-second"
            )
        with gr.Row():
            replay = _button("Replay", variant="primary")
            ask_both = _button("Ask both", variant="primary")
            stop = _button("Stop", elem_id="compare-stop")
        result = gr.HTML("", elem_id="comparison")
    tab.select(tabs.second_models, None, second)
    replayed = replay.click(tabs.replay, conversation, result, **RAW)
    both = ask_both.click(tabs.ask_both, [message, second, *conversation], result, **RAW)
    stop.click(None, cancels=[replayed, both])
