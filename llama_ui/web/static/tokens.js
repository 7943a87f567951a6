/* What came with each reply (workbench/details.py): lines of JSON, one for each token and one for the response. They are kept by the
   number of user messages up to the reply. */
const tokens = (() => {
  const LEVELS = 6; // of shading
  let kept = {};
  let [turn, continued] = [0, ""]; // of the reply that is being written, and the lines that it goes on from
  const turnOf = (history) => history.filter(({role}) => role === "user").length;
  const parsed = {}; // the details of each reply, as far as they are parsed, and the tokens in them
  const tokensOf = (number) => {
    const [text, before] = [kept[number] ?? "", parsed[number] ?? {text: "", list: []}];
    const {text: old, list} = text.startsWith(before.text) ? before : {text: "", list: []};
    for (const line of text.slice(old.length).split("\n")) if (line.startsWith('{"token"')) list.push(JSON.parse(line));
    parsed[number] = {text, list};
    return list;
  };
  const percent = (logprob, share = 100 * Math.exp(logprob)) => `${share < 0.1 ? "<0.1" : share.toFixed(share < 10 ? 1 : 0)} %`;
  const visible = (text) => text.replaceAll("\n", "↵").replaceAll("\t", "⇥");
  const drawToken = ({token, logprob}) => {
    const drawn = create("span", {textContent: token});
    drawn.dataset.level = Math.floor((1 - Math.min(1, Math.exp(logprob))) * (LEVELS - 0.01));
    return drawn;
  };
  /* Draws what is not drawn yet: while a reply grows, the new tokens only. */
  const textOf = (list) => list.map(({token}) => token).join("");
  const drawIn = (row, number, text = "") => { // where the tokens are not all of the text, it stays Markdown
    const [place, list] = [row.querySelector(".message"), tokensOf(number)];
    let box = place?.querySelector(".tokens");
    if (!list.length || (text && textOf(list).length < text.trim().length)) return box?.remove();
    if (box?.dataset.turn !== `${number}` || box.children.length > list.length) {
      box?.remove();
      place.prepend(box = create("div", {className: "tokens", role: "group", ariaLabel: "The reply in tokens, shaded by their probability"}));
      box.dataset.turn = number;
    }
    box.append(...list.slice(box.children.length).map(drawToken));
    if (!box.querySelector("[tabindex]")) focusable(box.firstChild);
  };
  const focusable = (token) => {
    for (const other of token.parentElement.querySelectorAll("[tabindex]")) other.removeAttribute("tabindex");
    Object.assign(token, {tabIndex: 0, role: "button", ariaHasPopup: "dialog"});
  };
  /* The likeliest tokens in the place of one, with which the reply can go on. */
  let shown = null;
  const menu = () => $("#alternatives");
  const hide = () => { shown = null; menu().hidePopover(); };
  const show = (token) => {
    if (!token || token === shown) return;
    const [number, index] = [Number(token.parentElement.dataset.turn), [...token.parentElement.children].indexOf(token)];
    const {token: text, logprob, top_logprobs = []} = tokensOf(number)[index];
    const isLast = number === page.turns();
    const optionOf = (other) => create("button", {
      className: "item", title: isLast ? "Continue with this one" : "Only the last reply can be continued",
      disabled: !isLast || other.token === text || other.token.includes("\ufffd"), onclick: () => continueWith(number, index, {...other, top_logprobs}),
    }, create("span", {textContent: visible(other.token)}), percent(other.logprob));
    shown = token;
    menu().replaceChildren(create("p", {className: "hint"}, create("b", {textContent: visible(text)}), ` ${percent(logprob)}`), ...top_logprobs.map(optionOf));
    token.ariaDescription = [percent(logprob), ...top_logprobs.map((other) => `${other.token} ${percent(other.logprob)}`)].join(", ");
    menu().hidePopover(); // else it would stay where it is
    menu().showPopover({source: token});
  };
  const continueWith = (number, index, token) => {
    const before = [...tokensOf(number).slice(0, index), token];
    hide();
    chat.continueFrom(textOf(before), before.map((each) => `${JSON.stringify(each)}\n`).join(""));
  };
  const isToken = (element) => element?.parentElement?.matches(".tokens");
  document.addEventListener("mouseover", ({target}) => (isToken(target) ? show(target) : shown && !target.closest?.("#alternatives, .tokens") && shown !== document.activeElement && hide()));
  document.addEventListener("focusin", ({target}) => (isToken(target) ? show(target) : shown && !target.closest("#alternatives") && hide()));
  document.addEventListener("click", ({target}) => isToken(target) && [focusable(target), target.focus()]);
  document.addEventListener("keydown", (event) => {
    const [{key, target}, step] = [event, {ArrowRight: "nextSibling", ArrowLeft: "previousSibling"}[event.key]];
    if (!shown || !(isToken(target) || target.closest("#alternatives"))) return;
    const down = {ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling"}[key];
    const next = isToken(target) ? (step ? target[step] : key === "ArrowDown" && menu().querySelector(":enabled")) : down && target[down];
    if (isToken(next)) focusable(next);
    if (step || down || key === "Escape") [event.preventDefault(), event.stopPropagation()];
    if (key === "Escape") isToken(target) ? hide() : shown.focus();
    else if (down && !isToken(target) && !next?.matches("button")) shown.focus();
    else next?.focus?.();
  }, true);
  return {
    drawIn, turnOf, all: () => kept, load: (details = {}) => (kept = {...details}),
    begin: (history, lines = "") => { [turn, continued] = [turnOf(history), lines]; kept = {...tokens.until(turn - 1), [turn]: lines}; },
    until: (count) => Object.fromEntries(Object.entries(kept).filter(([number]) => number <= count)),
    forget: (number) => delete kept[number],
    onArrival: (text) => {
      if (!text || !turn) return;
      kept[turn] = (text.startsWith('"new"') ? "" : continued) + text;
      const rows = $$("#conversation .message-row");
      const row = rows.slice(rows.findLastIndex((each) => each.matches(".user-row")) + 1).find((each) => !each.querySelector(".thought-group"));
      if (row) drawIn(row, turn);
    },
    /* The response of a reply as it came, for people. */
    received: (number) => {
      const line = (kept[number] ?? "").split("\n").findLast((each) => each.startsWith('{"status"'));
      const response = attempt(() => JSON.parse(line));
      return response ? `HTTP ${response.status}\n${response.headers.map((header) => header.join(": ")).join("\n")}\n\n${response.body}` : "";
    },
    toggle: () => store("tokens", root.toggleAttribute("data-tokens")),
  };
})();
