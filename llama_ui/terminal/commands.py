"""The commands of the terminal chat, such as /model and /save."""

from dataclasses import replace
from pathlib import Path

from llama_ui.core.conversation import SAMPLING, ChatSettings, Conversation
from llama_ui.core.errors import InputError
from llama_ui.core.messages import option_label, validate_text
from llama_ui.core.stats import format_stats
from llama_ui.core.text import as_code
from llama_ui.llama_stack.models import same_model, unknown_model
from llama_ui.terminal.session import Session

HELP = """\
/system [TEXT]  show the system prompt, or set it; "/system -" clears it
/model [ID]     show the model, or choose another
/models         list the models
/settings       show the sampling options that are set
/set NAME VALUE set one, such as temperature, seed or stop; "/set NAME -" clears it
/clear          clear the conversation
/save FILE      save the conversation: as JSON to a .json file, else as Markdown
/code           show the last request as Python
/help           show this help
exit, quit, bye or Ctrl+D exits; Ctrl+C stops a reply and keeps what has arrived.
To send a line that starts with a slash, start it with two."""
COMMANDS = [row.split()[0] for row in HELP.splitlines() if row.startswith("/")]


async def execute(session: Session, line: str) -> None:
    """Runs a command, or sends the line as a message. Raises `ChatError`."""
    text = line.strip()
    one_line = "\n" not in text  # pasted lines are a message, whatever they start with
    if one_line and text.startswith("/") and not text.startswith("//"):
        name, argument = (*text.split(maxsplit=1), "")[:2]
        await _run(session, name, argument)
    elif text:
        reply = await session.send(text[1:] if one_line and text.startswith("//") else line)
        session.output.print_status(format_stats(reply.stats))


async def _run(session: Session, name: str, argument: str) -> None:
    show = session.output.print_status
    match name:
        case "/models" | "/settings" | "/clear" | "/code" | "/help" if argument:
            raise InputError(f"{name} takes no argument.", "To send it as a message, start it with two slashes.")
        case "/system":
            if argument:
                validate_text("system prompt", argument, session.settings.max_message_chars)
                prompt = "" if argument == "-" else argument
                session.conversation = replace(session.conversation, system_prompt=prompt)
            prompt = session.conversation.system_prompt
            show(f"System prompt: {prompt}" if prompt.strip() else "No system prompt.")
        case "/model":
            models = await session.list_models()
            listed = same_model(argument, models)
            if argument and models and not listed:
                raise unknown_model(argument, models)
            session.model = listed or argument or session.model
            show(f"Model: {await session.resolve_model()}")
        case "/models":
            models = await session.list_models()
            current = await session.resolve_model()
            lines = [f"{'*' if model == current else ' '} {model}" for model in models]
            show("\n".join(lines) or "The server lists no chat model.")
        case "/settings":
            set_ = {name: text for name, text in _options(session).items() if text}
            show("\n".join(f"{name}: {text}" for name, text in set_.items()) or "No option is set.")
        case "/set":
            _set(session, *(*argument.split(maxsplit=1), "", "")[:2])
        case "/clear":
            session.conversation = Conversation(session.conversation.system_prompt)
            show("Conversation cleared.")
        case "/save":
            _save(session, argument.strip("\"'"))
        case "/code":
            await _code(session)
        case "/help":
            show(HELP)
        case _:
            raise InputError(f"There is no command {as_code(name, 40)}.", "/help lists them.")


def _options(session: Session) -> dict[str, str]:
    """The sampling options as texts, by their names."""
    texts = ChatSettings(options=session.options).texts()
    return {name: texts[name] for name in SAMPLING}


def _set(session: Session, name: str, value: str) -> None:
    if name not in SAMPLING:
        raise InputError(f"There is no option {as_code(name, 40)}.", f"The options are {', '.join(SAMPLING)}.")
    if not value:
        raise InputError("The value is missing.", f"Enter it after /set {name}, or - to clear the option.")
    options = ChatSettings.from_texts(_options(session) | {name: "" if value == "-" else value}).options
    if options.response_format:
        from llama_ui.workbench.schema import check_schema  # imports jsonschema, which takes 0.1 s

        check_schema(options)
    session.options = options
    session.output.print_status(f"{option_label(name)}: {_options(session)[name] or 'not set'}")


def _save(session: Session, name: str) -> None:
    from llama_ui.workbench import export

    if not name:
        raise InputError("The file name is missing.", "Enter it after /save.")
    if not session.conversation.turns:
        raise InputError("There is no conversation yet.", "Send a message first.")
    to_text = export.to_json if name.lower().endswith(".json") else export.to_markdown
    settings = session.conversation.turns[-1].request or ChatSettings()
    text = to_text(session.conversation, settings.texts())
    try:
        with Path(name).expanduser().open("x", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: "~" of an unknown user
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{as_code(name)} cannot be written: {reason}.", "Choose another name.") from error
    session.output.print_status(f"Saved as {name}")


async def _code(session: Session) -> None:
    from llama_ui.workbench import snippet

    sent = session.conversation.until_last_message()
    if not sent:
        raise InputError("Nothing has been sent yet.", "Send a message first.")
    request = sent.turns[-1].request or ChatSettings()
    messages = replace(sent, system_prompt=request.system_prompt).messages()
    client = await session.connection.client()
    identity = await client.discovery.identity(or_last=True)
    model = request.model or await session.resolve_model()
    code = snippet.code(client.base_url, identity.version, identity.dialect, model, messages, request.options)
    session.output.print_result(code.python)
