/* The cards of the text generation guide: each sends its messages one after the other, then shows what to look at. */
const guide = (() => {
  const FRIENDLY = {system_prompt: "You are a friendly assistant."};
  const [POEM, RECURSION] = ["Write a two-sentence poem about llama.", "Explain recursion in programming in simple terms."];
  const showCode = (history) => page.isWide() && inspect.showCodeOf(history.length - 1);
  const showShakespeare = (history) => compare.run(history.length - 1, {system_prompt: "You are shakespeare."});
  const CARDS = {
    completion: [showCode, [POEM, FRIENDLY]],
    system: [showShakespeare, [RECURSION, FRIENDLY]],
    history: [showCode, [RECURSION, FRIENDLY], ["What did I ask first?", FRIENDLY]],
    streaming: [() => inspect.openTab("Time"), [POEM, {...FRIENDLY, streaming: ""}], [POEM, {...FRIENDLY, streaming: "off"}]],
  };
  let [end, ...steps] = []; // what to do after the last step, and the steps that are left
  let before = null; // the settings, which a card changes only for its own messages
  /* Above the cards stands what the server is, as long as there is no model to chat with, or only the demo model. */
  const draw = () => {
    const [note, status] = [$("#guide-note"), $("#status button")];
    if (!note || !status) return;
    const isReady = picker.serverData("models").length > 0;
    const sentence = isReady && !("demo" in status.dataset) ? "" : ($("#server-details p")?.textContent ?? "");
    if (note.textContent !== sentence) note.textContent = sentence;
    for (const card of $$("#guide button:not([data-card=loop])")) if (card.disabled === isReady) card.disabled = !isReady;
  };
  const begin = (...plan) => {
    if (chat.isReplying() || form.isInvalid()) return;
    [[end, ...steps], before] = [plan, form.latest()];
    press("send-prepared");
  };
  return {
    draw,
    ask: ({textContent}) => begin(null, [textContent, {}]),
    start: ({dataset: {card}}) => (card === "loop" ? inspect.showCodeOf("loop") : begin(...CARDS[card])),
    takeStep: () => steps.shift(), // the message to send now, with changes to the settings
    onReplyEnd: (history, failed) => {
      if (steps.length && !failed) return press("send-prepared");
      if (before) conversations.setSettings(before);
      if (!failed) end?.(history);
      [end, steps, before] = [null, [], null];
    },
  };
})();
