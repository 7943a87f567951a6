/* System prompts with a name: those of the guide, which are in the HTML, and the visitor's own, which stay in this browser. */
const presets = (() => {
  const own = () => load("presets") ?? {};
  const list = () => $("#presets select");
  const prompt = () => $("#system-prompt textarea").value;
  const options = () => [...list().options].filter(({value}) => value);
  /* Chooses the preset that the system prompt is. */
  const sync = (text = prompt()) => {
    list().value = options().some(({value}) => value === text) ? text : "";
    for (const control of $$("#presets .own")) control.hidden = list().selectedOptions[0].parentElement.id !== "own-presets";
  };
  const draw = () => {
    list().onchange = () => list().value && conversations.setSettings({system_prompt: list().value});
    $("#own-presets").replaceChildren(...Object.entries(own()).map(([name, text]) => new Option(name, text)));
    sync();
  };
  const write = (changed) => [store("presets", changed), draw()];
  const name = (value, others, text) =>
    page.askName(value, (chosen) => {
      const before = own();
      write({...others, [chosen]: text});
      if (Object.hasOwn(others, chosen)) page.toast(`The preset “${chosen}” was replaced.`, "ready", () => write(before));
    });
  const others = (name) => Object.fromEntries(Object.entries(own()).filter(([other]) => other !== name));
  const chosen = () => list().selectedOptions[0];
  return {
    draw, sync, options,
    save: () => prompt().trim() && name("", own(), prompt()),
    rename: () => name(chosen().text, others(chosen().text), chosen().value),
    remove: () => {
      const {text, value} = chosen();
      write(others(text));
      list().focus();
      page.toast("Preset deleted.", "ready", () => write({...own(), [text]: value}));
    },
  };
})();
