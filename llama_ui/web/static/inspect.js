/* The panel with the code of a request and the times of the replies. */
const inspect = (() => {
  const PARTS = Object.entries({waited: "Waiting", first: "First token", generating: "Generating"});
  let shown = null; // the index in the history of a message of the reply whose request is shown, or "loop"
  let [history, timer] = [[], 0]; // the history that the times are of
  const openTab = (name) => {
    page.setPanel("inspect", true, false);
    $$("#inspect [role=tab]").find((tab) => tab.textContent.trim() === name).click();
  };
  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => $("#code")?.checkVisibility() && press("show-code"), 250);
  };
  document.addEventListener("input", ({target}) => {
    if (target.closest("#message")) $("#message-error").hidden = true;
    if (target.closest("#message, #inspect")) refresh();
  });
  // Gradio draws a tab when it is first opened.
  document.addEventListener("click", ({target}) => target.closest("#inspect [role=tab]") && setTimeout(() => [drawTimes(), refresh()]));
  const showCodeOf = (index) => [(shown = index), openTab("Code"), refresh()];
  /* The times: for each reply a bar of waiting, first token and generation, all on one scale. */
  const drawTimes = () => {
    const replies = history.map((message, index) => ({...chat.receiptOf(message), index})).filter(({numbers}) => numbers);
    const total = ({numbers}) => PARTS.reduce((sum, [part]) => sum + (numbers[part] ?? 0), 0);
    const longest = Math.max(...replies.map(total), 0.001);
    const rows = replies.map((reply) => {
      const textContent = chat.textOf(history[page.turnAt(history, reply.index)[0]]).slice(0, 80) || "A picture";
      const bars = PARTS.map(([part, name]) => [part, name, reply.numbers[part] ?? 0]).map(([part, name, seconds]) =>
        `<i class="${part}" style="width: ${(100 * seconds) / longest}%" title="${name}: ${seconds.toFixed(2)} s"></i>`);
      const onclick = () => {
        shown = reply.index;
        if (!page.isWide()) page.setPanel("inspect", false);
        page.goTo(reply.index);
      };
      const [bar, line] = [create("span", {className: "bar", innerHTML: bars.join("")}), create("small", {textContent: reply.line})];
      return create("button", {className: "timing", onclick}, create("b", {textContent}), `${total(reply).toFixed(2)} s`, bar, line);
    });
    const legend = PARTS.map(([part, name]) => `<span><i class="${part}"></i>${name}</span>`).join("");
    const innerHTML = rows.length ? legend : "Timings appear after your first message.";
    $("#timings")?.replaceChildren(create("p", {className: "legend", innerHTML}), ...rows);
  };
  const caption = (text, canReset) =>
    $("#code-caption").replaceChildren(text, ...(canReset ? [textButton("Show the next request", () => showCodeOf(null))] : []));
  return {
    openTab, refresh, showCodeOf,
    showReply: (button) => showCodeOf(Number(button.parentElement.dataset.index)),
    showTimes: (changed) => {
      if (changed.length > history.length || shown >= changed.length) shown = null;
      history = changed;
      drawTimes();
      refresh();
    },
    /* The history that ends with the message of the request to show. */
    requestCode: (_, box, history, ...settings) => {
      if (Number.isInteger(shown)) {
        const [begin, end] = page.turnAt(history, shown);
        caption(`The request for “${chat.textOf(history[begin]).slice(0, 60)}”.`, true);
        return [{}, null, history.slice(0, end), ...settings];
      }
      const text = box.text.trim() ? box.text : "Hello!";
      const next = `The next request, with ${box.text.trim() ? "the message in the box" : "“Hello!” as its message"}.`;
      caption(shown ? "A conversation loop for this server. Save it as chat.py and run it." : next, shown);
      const message = chat.userMessage({text, files: box.files.filter(({url}) => url.startsWith("data:"))});
      return [{loop: shown === "loop"}, null, [...history, message], ...settings];
    },
    copyCode: ({parentElement}) => {
      const code = parentElement.querySelector("pre");
      const select = () => getSelection().selectAllChildren(code);
      const note = "This browser can't copy here. The code is selected: copy it with Ctrl+C.";
      copy(code.textContent, "Code copied.", () => [select(), page.toast(note)]);
    },
  };
})();
