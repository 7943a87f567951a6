/* In front of Gradio's Markdown renderer, marked 12 in an extension of its own, which renderer.py edits to call this. */
const renderer = (() => {
  const escapeHtml = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt()};`);
  const anyOf = (flags, ...patterns) => new RegExp(patterns.map(({source}) => source).join("|"), flags);
  const count = (text, pattern) => text.match(pattern)?.length ?? 0;

  /* A block of code: from its fence (group 1 or 2) to the same again, or to the end of the text. */
  const FENCED = /(?:(`{3,99})(?!`)[^`\n]*|(~{3,99})(?!~)[^\n]*)\n(?:(?:[^]*?\n)??[ \t>]*\1\2[`~]*[ \t]*$|[^]*)/;
  const CODE = new RegExp(`^${FENCED.source}`, "gm"); // and nothing else: what is in a list or a quotation may end with that
  /* What is shown as written. The time that marked takes grows with the square of the signs that it seeks an end of in a
     paragraph, and with the depth of nesting; a browser's with the lines, and with the length of one. */
  const OPENING = anyOf("gimu",
    /(?<![\p{L}\p{N}\\])[*~`$]+(?=\S)|_+/u, // emphasis, code, and formulas
    /!\[?|\[|<|\\[([]|https?:|www\.|@/, // pictures, links, tags, and formulas
    /^[ \t]*(?:[-+*>]|\d+[.)])[ \t]/, // items of lists, and quotations
  );
  const DEEP = anyOf("m",
    /^(?:[ \t]*(?:>|(?:[-+*]|\d+[.)])[ \t])){200}/, // 200 levels in one line
    /^[ \t]{400}/, // 200 levels of lists
    /[`~]{20}/, // fences of many lengths
    /^(?:[^|\n]*\|){1000}/, // 1,000 columns
  );
  const isTooMuch = (text) => {
    if (text === unreadable) return true;
    const prose = text.replace(CODE, "");
    if (prose.length < 400) return false;
    if (DEEP.test(prose) || prose.split(/\n[ \t]*\n/).some((paragraph) => count(paragraph, OPENING) > 2000)) return true;
    if (prose.split("\n").some((line) => line.length > 20_000) || count(prose, /^.*\S/gm) > 2000) return true;
    if (count(prose, /\$|\\[()[\]]/g) > 1000) return true; // formulas: each has a hundred elements
    if (count(prose, /\|/g) > 10_000) return true; // cells of tables
    return (prose.match(/(?<![!-~])[!-~]{5000,}/g) ?? []).some((word) => count(word, /[\\<![`*~_]/g) > 1000);
  };
  /* In parts, so that a browser lays out one part at a time: at the ends of lines, or else at a space. */
  const asWritten = (text) =>
    (text.match(/[^]{1,5000}(?:\n|$)|[^]{1,5000}\s|[^]{1,5000}/gu) ?? []).map((part) => `<div class="as-written">${escapeHtml(part)}</div>`);
  /* Whether it is worthwhile to try again with a text that failed: the first time, when it is shown as written. */
  let unreadable = null;
  const giveUp = (text) => text !== unreadable && ((unreadable = text), true);
  /* Emphasis that ends nowhere: marked seeks an end from each beginning. The rest stays as written. */
  let steps = 0;
  const isTired = () => ++steps > 50_000;

  /* Formulas. While Markdown is read, noncharacters stand for them: their number between \uFDD0 and \uFDD1, or for those that
     stay as written between \uFDD1 and \uFDD0. */
  const [LONGEST, MOST, FAR] = [3000, 6000, 20_000]; // characters of a formula, of all in a message, and to an end that is sought
  const ENVIRONMENTS = ["equation", "align", "alignat", "gather", "aligned", "alignedat", "gathered", "split", "cases", "rcases", "array",
    "CD", ...["", "b", "p", "v", "B", "V", "small"].map((kind) => `${kind}matrix`)].flatMap((name) => [name, `${name}*`]);
  const DELIMITERS = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false],
    ...ENVIRONMENTS.map((name) => [`\\begin{${name}}`, `\\end{${name}}`, true]), ["$", "$", false]];
  const CLOSES = new Map(DELIMITERS);
  const SIGN = anyOf("gm",
    new RegExp(`^[ \\t>]*(?:(?:[-+*]|\\d+[.)])[ \\t]+)*${FENCED.source}`), // a block of code, in a list or a quotation, too
    /`+|\\begin\{\w+\*?\}|\\[^]|\$+/, // the beginning of code or of a formula, or an escape
    /\]\([^\s()]*\)|https?:\/\/[!-~]+/, // an address
  );
  const NOT_SHOWN = /\\(?:text\w*|mathrm|operatorname|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+/g; // words in formulas, and commands
  const PROSE = anyOf("u",
    /\p{Ll}{4}|\p{Lo}{2}|\p{L}{30}/u, // a word; Chinese, for example, has no small letters
    /^[\d.,]+\s*\p{L}\p{L}/u, // a price, and a word
    /[\u3001-\u303f\uff01-\uff65]/, // full-width punctuation
    /(?<![\p{L}\p{N}])(?:and|or|to|in|is|of|the|for|not|but|see|foo|bar)(?![\p{L}\p{N}])/u,
    /^[^\p{L}\p{N}]*$/u, // only signs
  );
  const isProse = (body, bare = body.replace(NOT_SHOWN, "")) => PROSE.test(bare) || count(bare, /(?<!\p{L})\p{Ll}{2}/gu) > 1;
  const isRegex = (body) => /\\[dws](?![a-z])|\[\^|a-z|A-Z|0-9|\.[*+?]|[^\s^_{\\][*+?]$|^\?|[a-z]{2}\\\|[a-z]{2}/.test(body);
  const DEFINITION = /\\(?:[gex]?def|let|futurelet|(?:re)?newcommand|providecommand)(?![a-zA-Z])/; // KaTeX could take forever
  const DEEP_FORMULA = /(?:\{[^{}]*){20}/; // a browser does not draw 200 levels
  /* A formula is not what stands between the signs in `$5 and $6`, `$HOME/$USER` or `\(\d+\)`. `before` is the character in
     front of it, or none, and `after` some behind it. */
  const isMath = (open, body, before, after) => {
    if (!body.trim() || DEFINITION.test(body) || DEEP_FORMULA.test(body)) return false;
    if (/\n[ \t]*\n/.test(body) && (open.length < 2 || body[0] !== "\n" || isProse(body))) return false;
    if (open.length > 2) return /^\n?$/.test(before) || !isProse(body); // \begin{align}
    const hasSigns = /[\\^_={}]/.test(body);
    if (!hasSigns && isProse(body) && !/^\s*[-+<>×÷±≤≥≠]\s*$/.test(body)) return false;
    if (open === "$$") return before !== "$" && after[0] !== "$";
    if (open === "$") {
      if (/^\s|\s$|`/.test(body)) return /^ [^\n`]*[\\^_][^\n`]* $/.test(body) && !isProse(body);
      return /^[\\^]/.test(body) || !(/[\w\\$]/.test(before) || /^(?!(?:th|st|nd|rd|s)\b)[\w({$]/.test(after));
    }
    if (isRegex(body)) return false;
    if (open === "\\[") return /^\s|[\\^_=<>+]/.test(body);
    return /["']/.test(before) ? hasSigns || body.length === 1 : !/[A-Za-z_/^.\\)]/.test(before);
  };
  const findClose = (text, close, from) => {
    const [sign, pattern] = [close[0], close.replace(/\W/g, "\\$&")];
    const alone = {"`": `(?<!\`)${pattern}(?!\`)`, $: `(?<!\\\\)${pattern}`}[sign] ?? pattern;
    const at = text.slice(from, from + FAR + close.length).search(alone);
    return at < 0 ? at : from + at;
  };
  /* Marked makes four spaces of each tab at the beginning of a line. Those behind the indentation of a block of code are
     part of the code; noncharacters stand for them, too. */
  const keepTabs = (line) => line.replace(/^( *)(\t+)/, (_, spaces, tabs) => spaces + "\uFDD2".repeat(tabs.length));
  const isFence = (line) => /^[ \t>]*[`~]{3,}[ \t]*$/.test(line);
  const withTabs = (block) => {
    const advance = (column, sign) => (sign === "\t" ? column + 4 - (column % 4) : column + 1);
    const [fence, ...lines] = block.split("\n");
    const indent = [...fence.slice(0, fence.search(/[`~]{3}/))].reduce(advance, 0);
    const content = lines.map((line, i) => {
      let [at, column] = [0, 0];
      while (column < indent && /[ \t>]/.test(line[at])) column = advance(column, line[at++]);
      return i === lines.length - 1 && isFence(line) ? line : line.slice(0, at) + keepTabs(line.slice(at));
    });
    return [fence, ...content].join("\n");
  };
  /* Code without a fence: indented lines behind a blank one, where no list is before them. */
  const INDENTED = new RegExp("(?= {4}| {0,3}\t)(?<=(?:^|\n)(?![ \t>]|(?:[-+*]|\\d+[.)])[ \t])[^\n]+\n(?:[ \t]*\n)+)"
    + "(?:(?: {4}| {0,3}\t)[^\n]*(?:\n|$)|[ \t]*\n)+", "g");
  const withIndentedTabs = (block) => block.replace(/^( {4}| {0,3}\t)(.*)/gm, (_, indent, code) => indent + keepTabs(code));
  const tabs = (text) => text.replaceAll("\uFDD2", "\t");
  const code = (text) => tabs(text).replace(/\n$/, "\n\n"); // marked takes an empty line from its end
  /* The text between two places, without the signs of the quotation that it is in. */
  const withoutQuotation = (text, start, end) => {
    const [prefix] = /^[-+*\d.) \t>]*/.exec(text.slice(text.lastIndexOf("\n", start - 1) + 1, start));
    return text.slice(start, end).replace(new RegExp(`\n(?:[ \t]*>[ \t]?){0,${count(prefix, />/g)}}`, "g"), "\n");
  };
  const hideMath = (text) => {
    steps = SIGN.lastIndex = 0;
    if (/[\uFDD0-\uFDD2]/.test(text)) return [text, []];
    const formulas = [];
    let [hidden, done, length] = ["", 0, 0];
    text = text.replace(INDENTED, withIndentedTabs);
    for (let found; (found = SIGN.exec(text)); ) {
      const [[open], start, from] = [found, found.index, SIGN.lastIndex];
      if (found[1] ?? found[2]) {
        hidden += text.slice(done, start) + withTabs(open);
        done = from;
        continue;
      }
      const isUnknown = open.startsWith("\\begin") && !CLOSES.has(open); // an environment that KaTeX does not have
      const close = open[0] === "`" ? open : isUnknown ? open.replace("begin", "end") : CLOSES.get(open);
      const at = close ? findClose(text, close, from) : -1;
      if (at < 0) continue;
      const [body, end] = [text.slice(from, at), at + close.length];
      if (open[0] === "`" && !/\n[ \t]*\n/.test(body)) SIGN.lastIndex = end;
      if (open[0] === "`" || !isMath(open, body, text[start - 1] ?? "", text.slice(end, end + 4)) || (isUnknown && isProse(body))) continue;
      const isRead = !isUnknown && body.length <= LONGEST && length + body.length <= MOST;
      if (isRead) length += body.length;
      const number = formulas.push(withoutQuotation(text, start, end)) - 1;
      hidden += text.slice(done, start) + (isRead ? `\uFDD0${number}\uFDD1` : `\uFDD1${number}\uFDD0`);
      done = SIGN.lastIndex = end;
    }
    return [hidden + text.slice(done), formulas];
  };
  const formula = {
    name: "formula",
    level: "inline",
    start: (text) => text.search(/[\uFDD0\uFDD1]/),
    tokenizer: (text) => {
      const [raw] = /^(?:\uFDD0\d+\uFDD1|\uFDD1\d+\uFDD0)/.exec(text) ?? [];
      return raw && {type: "formula", raw};
    },
    renderer: ({raw}) => `<span class="${raw[0] === "\uFDD0" ? "formula" : "as-written"}">${raw}</span>`,
  };
  /* What KaTeX cannot read, or must not do, stays as written. */
  const options = {
    delimiters: DELIMITERS.map(([left, right, display]) => ({left, right, display})),
    throwOnError: true, errorCallback: () => {}, strict: false, maxSize: 50, trust: () => { throw new Error(); },
  };
  const renderMath = async (render, html) => {
    let began = performance.now();
    for (const element of html.querySelectorAll(".formula")) {
      try { render(element, options); } catch {}
      if (performance.now() - began < 50) continue;
      await new Promise((resume) => setTimeout(resume)); // the page stays responsive
      began = performance.now();
    }
  };

  /* Diagrams: a whole one has its source below it, folded; what Mermaid cannot read, or not soon, is shown as code. */
  const diagram = {
    name: "diagram",
    level: "block",
    tokenizer: (text) => {
      const [raw, , source] = /^ {0,3}(`{3,}|~{3,}) *mermaid\b[^\n]*\n([^]*?)\n {0,3}\1[`~]* *(?:\n|$)/i.exec(text) ?? [];
      return raw && source.length <= 3000 && {type: "diagram", raw, text: source};
    },
    renderer({text}) {
      const source = this.parser.renderer.code(text, "", false);
      return `<div class="diagram"><div class="mermaid">${escapeHtml(tabs(text))}</div><details><summary>Source</summary>${source}</details></div>`;
    },
  };
  const showSources = (nodes) => {
    for (const node of nodes)
      if (!node.querySelector("svg")) node.parentNode.replaceChildren(node.parentNode.querySelector(".code_wrap"));
  };
  return {isTooMuch, asWritten, giveUp, isTired, tabs, code, hideMath, renderMath, showSources, extensions: [diagram, formula]};
})();
