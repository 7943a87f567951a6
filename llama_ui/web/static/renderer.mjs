/* In front of Gradio's Markdown renderer, marked 12 in an extension of its own, which renderer.py edits to call this. */
const renderer = (() => {
  const escapeHtml = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt()};`);

  /* The time that marked takes grows with the square of the signs in a paragraph, and with the depth of nesting. */
  const anyOf = (flags, ...patterns) => new RegExp(patterns.map(({source}) => source).join("|"), flags);
  /* A block of code, in a list or a quotation, too: from its fence to the same again, or to the end of the text. */
  const CODE = /^[ \t>]*(?:(?:[-+*]|\d+[.)])[ \t]+)*(`{3,99}|~{3,99})(?![`~])[^\n]*\n(?:[^]*?\n)??(?:[ \t>]*\1[`~]*[ \t]*$|(?![^]))/;
  /* Signs that marked seeks the end of. */
  const OPENING = anyOf("gimu",
    /(?<![\p{L}\p{N}\\])[*~`$]+(?=\S)|_+/u, // emphasis, code, and formulas
    /!\[?|\[|<|\\[([]/, // pictures, links, tags, and formulas
    /^[ \t]*(?:[-+*>]|\d+[.)])[ \t]/, // items of lists, and quotations
  );
  const DEEP = anyOf("m",
    /^(?:[ \t]*(?:>|(?:[-+*]|\d+[.)])[ \t])){200}/, // 200 levels in one line
    /^[ \t]{400}/, // 200 levels of lists
    /[`~]{20}/, // many lengths of fences
    /^(?:[^|\n]*\|){1000}/, // 1,000 columns
  );
  const count = (text, pattern) => text.match(pattern)?.length ?? 0;
  const isTooMuch = (text) => {
    const prose = text.replace(new RegExp(CODE, "gm"), "");
    if (prose.length < 400) return false;
    if (DEEP.test(prose) || prose.split(/\n[ \t]*\n/).some((paragraph) => count(paragraph, OPENING) > 2000)) return true;
    if (prose.split("\n").some((line) => line.length > 20_000)) return true;
    return (prose.match(/[!-~]{5000,}/g) ?? []).some((word) => count(word, /[\\<![`*~_]/g) > 1000);
  };
  /* In parts, so that a browser lays out one part at a time: at the ends of lines, or else at a space. */
  const asWritten = (text) =>
    (text.match(/[^]{1,5000}(?:\n|$)|[^]{1,5000}\s|[^]{1,5000}/gu) ?? []).map((part) => `<div class="as-written">${escapeHtml(part)}</div>`);
  /* Emphasis that ends nowhere: marked looks for an end from each beginning. The rest stays as written. */
  let steps = 0;
  const isTired = () => ++steps > 50_000;

  /* Formulas. While Markdown is read, each has a number between private-use characters in its place. */
  const SIGN = new RegExp(`${CODE.source}|\`+|\\\\begin\\{\\w+\\*?\\}|\\\\[^]|\\$+|\\]\\([^\\s()]*\\)|https?://[!-~]+`, "gm");
  /* What formulas lack: words. */
  const PROSE = anyOf("su",
    /\p{Ll}{4}/u,
    /\p{Lo}{2}/u, // letters without case, as in Chinese
    /\p{Ll}\p{Ll}.*\P{L}\p{Ll}\p{Ll}/u, // two short words
    /^[\d.,]+\s*\p{L}\p{L}/u, // a price, and a word
    /[\u3001-\u303f\uff01-\uff65]/, // full-width punctuation
    /^[^\p{L}\p{N}]*$/u, // no letter and no digit
  );
  const REGEX = anyOf("i", // what regular expressions have, and formulas lack
    /\\[dws](?![a-z])/, /\[\^/, /\[\w-\w/, /\.[*+?]/, // \d, [^a], [a-z], .*
    /[^\s^_{\\][*+?]$/, // a repetition at the end
    /^\?/, // (?: ...)
  );
  const isRegex = (body) => REGEX.test(body) || count(body, /\\\|/g) % 2 === 1; // \| comes in pairs in formulas
  const hasMathSigns = (body) => /[\\^_={}]/.test(body);
  const isMath = (open, body, before, after) => {
    if (!body.trim() || body.length > 5000 || /\n[ \t]*\n/.test(body)) return false;
    if (open.length > 2) return true;
    if (!hasMathSigns(body) && PROSE.test(body)) return false;
    if (open === "$$") return before !== "$" && after !== "$";
    if (open === "$") return !/^\s|\s$|`/.test(body) && (/^[\\^]/.test(body) || !(/[\w\\$]/.test(before) || /[\w({$]/.test(after)));
    return !isRegex(body) && (open === "\\(" ? !/[\w/"'^.\\]/.test(before) : /^\s|[\\^_=<>+]/.test(body));
  };
  const findClose = (text, close, from) => {
    let at = text.indexOf(close, from);
    const end = at + close.length;
    if (at >= 0 && close[0] === "$" && text[at - 1] === "\\") return findClose(text, close, end);
    if (at < 0 || close[0] !== "`" || text[end] !== "`") return at;
    for (at = end; text[at] === "`"; ) at++;
    return findClose(text, close, at);
  };
  /* Marked makes spaces of the tabs that indent a line. In a block of code they are private-use characters meanwhile. */
  const withTabs = (block) => {
    const [indent] = /^[ >]*/.exec(block);
    return block.replace(new RegExp(`^(${indent} *)(\\t+)`, "gm"), (_, spaces, tabs) => spaces + "\uE002".repeat(tabs.length));
  };
  /* Marked takes an empty line from the end of the code. */
  const code = (text) => text.replaceAll("\uE002", "\t").replace(/\n$/, "\n\n");
  const hideMath = (text, delimiters) => {
    if (/[\uE000\uE002]/.test(text)) return [text, []]; // it would be taken for the place of a formula, or a tab
    const closes = new Map([...delimiters.map(({left, right}) => [left, right]), ["$", "$"]]);
    const [formulas, unclosed] = [[], new Set()];
    let [hidden, done] = ["", (steps = SIGN.lastIndex = 0)];
    for (let found; (found = SIGN.exec(text)); ) {
      const [start, from, open] = [found.index, SIGN.lastIndex, found[0]];
      const isCode = open[0] === "`" && !found[1];
      const close = isCode ? open : closes.get(open);
      if (found[1]) {
        hidden += text.slice(done, start) + withTabs(open);
        done = from;
      }
      if (!close || unclosed.has(close)) continue;
      const [at, end] = [findClose(text, close, from)].flatMap((at) => [at, at + close.length]);
      if (at < 0) unclosed.add(close);
      else if (isCode && !/\n[ \t]*\n/.test(text.slice(from, at))) SIGN.lastIndex = end;
      else if (!isCode && isMath(open, text.slice(from, at), text[start - 1] ?? "", text[end] ?? "")) {
        hidden += `${text.slice(done, start)}\uE000${formulas.push(text.slice(start, end)) - 1}\uE001`;
        done = SIGN.lastIndex = end;
      }
    }
    return [hidden + text.slice(done), formulas];
  };
  const formula = {
    name: "formula",
    level: "inline",
    start: (text) => text.indexOf("\uE000"),
    tokenizer: (text) => /^\uE000\d+\uE001/.exec(text)?.map((raw) => ({type: "formula", raw}))[0],
    renderer: ({raw}) => `<span class="formula">${raw}</span>`,
  };
  /* What KaTeX cannot read, or must not do, stays as written. */
  const options = {throwOnError: true, errorCallback: () => {}, strict: false, maxSize: 50, trust: () => { throw new Error(); }};
  const renderMath = async (render, html, delimiters) => {
    let began = performance.now();
    for (const element of html.querySelectorAll(".formula")) {
      try { render(element, {...options, delimiters: [...delimiters, {left: "$", right: "$", display: false}]}); } catch {}
      if (performance.now() - began < 50) continue;
      await new Promise((resume) => setTimeout(resume)); // the page stays responsive
      began = performance.now();
    }
  };

  /* Diagrams: a whole one has its source below it, folded; what Mermaid cannot read is shown as code. */
  const diagram = {
    name: "diagram",
    level: "block",
    tokenizer: (text) => {
      const [raw, , source] = /^ {0,3}(`{3,}|~{3,}) *mermaid\b[^\n]*\n([^]*?)\n {0,3}\1[`~]* *(?:\n|$)/i.exec(text) ?? [];
      return raw && {type: "diagram", raw, text: source};
    },
    renderer({text}) {
      const source = this.parser.renderer.code(text, "", false);
      return `<div class="diagram"><div class="mermaid">${escapeHtml(text.replaceAll("\uE002", "\t"))}</div><details><summary>Source</summary>${source}</details></div>`;
    },
  };
  const showSources = (nodes) => {
    for (const node of nodes)
      if (!node.querySelector("svg")) node.parentNode.replaceChildren(node.parentNode.querySelector(".code_wrap"));
  };
  return {isTooMuch, asWritten, isTired, code, hideMath, renderMath, showSources, extensions: [diagram, formula]};
})();
