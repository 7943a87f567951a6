/* The settings in Inspect: what is wrong with them, and what a reload keeps. */
const form = (() => {
  const MOST = 2 ** 31 - 1;
  const NUMBERS = {temperature: [0, 2], top_p: [0, 1], frequency_penalty: [-2, 2], presence_penalty: [-2, 2]};
  const WHOLE_NUMBERS = {max_tokens: [1, MOST], seed: [0, MOST], n: [1, LIMITS.samples]};
  const OBJECTS = {response_format: [], extra_body: LIMITS.reserved}; // and the fields that it can't have
  const CHECKED = [...Object.keys({...NUMBERS, ...WHOLE_NUMBERS, ...OBJECTS}), "stop", "examples"];
  const REQUEST = FIELDS.slice(FIELDS.indexOf("response_format")); // what is under "Request"
  const [REAL, WHOLE] = [/^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i, /^\d{1,10}(\.0)?$/];
  const byName = (settings) => Object.fromEntries(FIELDS.map((field, i) => [field, settings[i]]));
  let latest = null; // the settings as they are now
  let [checked, found] = [{}, {}]; // the settings that the app has looked at, and what is wrong with each
  const problemOf = (name, text) => {
    const [[least, most], number] = [NUMBERS[name] ?? WHOLE_NUMBERS[name] ?? [], Number(text.replace(",", "."))];
    const range = most === MOST ? `from ${least}` : least < 0 ? `${least} to ${most}` : `${least}–${most}`;
    if (!text) return "";
    if (most) return (NUMBERS[name] ? REAL : WHOLE).test(text) && number >= least && number <= most ? "" : `${LABELS[name]} must be ${NUMBERS[name] ? "" : "a whole number "}${range}, or empty.`;
    if (OBJECTS[name]) {
      const [count, limit] = [text.length, LIMITS.json].map((characters) => characters.toLocaleString("en"));
      if (text.length > LIMITS.json) return `${LABELS[name]} must have at most ${limit} characters, not ${count}.`;
      const value = attempt(() => JSON.parse(text));
      if (value?.constructor !== Object) return `${LABELS[name]} must be a JSON object.`;
      const taken = OBJECTS[name].find((field) => field in value);
      if (taken) return `${LABELS[name]} cannot have ${taken}, which the app sends itself.`;
    }
    return (checked[name] === text && found[name]) || "";
  };
  /* Shows at its field what is wrong with each setting. Returns all that and shows the first, where they are to be sent. */
  const showProblems = (settings, isSending = true, text = "") => {
    const values = byName(settings);
    root.toggleAttribute("data-request", REQUEST.some((name) => values[name]));
    const lacks = picker.serverData("lacks").filter((name) => values[name]).map((name) => LABELS[name]);
    $("#lacks").textContent = lacks.length ? `Not sent, since this server's route has no place for it: ${lacks.join(", ")}.` : "";
    const problems = CHECKED.flatMap((name) => {
      const [input, shown] = [$(`#field-${name} :is(input, textarea)`), $(`#problem-${name}`)];
      const problem = problemOf(name, (values[name] ?? "").trim());
      if (!shown) return problem ? {problem} : []; // Gradio draws the fold when it is opened
      if (shown.textContent !== problem) [shown.textContent, input.ariaDescription, input.ariaInvalid] = [problem, problem, problem !== ""];
      return problem ? {problem, input} : [];
    });
    root.toggleAttribute("data-invalid", problems.length > 0);
    if (isSending) problems.push(...variables.problems(`${values.system_prompt ?? ""} ${text}`));
    if (!problems.length || !isSending) return "";
    if (!problems[0].input?.matches("#variables *")) inspect.openTab("Settings");
    problems[0].input?.focus();
    return problems.map(({problem}) => problem).join(" ");
  };
  let timer = 0;
  const redraw = () => [examples.sync(latest.examples), showProblems(Object.values(latest), false)];
  document.addEventListener("click", ({target}) => target.closest("#request") && setTimeout(redraw, 50)); // Gradio draws it now
  const type = (name, value) => Object.assign($(`#field-${name} textarea`), {value}).dispatchEvent(new Event("input", {bubbles: true}));
  return {
    byName, showProblems, type, latest: () => latest,
    /* The app's own checks, such as whether a schema is one. */
    beginCheck: (...settings) => { checked = byName(settings); return settings; },
    onChecked: (problems) => [(found = problems), showProblems(Object.values(latest), false)],
    useSchema: ({dataset}) => type("response_format", dataset.schema),
    isInvalid: () => Boolean(showProblems(Object.values(latest))),
    onChange: (...settings) => {
      latest = byName(settings);
      $("#message-error").hidden = true;
      conversations.remember();
      showProblems(settings, false);
      clearTimeout(timer);
      if ("request" in root.dataset) timer = setTimeout(press, 300, "check-settings");
      presets.sync(latest.system_prompt);
      examples.sync(latest.examples);
      variables.draw();
      $("#model-name").textContent = latest.model || "No model";
      inspect.refresh();
    },
  };
})();
