"""Gradio's scripts, edited as they are served: what models and people write is shown as written, and is not lost.

Until Gradio 6.31 has parameters for it. An edit replaces a text that occurs once in a script. Where one does not apply,
as in another version of Gradio, the script is served as it is.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

log = logging.getLogger(__name__)
ASSETS = Path(gr.__file__).parent / "templates/frontend/assets"
EXTENSION = Path(__file__).with_name("static") / "renderer.mjs"  # in front of the Markdown renderer
# Scripts without spaces between words, and full-width punctuation, in JavaScript's regular expressions.
WRITING_SYSTEMS = ("Han", "Hira", "Kana", "Hang", "Bopo", "Thai", "Laoo", "Khmr", "Mymr")
CJK = "".join(rf"\p{{scx={script}}}" for script in WRITING_SYSTEMS)
WIDE = r"\u2014\u2018\u2019\u201c\u201d\u2026\u3001-\u303f\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
CJK_IN_TEMPLATE, WIDE_IN_TEMPLATE = (text.replace("\\", "\\\\") for text in (CJK, WIDE))
TEXT = "e.trimEnd().replace(/&/g,'&amp;').replace(/</g,'&lt;')"


@dataclass(frozen=True)
class Script:
    """One of Gradio's scripts. `marker`: a text that no other script has; `effect`: what is lost without the edits."""

    marker: str
    effect: str
    edits: dict[str, str]
    prefix: str = ""

    def edit(self, text: str) -> str:
        """The script with all edits; unchanged, with a warning, if one of them finds no place or several."""
        edited = text
        for old, new in self.edits.items():
            if edited.count(old) != 1:
                log.warning("This version of Gradio has another %r in its page: %s.", old, self.effect)
                return text
            edited = edited.replace(old, new)
        return self.prefix + edited


MARKDOWN = Script(
    "LATEX_BLOCK",
    "formulas, diagrams, tags, very long messages, and emphasis in Chinese may not be shown as they were written",
    {
        # What is not Markdown, and what would take too long, is shown as written.
        "if(!h())return{context:t,blocks:[{key:e,render:async()=>j(e,e)}]}": "if(!h()||renderer.isTooMuch(e))"
        "return{context:t,blocks:renderer.asWritten(e).map(e=>({key:e,render:async()=>j(e,``)}))}",
        "try{n=await re(e,t)}catch(e){console.error(e),n=!0}": "try{n=await re(e,t)}"
        "catch(r){console.error(r),n=!renderer.giveUp(e)}",
        "for(c.lastIndex=0,t=t.slice(-1*e.length+n);(r=c.exec(t))!=null;)": "for(c.lastIndex=0,"
        "t=t.slice(-1*e.length+n);!renderer.isTired()&&(r=c.exec(t))!=null;)",
        # Gradio drops tags of `Array<Object>`, at times with all text that follows (gradio issues 7198 and 10438).
        # Tried: `allow_tags` and `sanitize_html`, which drop or render tags. Marked has a hook for HTML tokens.
        "={code(e,t,n){let r=(t??``)": f"={{html(e){{return '<span class=\"as-written\">'+{TEXT}+'</span>'}},"
        'listitem(e,t){return `<li`+(t?` class="task"`:``)+`>${e}</li>\n`},'
        "code(e,t,n){e=renderer.code(e);let r=(t??``)",
        # Only two tildes strike through.
        "del:/^(~~?)(?=": "del:/^(~~)(?=",
        # A bare link ends at full-width punctuation, and its host at the first character that is not ASCII.
        r"(?:[a-zA-Z0-9\-]+\.?)+[^\s<]*|^email/": rf"(?:[a-zA-Z0-9\-]+\.?)+(?:[!-;=-~][^\s<{WIDE}]*)?|^email/",
        # Emphasis next to full-width punctuation, and to scripts without spaces between words (group 7).
        r"|(?!\\*)[punct\\s](\\*+)(?=[^punct\\s])|": rf"|(?:\\s|(?!\\*|[{WIDE_IN_TEMPLATE}])[punct]"
        rf"(?<![{CJK_IN_TEMPLATE}].)(?!\\*+[{CJK_IN_TEMPLATE}]))(\\*+)(?=[^punct\\s])|",
        r"|[^punct\\s](\\*+)(?=[^punct\\s])`": r"|[^punct\\s](\\*+)(?=[^punct\\s])"
        rf"|(?:[{WIDE_IN_TEMPLATE}]|(?!\\*)[punct](?:(?<=[{CJK_IN_TEMPLATE}].)|(?=\\*+[{CJK_IN_TEMPLATE}])))(\\*+)(?=[^punct\\s])`",
        "i=r[1]||r[2]||r[3]||r[4]||r[5]||r[6]": "i=r[1]||r[2]||r[3]||r[4]||r[5]||r[6]||r[7]",
        "r[3]||r[4]){o+=a;continue}": "r[3]||r[4]||r[7]&&n%3&&a!=4&&!((n+a)%3)){o+=a;continue}",
        "||!n||this.rules.inline.punctuation.exec(n)": "||!n||this.rules.inline.punctuation.exec(n)"
        f"||r[1]&&(/[{CJK}]/u.test(n)||/[{WIDE}]/.test(r[1]))",
        # Formulas. Tried: `latex_delimiters`, which finds `$` in prices, and formulas in code. Gradio reads its list
        # for each message in each frame of a reply; the long one of environments is in renderer.mjs.
        "let n=[],r=e;m().forEach(e=>{let t=M(e.left),i=M(e.right),a=RegExp(`${t}([\\\\s\\\\S]+?)${i}`,`g`);"
        "r=r.replace(a,e=>(n.push(e),`%%%LATEX_BLOCK_${n.length-1}%%%`))});": "let[r,n]=renderer.hideMath(e);",
        r"e.replace(/%%%LATEX_BLOCK_(\d+)%%%/g,(e,r)=>t(n[parseInt(r,10)]))": r"renderer.tabs(e).replace("
        r"/\uFDD0(\d+)\uFDD1|\uFDD1(\d+)\uFDD0/g,(e,r,i)=>n[r??i]?t(n[r??i]):e)",
        # These stay as written where there is no formula, as in `\[\d+\]`.
        r"""me=/^\\([!"#$%&'()*+,\-./:;<=>?@\[\]\\^_`{|}~])/""": r"""me=/^\\([!"#$%&'*+,\-./:;<=>?@\\^_`{}~])/""",
        "escape:w(me).replace(`])`,`~|])`)": "escape:w(me).replace(`])`,`~])`)",
        "if(ie(t))try{": "if(n.querySelector(`.formula`))try{",
        "e(n,{delimiters:m(),throwOnError:!1})": "await renderer.renderMath(e,n)",
        "extensions:[i,a]": "extensions:renderer.extensions",
        # Diagrams.
        "securityLevel:`antiscript`": "securityLevel:`strict`,suppressErrorRendering:!0,maxEdges:50",
        "await t.run({nodes:e.map(e=>e)})": "await t.run({nodes:e,suppressErrors:!0}),renderer.showSources(e)",
        # The box of a task, in a list with blank lines, stands in front of any text.
        "a?n.tokens.length>0&&n.tokens[0].type===`paragraph`?(n.tokens[0].text=e+` `+n.tokens[0].text,"
        "n.tokens[0].tokens&&n.tokens[0].tokens.length>0&&n.tokens[0].tokens[0].type===`text`"
        "&&(n.tokens[0].tokens[0].text=e+` `+n.tokens[0].tokens[0].text))"
        ":n.tokens.unshift({type:`text`,text:e+` `}):s+=e+` `": "a&&n.tokens[0]?.tokens"
        "?n.tokens[0].tokens.unshift({type:`text`,text:e+` `}):s+=e+` `",
        # A reference's definition is one only if it has an address: "[Note]: important" is prose.
        "let t=this.rules.block.def.exec(e);if(t){": "let t=this.rules.block.def.exec(e);"
        r"if(t&&/^<?(?:[a-z][a-z+.-]*:|[\/#.]|[\w-]+\.\w)/i.test(t[2])){",
    },
    EXTENSION.read_text(encoding="utf-8"),
)
CHATBOT = Script(
    "get display_consecutive_in_same_bubble",
    "what visitors type may not be shown as they typed it",
    {
        "get render_markdown(){return t.render_markdown}": "get render_markdown(){return t.render_markdown"
        "&&t.message.role!==`user`}",
        "content:xe(t.text,n)": "content:t.text",  # which rewrites `src="/file`
    },
)
SANITIZER = Script(
    '"sanitizeFor" is not implemented',
    "links in replies lack rel=nofollow",
    {"noopener noreferrer": "noopener noreferrer nofollow"},
)
BLOCKS = Script(
    "on_connection_lost_cb",
    "a reply whose connection was lost is lost, too",
    {
        # The event fails, as it does after other errors. Gradio stops all events, and reloads the page once the server
        # answers. Tried: `failure`, which does not happen then. The stream is opened again by the next event.
        "if(s.broken||s.session_not_found){": "if(s.broken)this.client.stream_status.open=!1;"
        "else if(s.session_not_found){",
    },
)
SCRIPTS = (MARKDOWN, CHATBOT, SANITIZER, BLOCKS)


def edited_scripts() -> dict[str, str]:
    """Gradio's scripts with the edits: text by file name."""
    found: dict[str, list[Path]] = {script.marker: [] for script in SCRIPTS}
    for path in ASSETS.glob("*.js"):
        content = path.read_bytes()
        for marker, paths in found.items():
            if marker.encode() in content:
                paths.append(path)
    scripts = {}
    for script in SCRIPTS:
        match found[script.marker]:
            case [path]:
                scripts[path.name] = script.edit(path.read_bytes().decode())
            case _:
                log.warning("This version of Gradio has no script with %r: %s.", script.marker, script.effect)
    return scripts


def routes() -> list[Route]:
    """Routes in front of Gradio's static files. A browser asks each time whether a script has changed."""
    return [_route(name, text) for name, text in edited_scripts().items()]


def _route(name: str, text: str) -> Route:
    headers = {"etag": f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"', "cache-control": "no-cache"}

    async def serve(request: Request) -> Response:  # another response each time: middleware changes its headers
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(text, media_type="text/javascript", headers=headers)

    return Route(f"/assets/{name}", serve)
