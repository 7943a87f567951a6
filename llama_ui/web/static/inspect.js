/* The panel with the code of a request and the times of the replies. */
const inspect = (() => {
  const PARTS = Object.entries({waited: "Waiting", first: "First token", generating: "Generating"}); // of a reply's time
  let subject = null; // the index in the history of a message of the reply whose request is shown, or "loop", or "next"
  let [history, timer] = [[], 0]; // the history that the times are of
  const openTab = (name) => {
    page.setPanel("inspect", true, false);
    $$("#inspect [role=tab]").find((tab) => tab.textContent.trim() === name).click();
  };
  const refresh = () => { clearTimeout(timer); timer = setTimeout(() => $("#code")?.checkVisibility() && press("show-code"), 250); };
  document.addEventListener("input", ({target}) => {
    if (target.closest("#message")) $("#message-error").hidden = true;
    if (target.closest("#message, #inspect")) refresh();
  });
  // Gradio draws a tab when it is first opened.
  document.addEventListener("click", ({target}) => target.closest("#inspect [role=tab]") && setTimeout(() => [drawTimes(), refresh()]));
  /* The response of the reply whose request is shown. */
  const showResponse = (text) => {
    const [section] = $$("#came-back");
    if (section) [section.hidden, section.querySelector("pre").textContent] = [!text, text];
  };
  const showCodeOf = (index) => [(subject = index), openTab("Code"), refresh()];
  const drawTimes = () => { // for each reply a bar, all on one scale
    const replies = history.map((message, index) => ({...chat.receiptOf(message), index})).filter(({numbers}) => numbers);
    const total = ({numbers}) => PARTS.reduce((sum, [part]) => sum + (numbers[part] ?? 0), 0);
    const longest = Math.max(...replies.map(total), 0.001);
    const rows = replies.map((reply) => {
      const bars = PARTS.map(([className, name]) => {
        const seconds = reply.numbers[className] ?? 0;
        return create("i", {className, title: `${name}: ${seconds.toFixed(2)} s`, style: `width: ${(100 * seconds) / longest}%`});
      });
      const question = chat.textOf(history[page.turnAt(history, reply.index)[0]]).slice(0, 80) || "A picture";
      const [name, bar] = [create("b", {textContent: question}), create("span", {className: "bar"}, ...bars)];
      const parts = [name, `${total(reply).toFixed(2)} s`, bar, create("small", {textContent: reply.line})];
      return create("button", {className: "timing", onclick: () => goTo(reply.index)}, ...parts);
    });
    $("#timings")?.replaceChildren(...rows);
  };
  const goTo = (index) => [(subject = index), page.isWide() || page.setPanel("inspect", false), page.goTo(index)];
  const copyBlock = (code) => copy(code.textContent, "Code copied.", () => {
    getSelection().selectAllChildren(code);
    page.toast("This browser can't copy here. The code is selected: copy it with Ctrl+C.");
  });
  /* Gradio copies the code in a reply without its indentation and its last line break. */
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy_code_button");
    if (button) [event.stopImmediatePropagation(), copyBlock(button.parentElement.querySelector("code"))];
  }, true);
  return {
    openTab, refresh, showCodeOf, showNext: () => showCodeOf("next"),
    showReply: (button) => showCodeOf(Number(button.parentElement.dataset.index)),
    showTimes: (changed) => {
      if (changed.length > history.length || subject >= changed.length) subject = null;
      history = changed;
      drawTimes();
      refresh();
    },
    /* What is shown, and the history that ends with the message of its request. */
    requestCode: (_, {text, files}, history, ...settings) => {
      const index = subject ?? (chat.isReplying() ? history.length - 1 : "next");
      settings = variables.filled(settings);
      showResponse(Number.isInteger(index) ? tokens.received(tokens.turnOf(history.slice(0, index + 1))) : "");
      if (Number.isInteger(index)) return ["reply", null, history.slice(0, page.turnAt(history, index)[1]), ...settings];
      const message = chat.userMessage({text: text.trim() ? variables.fill(text) : "Hello!", files: files.filter(({url}) => url.startsWith("data:"))});
      return [subject === "loop" ? subject : text.trim() ? "message" : "example", null, [...history, message], ...settings];
    },
    copyCode: ({nextElementSibling}) => copyBlock(nextElementSibling),
  };
})();
