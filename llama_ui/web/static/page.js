/* The page around the chat. Its HTML says what its own buttons do: data-do="module.function". */
const page = (() => {
  /* Panels: beside the chat where there is room, else one at a time; on a phone over the whole screen. */
  const PANELS = ["chats", "inspect"];
  const [phone, narrow] = ["(max-width: 899px)", "(max-width: 1179px)"].map((query) => matchMedia(query));
  const isOpen = (panel) => root.dataset.panels.split(" ").includes(panel);
  const showPanels = (panels) => {
    root.dataset.panels = panels.join(" ");
    for (const panel of PANELS) $(`#${panel}-toggle`)?.setAttribute("aria-expanded", isOpen(panel));
    inspect.refresh();
  };
  const beginPanels = () => {
    const remembered = {chats: true, inspect: innerWidth >= 1600, ...load("panels")};
    showPanels(phone.matches ? [] : PANELS.filter((panel) => remembered[panel]).slice(0, narrow.matches ? 1 : 2));
  };
  const setPanel = (panel, open, focus = true) => {
    const others = narrow.matches ? [] : PANELS.filter((other) => other !== panel && isOpen(other));
    showPanels(open ? [...others, panel] : others);
    if (!phone.matches) store("panels", {...load("panels"), [panel]: open});
    if (focus) $(open ? `#${panel} button` : `#${panel}-toggle`)?.focus();
  };
  phone.onchange = narrow.onchange = beginPanels;
  beginPanels();
  root.toggleAttribute("data-tokens", load("tokens") ?? true);
  root.toggleAttribute("data-empty", true);
  /* The conversation follows a reply until the reader scrolls up. */
  let [following, lastTop] = [true, 0];
  const log = () => $("#conversation [role=log]");
  const onScroll = ({target: {scrollTop, scrollHeight, clientHeight}}) => {
    const rest = scrollHeight - scrollTop - clientHeight; // 0 where the content became shorter
    if (scrollTop < lastTop && rest >= 1) following = false;
    else if (scrollTop > lastTop && rest < 40) following = true;
    lastTop = scrollTop;
    if ($("#jump").hidden !== (following || rest < 40)) $("#jump").toggleAttribute("hidden"); // not in each frame
  };
  const leave = () => (following &&= log().scrollTop < 1); // the reader is about to scroll up
  let frame = 0;
  const follow = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => following && log()?.scrollTo({top: log().scrollHeight, behavior: "instant"}));
  };
  const jump = () => [(following = $("#jump").hidden = true), follow()];
  /* While a saved conversation is being drawn it is hidden, so that nothing jumps. */
  const hideUntilDrawn = (previous = -1, same = 0, attempts = 120) => {
    const [height, texts] = [log()?.scrollHeight ?? 0, $$("#conversation .prose")];
    const isSame = height === previous && texts.length && texts.every((text) => text.textContent);
    if (root.toggleAttribute("data-drawing", same < 4 && attempts > 0))
      requestAnimationFrame(() => hideUntilDrawn(height, isSame ? same + 1 : 0, attempts - 1));
    else jump();
  };
  /* A message and the replies to it, as the place of one of these in the history: [begin, end]. */
  const turnAt = (history, index) => {
    const begin = history.findLastIndex(({role}, i) => i <= index && role === "user");
    const next = history.findIndex(({role}, i) => i > index && role === "user");
    return [Math.max(0, begin), next < 0 ? history.length : next];
  };
  /* What is added to what Gradio has drawn of each history. Each part of a message has a row; a reply's buttons are below its
     answer, or below its last row where it has none. */
  const histories = {};
  const partsOf = (history) => history.flatMap((message, index) => message.content.map((_, i) => [index, i === message.content.length - 1]));
  const isAnswer = ({role, metadata}) => role === "assistant" && !metadata?.id && !metadata?.title;
  const hasButtons = (history, index) => {
    const [begin, end] = turnAt(history, index);
    const answer = history.findLastIndex((message, i) => i >= begin && i < end && isAnswer(message));
    return history[index].role === "assistant" && index === (answer < 0 ? end - 1 : answer);
  };
  const drawRow = (row, history, [index, isLast], isMain) => {
    const {role, metadata} = history[index];
    const [receipt, place] = [chat.receiptOf(history[index]), row.querySelector(".message-buttons")];
    const kind = metadata?.id || (metadata?.title ? "thought" : row.querySelector(".component") ? "image" : role);
    const needsRetry = !chat.isReplying() && index === history.length - 1 && (role === "user" || (kind === "error" && !receipt?.refused));
    if (isMain) tokens.drawIn(row, isAnswer(history[index]) ? tokens.turnOf(history.slice(0, index)) : -1, chat.textOf(history[index]));
    const hasTokens = row.querySelector(".tokens") && "#tokens-button";
    const parts = [isMain && isLast && needsRetry && "#retry-button", isMain && hasButtons(history, index) && "#reply-buttons", hasTokens, receipt?.kept && "#keep-button"].filter(Boolean);
    const key = JSON.stringify([kind, index, receipt?.line, parts, needsRetry]);
    if (!place || place.dataset.key === key) return;
    [row.dataset.kind, place.dataset.key] = [kind, key];
    row.classList.toggle("noted", Boolean(receipt?.line) || needsRetry);
    row.classList.toggle("with-images", history[index].content.length > 1);
    place.querySelector(".reply-actions")?.remove();
    const actions = create("span", {className: "reply-actions"}, ...parts.map((part) => $(part).content.cloneNode(true)));
    Object.assign(actions.dataset, {index, stats: (isLast && receipt?.line) || ""});
    place.append(actions);
  };
  const draw = () => {
    for (const [id, history] of Object.entries(histories)) {
      const parts = partsOf(history);
      $$(`#${id} .message-row`).forEach((row, i) => parts[i] && drawRow(row, history, parts[i], id === "conversation"));
    }
    const isWide = ({scrollWidth, clientWidth}) => scrollWidth > clientWidth;
    $$("[role=log] :is(pre, table):not([tabindex])").filter(isWide).forEach((region) => (region.tabIndex = 0)); // for the keyboard
    $$(".thought-group .arrow:not([inert])").forEach((arrow) => (arrow.inert = true)); // a button in a button
  };
  /* Focus: on the message box where nothing else has it. A phone would open its keyboard. */
  const isTouch = matchMedia("(pointer: coarse)").matches;
  const focusBox = () => (isTouch ? log() : $("#message textarea"))?.focus({preventScroll: true});
  let focused = null;
  document.addEventListener("focusin", ({target}) => (focused = target));
  const onMutation = () => {
    if (!chat.isReplying()) draw();
    follow();
    if (document.activeElement === document.body && focused && !focused.checkVisibility()) focusBox();
  };
  /* Shows a sentence at the bottom of the screen for some seconds, or until the next message is sent or another sentence is
     shown, with a button to undo what was done, or for what else is offered. */
  const toast = (sentence, state = "error", action = null, label = "Undo", stays = false) => {
    $("#toast")?.remove();
    const note = create("p", {id: "toast", className: `status ${state}`, role: "alert", textContent: sentence});
    const onclick = () => [note.remove(), action()];
    if (action) note.append(create("button", {className: "plain", textContent: label, onclick}));
    note.toggleAttribute("data-stays", stays);
    document.body.append(note);
    if (!stays) setTimeout(() => note.remove(), 8000 + 50 * sentence.length);
  };
  /* Gradio's Copy says nothing where a browser can't copy, as on plain http. */
  document.addEventListener("click", (event) => {
    const [button, row] = ["[aria-label='Copy message']", ".message-row"].map((selector) => event.target.closest(selector));
    const index = button && row.querySelector(".reply-actions")?.dataset.index; // not yet while a reply is being written
    if (!index) return;
    event.stopImmediatePropagation();
    const message = histories[row.closest("#conversation, #first-answer, #second-answer").id][index];
    copy(chat.textOf(message), "Message copied.", () => toast("This browser can't copy here. Select the text, and copy it with Ctrl+C."));
  }, true);
  /* Asks for a name; `finish` gets it, unless the reader cancels. */
  const askName = (value, finish) => {
    const [dialog, input] = [$("#name"), $("#name input")];
    Object.assign(dialog, {returnValue: "", onclose: () => [dialog.returnValue && finish(input.value.trim()), saved.draw()]}).showModal();
    input.value = value;
    input.select();
  };
  document.addEventListener("click", ({target}) => {
    const element = target.closest("[data-do]");
    const [module, name] = element?.dataset.do.split(".") ?? [];
    element?.closest("[popover]:not(#server-panel)")?.hidePopover();
    if (element) ({compare, conversations, examples, form, guide, inspect, page, picker, presets, tokens})[module][name](element);
  });
  /* A file can be dropped anywhere: by default the browser would leave the page to show it. Gradio's box takes every drop for
     files, and text could be dragged neither into it nor within it. */
  const onDrag = (event) => {
    const [input, {files, types}] = [$("#message input[type=file]"), event.dataTransfer];
    event.stopImmediatePropagation();
    if (!types.includes("Files")) return;
    event.preventDefault();
    if (event.type === "drop") Object.assign(input, {files}).dispatchEvent(new Event("change", {bubbles: true}));
  };
  for (const type of ["dragenter", "dragover", "drop"]) document.addEventListener(type, onDrag, true);
  /* On a phone, Enter makes a new line, and the button sends. */
  const isNewLine = ({key, target}) => key === "Enter" && isTouch && target.matches("#message textarea");
  document.addEventListener("keypress", (event) => isNewLine(event) && event.stopImmediatePropagation(), true);
  /* Gradio cannot stop a reply before its first update. */
  const stop = () => {
    if ($$("#conversation .message-row").at(-1)?.matches(".bot-row")) $("#message .stop-button")?.click();
    else if (chat.isReplying()) requestAnimationFrame(stop);
  };
  const edit = () => {
    $$("#conversation [aria-label=Edit]").findLast((control) => control.checkVisibility())?.click();
    requestAnimationFrame(() => $("#conversation textarea")?.focus());
  };
  const shortcut = ({key, shiftKey, ctrlKey, metaKey, target}) => {
    const [command, isEscape] = [ctrlKey || metaKey, key === "Escape" && !$(":popover-open")];
    if ($("dialog[open]")) return null;
    if (isEscape && target.matches("#conversation textarea")) return () => $("#conversation [aria-label=Cancel]").click();
    if (isEscape && phone.matches && root.dataset.panels) return () => setPanel(root.dataset.panels, false);
    if (isEscape && chat.isReplying()) return stop;
    if (isEscape && compare.isOpen()) return compare.stopOrClose;
    if (command && !shiftKey && key.toLowerCase() === "k") return picker.chooseModel;
    if (command && shiftKey && key.toLowerCase() === "o") return conversations.startNew;
    if (key === "?" && !target.closest("input, textarea, select")) return () => $("#shortcuts").showModal();
    return key === "ArrowUp" && target.matches("#message textarea") && !target.value && !chat.isReplying() ? edit : null;
  };
  document.addEventListener("keydown", (event) => {
    const action = !event.isComposing && shortcut(event);
    if (action) [event.preventDefault(), action()];
  });
  const init = () => { // once Gradio has drawn the page
    showPanels(root.dataset.panels.split(" "));
    const onkeydown = ({key}) => void (["ArrowUp", "PageUp", "Home"].includes(key) && leave()); // false would keep it from scrolling
    Object.assign(log(), {onkeydown, onscroll: onScroll, ariaLive: "off", tabIndex: 0}); // one announcement at the end of a reply
    log().addEventListener("wheel", ({deltaY}) => deltaY < 0 && leave(), {passive: true});
    log().addEventListener("touchmove", leave, {passive: true});
    $("#conversation").append($("#jump"));
    $("#server-panel").popover = "auto";
    $("#server-panel").addEventListener("toggle", ({newState}) => newState === "open" && press("check"));
    new MutationObserver(onMutation).observe($("#app"), {childList: true, subtree: true, characterData: true});
    new MutationObserver(picker.redraw).observe($("#status"), {attributes: true, childList: true, subtree: true});
    presets.draw();
    $("#message textarea").enterKeyHint = isTouch ? "enter" : "send";
    focusBox();
  };
  return {
    init, jump, toast, stop, isAnswer, askName, focusBox, setPanel, hideUntilDrawn, turnAt,
    press: ({dataset}) => press(dataset.target),
    retry: () => !chat.isReplying() && !form.isInvalid() && [press("retry")],
    turns: () => tokens.turnOf(histories.conversation ?? []),
    history: () => histories.conversation,
    isWide: () => !phone.matches,
    showShortcuts: () => $("#shortcuts").showModal(),
    showApi: () => $("footer .show-api").click(), // Gradio's page about it
    toggle: ({dataset: {panel}}) => setPanel(panel, !isOpen(panel)),
    show: (id, history) => {
      histories[id] = copyOf(history);
      if (id === "conversation") root.toggleAttribute("data-empty", !history.length);
      draw();
    },
    setBusy: (busy, announcement = "") => {
      log().ariaBusy = busy;
      if (busy) $("#toast[data-stays]")?.remove();
      root.toggleAttribute("data-replying", busy);
      $("#message-error").hidden = true;
      $("#announcement").textContent = announcement;
    },
    goTo: (index) => {
      following = false;
      $$("#conversation .message-row")[partsOf(histories.conversation).findIndex(([i]) => i === index)]?.scrollIntoView({block: "start"});
    },
  };
})();
