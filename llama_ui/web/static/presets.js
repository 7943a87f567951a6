/* System prompts with a name: those of the guide, which are in the HTML, and the visitor's own, with their examples, which stay in
   this browser. */
const presets = (() => {
  const own = () => load("presets") ?? {}; // by name; a text alone has no examples
  const settingsOf = (preset) => (typeof preset === "string" ? {system_prompt: preset, examples: ""} : preset);
  const current = () => ({system_prompt: prompt(), examples: form.latest()?.examples ?? ""});
  const list = () => $("#presets select");
  const prompt = () => $("#system-prompt textarea").value;
  const options = () => [...list().options].filter(({value}) => value);
  /* Chooses the preset that the system prompt is. */
  const sync = (text = prompt()) => {
    const isOf = ({value, dataset}) => value === text && [undefined, current().examples].includes(dataset.examples);
    list().selectedIndex = options().findLast(isOf)?.index ?? 0;
    for (const control of $$("#presets .own")) control.hidden = list().selectedOptions[0].parentElement.id !== "own-presets";
  };
  const draw = () => {
    list().onchange = () => list().value && conversations.setSettings(valuesOf(chosen()));
    const optionOf = ([name, preset]) => {
      const {system_prompt, examples} = settingsOf(preset);
      const option = new Option(name, system_prompt);
      option.dataset.examples = examples;
      return option;
    };
    $("#own-presets").replaceChildren(...Object.entries(own()).map(optionOf));
    sync();
  };
  const write = (changed) => [store("presets", changed), draw()];
  const valuesOf = ({value, dataset}) => ({system_prompt: value, ...dataset}); // with its examples, if it is one's own
  const name = (value, others, preset) =>
    page.askName(value, (chosen) => {
      const before = own();
      write({...others, [chosen]: preset});
      if (Object.hasOwn(others, chosen)) page.toast(`The preset “${chosen}” was replaced.`, "ready", () => write(before));
    });
  const others = (name) => Object.fromEntries(Object.entries(own()).filter(([other]) => other !== name));
  const chosen = () => list().selectedOptions[0];
  return {
    draw, sync, options, valuesOf,
    save: () => (prompt().trim() || current().examples) && name("", own(), current()),
    rename: () => name(chosen().text, others(chosen().text), valuesOf(chosen())),
    remove: () => {
      const [{text}, preset] = [chosen(), valuesOf(chosen())];
      write(others(text));
      list().focus();
      page.toast("Preset deleted.", "ready", () => write({...own(), [text]: preset}));
    },
  };
})();
