/* A second answer to one message beside the first, or the whole conversation answered again. */
const compare = (() => {
  let wanted = null; // {index of a message of the reply, changes to its settings}
  let samples = []; // the replies to one message, as the app sent them
  let [place, started] = [null, 0]; // of the reply in the history: [begin, end]
  const isRunning = () => "running" in root.dataset;
  const setRunning = (value) => {
    root.toggleAttribute("data-running", value);
    $$("#compare header button").find((control) => control.checkVisibility() && !control.disabled)?.focus();
  };
  const open = (mode) => {
    [root.dataset.compare, started] = [mode, performance.now()]; // "reply", "replay" or "samples"
    $("#compare h2").textContent = mode === "samples" ? "Samples" : "Compare";
    root.toggleAttribute("data-differences", ($("#compare-differences").checked = false));
    setRunning(true);
  };
  const close = () => { if (isRunning() && root.dataset.compare !== "samples") press("stop-compare"); delete root.dataset.compare; page.focusBox(); };
  const run = (index, changes) => {
    if (chat.isReplying() || isRunning()) return page.toast("A reply is being written. Stop it first.");
    wanted = {index, changes};
    press("compare-run");
  };
  const end = (second, reason) => setRunning(false) ?? [chat.settle(second, (performance.now() - started) / 1000, reason)];
  const describe = ({model, system_prompt}) => [model, system_prompt || "No system prompt"].filter(Boolean).join(" · ");
  return {
    run, close, isOpen: () => "compare" in root.dataset,
    showDifferences: ({checked}) => root.toggleAttribute("data-differences", checked) && press("compare-words"),
    stop: () => ("samples" === root.dataset.compare ? page.stop() : press("stop-compare")),
    openSamples: () => open("samples"),
    onSamplesEnd: (list) => { if (list.length) [page.show("samples", (samples = copyOf(list))), setRunning(false)]; },
    keepSample: ({parentElement: {dataset: {index}}}) => {
      const history = page.history();
      const question = history.findLastIndex(({role}) => role === "user");
      if (index > 0) tokens.forget(page.turns());
      conversations.setHistory([...history.slice(0, question + 1), ...chat.receiptOf(samples[index]).kept]);
      close();
    },
    stopOrClose: () => (isRunning() ? compare.stop() : close()),
    choose: (button) => {
      const index = Number(button.parentElement.dataset.index ?? wanted?.index);
      const prompts = () => presets.options().map((option) => ({group: "System prompts", label: option.text, value: presets.valuesOf(option)}));
      const models = () => picker.serverData("models").map((model) => ({group: "Models", label: model, value: {model}}));
      const options = () => [{label: "Same again", value: {}}, ...prompts(), ...models()];
      picker.open(button, options, "Compare with", false, (changes) => run(index, changes));
    },
    start: (history, ...settings) => {
      place = page.turnAt(history, wanted.index);
      const turn = history.slice(...place);
      const sent = turn.map((message) => chat.receiptOf(message)?.sent).findLast(Boolean) ?? form.byName(variables.filled(settings));
      const changed = {...sent, ...wanted.changes};
      [$("#first-answer").dataset.caption, $("#second-answer").dataset.caption] = [sent, changed].map(describe);
      open("reply");
      page.show("first-answer", turn);
      return [{history: history.slice(0, place[0] + 1), settings: changed}, turn, [turn[0]], ""];
    },
    startReplay: (...values) => open("replay") ?? variables.fillSettings(...values),
    onEnd: (second) => {
      page.show("second-answer", second);
      $("#compare-keep").disabled = !second.some(page.isAnswer);
      setRunning(false);
    },
    onStop: (second) => end(second, "stopped"),
    onLost: (second) => (isRunning() ? [page.toast("The connection to this page's server was lost."), end(second, "failed")][1] : [NO_CHANGE]),
    keep: (second, history, ...settings) => {
      const kept = [...history.slice(0, place[0]), ...chat.settle(second), ...history.slice(place[1])];
      tokens.forget(tokens.turnOf(history.slice(0, place[0] + 1)));
      conversations.save(kept, settings);
      chat.show(kept);
      close();
      page.toast("The second answer is in the conversation now. The settings are as they were.", "ready");
      return [kept];
    },
  };
})();
