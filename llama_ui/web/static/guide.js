/* The cards of the text generation guide: each sends its messages one after the other, then shows what to look at. */
const guide = (() => {
  const showCode = ({length}) => page.isWide() && inspect.showCodeOf(length - 1);
  const ENDS = {
    completion: showCode, history: showCode,
    system: ({length}) => compare.run(length - 1, {system_prompt: "You are shakespeare."}),
    streaming: () => inspect.openTab("Time"),
  };
  let [end, ...steps] = []; // what to do after the last step, and the steps that are left: a text with changes to the settings
  let before = null; // the settings, which a card changes only for its own messages
  const begin = (...plan) => {
    if (chat.isReplying() || form.isInvalid()) return;
    [[end, ...steps], before] = [plan, form.latest()];
    press("send-prepared");
  };
  return {
    ask: ({textContent}) => begin(null, [textContent, {}]),
    start: ({dataset: {card, steps}}) => begin(ENDS[card], ...JSON.parse(steps)),
    showLoop: () => inspect.showCodeOf("loop"),
    takeStep: () => steps.shift(),
    onReplyEnd: (history, failed) => {
      if (steps.length && !failed) return press("send-prepared");
      if (before) conversations.setSettings(before);
      if (!failed) end?.(history);
      [end, steps, before] = [null, [], null];
    },
  };
})();
