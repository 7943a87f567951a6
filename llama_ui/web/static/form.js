/* The settings in Inspect: what is wrong with them, and what a reload keeps. */
const form = (() => {
  // In the order in which Gradio passes their values.
  const FIELDS = ["system_prompt", "model", "temperature", "top_p", "max_tokens", "seed", "reasoning_effort", "streaming"];
  const NUMBERS = {temperature: [0, 2], top_p: [0, 1], max_tokens: [1], seed: [0]}; // the least and, but for whole numbers, the most
  const [REAL, WHOLE] = [/^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i, /^\d{1,10}(\.0)?$/];
  const byName = (settings) => Object.fromEntries(FIELDS.map((field, i) => [field, settings[i]]));
  let [defaults, latest] = [null, null]; // the settings of a new page, and as they are now
  const problemOf = (name, text) => {
    const [[least, most], number] = [NUMBERS[name], Number(text.replace(",", "."))];
    const label = name[0].toUpperCase() + name.slice(1).replace("_", " ");
    if (!text || ((most ? REAL : WHOLE).test(text) && number >= least && number <= (most ?? 2 ** 31 - 1))) return "";
    return most ? `${label} must be ${least}–${most}, or empty.` : `${label} must be a whole number from ${least}, or empty.`;
  };
  /* Shows at its field what is wrong with each setting. Returns all that and shows the first, where they are to be sent. */
  const showProblems = (settings, isSending = true) => {
    const problems = Object.keys(NUMBERS).flatMap((name) => {
      const [field, textContent, id] = [$(`#field-${name}`), problemOf(name, (byName(settings)[name] ?? "").trim()), `problem-${name}`];
      const [input, shown] = [field.querySelector("input, textarea"), field.querySelector(".problem")];
      if (shown && shown.textContent !== textContent) shown.remove();
      if (textContent && !shown?.isConnected) field.append(create("p", {className: "problem", id, role: "alert", textContent}));
      if (input.ariaInvalid !== String(Boolean(textContent))) input.ariaInvalid = Boolean(textContent);
      input.setAttribute("aria-describedby", id);
      return textContent ? {textContent, input} : [];
    });
    root.toggleAttribute("data-invalid", problems.length > 0);
    if (!problems.length || !isSending) return "";
    inspect.openTab("Settings");
    problems[0].input.focus();
    return problems.map(({textContent}) => textContent).join(" ");
  };
  return {
    FIELDS, byName, showProblems, latest: () => latest,
    isInvalid: () => Boolean(showProblems(Object.values(latest))),
    begin: (settings) => (defaults = byName(settings)),
    reset: () => FIELDS.map((field) => (field === "model" ? NO_CHANGE : defaults[field])),
    onChange: (...settings) => {
      latest = byName(settings);
      $("#message-error").hidden = true;
      conversations.remember();
      showProblems(settings, false);
      presets.sync(latest.system_prompt);
      $("#model-name").textContent = latest.model || "No model";
      inspect.refresh();
    },
  };
})();
