"""The components of the page, with their texts. `templates/` has what is plain HTML; style.css arranges it all."""

from functools import partial
from typing import Any

import gradio as gr

from llama_ui.core.messages import REASONING_EFFORTS, option_label
from llama_ui.local_stack.catalog import BETTER_MODELS
from llama_ui.settings import Settings
from llama_ui.web import html
from llama_ui.web.chat_interface import RAW, LlamaChatInterface, make_chatbot
from llama_ui.web.handlers import Handlers
from llama_ui.web.tab_handlers import TabHandlers

type Field = gr.Textbox | gr.Dropdown
# Fonts that every system has: a web font would be requested from another server.
FONTS, MONO = ["ui-sans-serif", "system-ui", "sans-serif"], ["ui-monospace", "Consolas", "monospace"]
# Of each colour, the one of the light page and the one of the dark page.
_COLOURS = {
    "body_background_fill": ("#ffffff", "#1a1917"),
    "body_text_color": ("#1c1917", "#f1efec"),
    "body_text_color_subdued": ("#5f5a55", "#b0aaa4"),
    "background_fill_primary": ("#ffffff", "#1a1917"),
    "background_fill_secondary": ("#f5f4f2", "#262422"),
    "border_color_primary": ("#e3e0dc", "#3b3835"),
    "border_color_accent": ("#0f766e", "#5eead4"),
    "color_accent_soft": ("#f1efec", "#2b2926"),
    "link_text_color": ("#0f766e", "#5eead4"),
    "link_text_color_visited": ("#0f766e", "#5eead4"),
    "link_text_color_hover": ("#115e59", "#99f6e4"),
    "block_background_fill": ("transparent", "transparent"),
    "block_border_width": ("0px", "0px"),
    "block_info_text_color": ("*body_text_color_subdued", "*body_text_color_subdued"),
    "block_label_text_color": ("*body_text_color", "*body_text_color"),
    "block_shadow": ("none", "none"),
    "block_title_text_color": ("*body_text_color", "*body_text_color"),
    "input_background_fill": ("#ffffff", "#262422"),
    "input_border_color": ("#8f8983", "#7d7771"),
    "input_border_width": ("1px", "1px"),
    "input_placeholder_color": ("#6d6762", "#a39d97"),
    "button_primary_background_fill": ("#0f766e", "#5eead4"),
    "button_primary_background_fill_hover": ("#115e59", "#99f6e4"),
    "button_primary_text_color": ("#ffffff", "#134e4a"),
    "button_secondary_background_fill": ("#f1efec", "#2f2c2a"),
    "button_secondary_background_fill_hover": ("#e7e4e0", "#3b3835"),
}
THEME = gr.themes.Base(primary_hue="teal", neutral_hue="stone", font=FONTS, font_mono=MONO).set(
    color_accent="#0f766e",
    block_padding="0px",
    block_title_text_size="*text_sm",
    block_title_text_weight="500",
    chatbot_text_size="16px",
    layout_gap="12px",
    error_text_color_dark="#fca5a5",
    **{name: light for name, (light, _) in _COLOURS.items()},
    **{f"{name}_dark": dark for name, (_, dark) in _COLOURS.items()},
)


def render_header() -> gr.HTML:
    """What is above the conversation. Returns the server's state."""
    with gr.Row(elem_id="header"):
        gr.HTML(html.render("header"), apply_default_css=False)
        status = _html("status", html.render("server_status", state="wait", title="Connecting…"))
        gr.HTML(html.render("header_end"), apply_default_css=False)
    return status


def render_inspect(settings: Settings) -> tuple[list[Field], list[gr.HTML]]:
    """The panel at the right. Returns the settings in the order of `SETTINGS`, and the forms of the code."""
    gr.HTML(html.render("inspect"), apply_default_css=False)
    with gr.Tabs():
        with gr.Tab("Settings"):
            fields = _render_settings(settings)
        with gr.Tab("Code", render_children=True):
            code = _render_code()
        with gr.Tab("Time", render_children=True):
            gr.HTML(html.render("times"), apply_default_css=False)
    return fields, code


def _render_settings(settings: Settings) -> list[Field]:
    """The system prompt with its presets, the model and the sampling options, in the order of `SETTINGS`."""
    system_prompt = gr.Textbox(
        settings.system_prompt,
        label="System prompt",
        placeholder="No system prompt",
        lines=4,
        max_lines=12,
        elem_id="system-prompt",
    )
    gr.HTML(html.render("presets"), apply_default_css=False)
    model = gr.Textbox(settings.model, label="Model", visible="hidden")  # the header has a picker for it
    with gr.Row(elem_classes="pairs"):
        # Text boxes, because an empty number box sends 0 (Gradio 6.31).
        sampling = [_render_option(name) for name in ("temperature", "top_p", "max_tokens", "seed")]
    effort = gr.Dropdown(
        [("Server default", ""), *REASONING_EFFORTS], label="Reasoning effort", info="Reasoning models only"
    )
    streaming = gr.Dropdown([("On", ""), ("Off", "off")], value="", label="Streaming")
    with gr.Accordion("Request", open=False, elem_id="request"):
        request = _render_request()
    gr.HTML('<p class="hint" id="lacks" role="status"></p>', apply_default_css=False)
    fields: list[Field] = [system_prompt, model, *sampling, effort, streaming, *request]
    gr.on([field.change for field in fields], None, fields, None, js="form.onChange")
    blank = [settings.system_prompt, gr.skip(), *[""] * len(fields[2:])]
    _hidden("reset").click(lambda: blank, None, fields, queue=False)
    return fields


def _render_request() -> list[Field]:
    """What else a request can have, in the order of `SETTINGS`."""
    schema = _render_option("response_format", "None", lines=2, max_lines=12)
    gr.HTML(html.render("schemas"), apply_default_css=False)
    probabilities = gr.Dropdown([("Off", ""), ("On", "5")], value="", label=option_label("top_logprobs"))
    with gr.Row(elem_classes="pairs"):
        samples = _render_option("n", "1")
        stop = _render_option("stop", "One in each line", lines=1, max_lines=4)
        penalties = [_render_option("frequency_penalty"), _render_option("presence_penalty")]
    choices = [("Server default", ""), ("On", "on"), ("Off", "off")]
    thinking = gr.Dropdown(choices, value="", label="Thinking", info="Reasoning models only")
    extra = _render_option("extra_body", '{"top_k": 40}', lines=1, max_lines=12)
    examples = gr.Textbox(label="Examples", visible="hidden", elem_id="field-examples", lines=2)
    gr.HTML(html.render("examples"), apply_default_css=False)
    return [schema, probabilities, samples, stop, *penalties, thinking, extra, examples]


def _render_option(name: str, placeholder: str = "Server default", lines: int = 1, max_lines: int = 1) -> gr.Textbox:
    """An option, and the place for what is wrong with it."""
    with gr.Column(min_width=160):  # two in a row
        label, elem_id = option_label(name), f"field-{name}"
        option = gr.Textbox(label=label, placeholder=placeholder, lines=lines, max_lines=max_lines, elem_id=elem_id)
        gr.HTML(f'<p class="problem" id="problem-{name}" role="alert"></p>', apply_default_css=False)
    return option


def _render_code() -> list[gr.HTML]:
    """The code of a request in three forms, links to its images, and the caption above."""
    caption = _html("code-caption")
    with gr.Tabs(elem_id="code"):
        forms = [_render_form(label) for label in ("Python", "curl", "JSON")]
    return [*forms, _html("code-pictures"), caption]


def _render_form(label: str) -> gr.HTML:
    with gr.Tab(label, render_children=True):
        form = _html(f"code-{label.lower()}")
        if label == "JSON":
            gr.HTML(html.render("came_back"), apply_default_css=False)
        return form


def connect_checks(tabs: TabHandlers, fields: list[Field]) -> None:
    """Shows at the settings what the app finds wrong with them."""
    problems = gr.JSON(visible=False)
    check = _hidden("check-settings")
    checked = check.click(
        tabs.check_settings, fields, problems, js="form.beginCheck", trigger_mode="always_last", **RAW
    )
    checked.success(None, problems, None, js="form.onChecked")


def connect_code(tabs: TabHandlers, chat: LlamaChatInterface, code: list[gr.HTML]) -> None:
    """Shows the code of a request when inspect.js asks for it."""
    subject = gr.JSON(visible=False)
    _hidden("show-code").click(
        tabs.code,
        [subject, chat.textbox, *chat.conversation],
        code,
        js="inspect.requestCode",
        trigger_mode="always_last",
        **RAW,
    )


def render_compare(tabs: TabHandlers, chat: LlamaChatInterface) -> None:
    """A second answer beside the first, and the whole conversation answered again."""
    with gr.Column(elem_id="compare"):
        gr.HTML(html.render("compare"), apply_default_css=False)
        with gr.Row(elem_id="compared"):
            first = make_chatbot("First answer", elem_id="first-answer", buttons=["copy"])
            with gr.Column():
                second = make_chatbot("Second answer", elem_id="second-answer", buttons=["copy"])
                gr.HTML(html.render("keep"), apply_default_css=False)
        chat.samples.render()
        differences = _html("differences")
    form = gr.JSON(visible=False)
    both = [first, second]
    started = _hidden("compare-run").click(None, chat.conversation, [form, *both, differences], js="compare.start")
    answered = started.success(chat.reply_again, [form], second, **RAW)
    answered.then(None, second, None, js="compare.onEnd")
    _hidden("compare-words").click(tabs.differences, both, differences, **RAW)
    replayed = _hidden("replay").click(tabs.replay, chat.conversation, differences, js="compare.startReplay", **RAW)
    replayed.then(None, second, None, js="compare.onEnd")
    for event in (answered, replayed):
        event.failure(None, second, second, js="compare.onLost")
    _hidden("stop-compare").click(None, second, second, js="compare.onStop", cancels=[answered, replayed])
    _hidden("keep").click(None, [second, *chat.conversation], chat.chatbot, js="compare.keep")


def render_server_panel(page: Handlers, fields: list[Field]) -> gr.HTML:
    """What the server is, and the connection check."""
    with gr.Column(elem_id="server-panel"):
        details = _html("server-details")
        download = _html("download")
        check = gr.Button("Check the connection", size="sm", elem_id="check")
        results = _html("check-results")
    model = fields[1]
    check.click(page.check, [model], [results])
    uses: list[Any] = [
        _hidden(f"use-{name}").click(partial(page.use_local_model, name), None, download) for name in BETTER_MODELS
    ]
    for used in uses:
        used.success(None, None, model, js="picker.onLocalModel")  # of which the new server knows nothing
    _hidden("cancel-model").click(None, None, download, js="() => ''", cancels=uses)
    return details


def connect_arrival(demo: gr.Blocks, page: Handlers, chat: LlamaChatInterface, server: list[gr.HTML]) -> None:
    """What a new page shows: the conversation that its tab had, the server, and what its link fills in."""
    query = gr.JSON(visible=False)  # of a share link
    inputs = [chat.additional_inputs[1], query]
    outputs = [*server, *chat.additional_inputs, chat.textbox, chat.message_error]
    _hidden("refresh").click(page.arrive, inputs, outputs)
    box = chat.textbox
    _hidden("restore").click(None, box, [*chat.conversation, box], js="conversations.fill")
    restored = demo.load(None, None, [*chat.conversation, chat.textbox], js="conversations.restoreTab")
    restored.then(page.arrive, inputs, outputs, js="conversations.linkQuery")


def render_files(tabs: TabHandlers, chat: LlamaChatInterface) -> None:
    """Links, export and import. The page's menu presses these buttons."""
    file = gr.JSON(visible=False)
    _hidden("copy-link").click(
        None, [chat.chatbot, chat.textbox, *chat.additional_inputs], None, js="conversations.copyLink"
    )
    upload = gr.UploadButton("Import", visible="hidden", file_types=[".json"], elem_id="import")
    events = [upload.upload(tabs.import_file, upload, file, **RAW)]
    for name, kind in (("export-markdown", "Markdown"), ("export-json", "Json"), ("copy-conversation", "Markdown")):
        inputs = [file, *chat.conversation]
        events.append(_hidden(name).click(tabs.export_file, inputs, file, js=f"conversations.export{kind}", **RAW))
    for event, function in zip(events, ("showImport", "download", "download", "copyText"), strict=True):
        event.success(None, file, js=f"conversations.{function}")
        event.failure(None, js="conversations.onFileError")


def _html(name: str, content: str = "") -> gr.HTML:
    """HTML of our own, without Gradio's style for it."""
    return gr.HTML(content, elem_id=name, apply_default_css=False)


def _hidden(name: str) -> gr.Button:
    """A button that the page's own HTML and scripts press, to have Gradio pass them the values of components."""
    return gr.Button(visible="hidden", elem_id=name)
