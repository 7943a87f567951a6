/* The settings in Inspect: what is wrong with them, and what a reload keeps. */
const form = (() => {
  const NUMBERS = {temperature: [0, 2], top_p: [0, 1], max_tokens: [1], seed: [0]}; // the least and, but for whole numbers, the most
  const [REAL, WHOLE] = [/^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i, /^\d{1,10}(\.0)?$/];
  const byName = (settings) => Object.fromEntries(FIELDS.map((field, i) => [field, settings[i]]));
  let latest = null; // the settings as they are now
  const problemOf = (name, text) => {
    const [[least, most], number] = [NUMBERS[name], Number(text.replace(",", "."))];
    const label = name[0].toUpperCase() + name.slice(1).replace("_", " ");
    if (!text || ((most ? REAL : WHOLE).test(text) && number >= least && number <= (most ?? 2 ** 31 - 1))) return "";
    return most ? `${label} must be ${least}–${most}, or empty.` : `${label} must be a whole number from ${least}, or empty.`;
  };
  /* Shows at its field what is wrong with each setting. Returns all that and shows the first, where they are to be sent. */
  const showProblems = (settings, isSending = true) => {
    const problems = Object.keys(NUMBERS).flatMap((name) => {
      const [input, shown] = [$(`#field-${name} :is(input, textarea)`), $(`#problem-${name}`)];
      const problem = problemOf(name, (byName(settings)[name] ?? "").trim());
      if (shown.textContent !== problem) [shown.textContent, input.ariaDescription, input.ariaInvalid] = [problem, problem, problem !== ""];
      return problem ? {problem, input} : [];
    });
    root.toggleAttribute("data-invalid", problems.length > 0);
    if (!problems.length || !isSending) return "";
    inspect.openTab("Settings");
    problems[0].input.focus();
    return problems.map(({problem}) => problem).join(" ");
  };
  return {
    byName, showProblems, latest: () => latest,
    isInvalid: () => Boolean(showProblems(Object.values(latest))),
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
