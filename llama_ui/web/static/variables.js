/* {{name}} in the system prompt or the message is a variable: below the message box is a field for it, and its value is sent. */
const variables = (() => {
  const VARIABLE = /(\\?)\{\{\s*([\p{L}_][\p{L}\p{N}_]{0,39})\s*\}\}/gu; // behind a backslash it is none
  const values = new Map(load("variables", "sessionStorage") ?? []);
  const namesIn = (text) => [...new Set([...text.matchAll(VARIABLE)].flatMap(([, escaped, name]) => (escaped ? [] : name)))];
  const fill = (text) => text.replace(VARIABLE, (whole, escaped, name) => (escaped ? whole.slice(1) : values.get(name) || whole));
  const field = (name) => document.getElementById(`variable-${name}`);
  const draw = () => {
    const names = namesIn(`${form.latest()?.system_prompt ?? ""} ${$("#message textarea")?.value ?? ""}`);
    const place = $("#variables");
    if (!place || place.dataset.names === names.join()) return;
    place.dataset.names = names.join();
    const oninput = ({target}) => [values.set(target.name, target.value), store("variables", [...values], "sessionStorage"), inspect.refresh()];
    const fieldOf = (name) => create("label", {}, create("span", {textContent: name}), create("input", {id: `variable-${name}`, name, value: values.get(name) ?? "", oninput, autocomplete: "off"}));
    place.replaceChildren(...names.map(fieldOf));
  };
  document.addEventListener("input", ({target}) => target.closest("#message, #system-prompt") && draw());
  const problemOf = (name) => {
    if (!values.get(name)?.trim()) return `Fill in “${name}” below the message box; \\{{${name}}} is sent as it is.`;
    return namesIn(values.get(name)).length ? `The variable “${name}” cannot contain another one.` : "";
  };
  const filled = ([system_prompt, ...settings]) => [fill(system_prompt ?? ""), ...settings];
  return {
    draw, fill, filled,
    problems: (text) => namesIn(text).map((name) => ({problem: problemOf(name), input: field(name)})).filter(({problem}) => problem),
    fillSettings: (history, ...settings) => [history, ...filled(settings)],
    fillEdited: (history, ...settings) => {
      const parts = (content) => content.map((part) => (part.text ? {...part, text: fill(part.text)} : part));
      return [[...history.slice(0, -1), {...history.at(-1), content: parts(history.at(-1).content)}], ...filled(settings)];
    },
  };
})();
