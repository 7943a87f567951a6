/* System prompts with a name: those of the guide, which are in the HTML, and the visitor's own, which stay in this browser. */
const presets = (() => {
  const own = () => load("presets") ?? {};
  const list = () => $("#presets select");
  const prompt = () => $("#system-prompt textarea").value;
  const options = () => [...(list()?.options ?? [])].filter(({value}) => value);
  /* Chooses the preset that the system prompt is. */
  const sync = (text = prompt()) => {
    if (!list()) return; // it is being named
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
    page.editText(list(), value, "Name of the preset", (chosen) => {
      const before = own();
      if (chosen) write({...others, [chosen]: text});
      if (Object.hasOwn(others, chosen)) page.toast(`The preset “${chosen}” was replaced.`, "ready", () => write(before));
    });
  /* The chosen preset's name, all others, and its text. */
  const split = () => {
    const chosen = list().selectedOptions[0].text;
    const {[chosen]: text, ...others} = own();
    return [chosen, others, text];
  };
  return {
    draw, sync,
    all: () => options().map(({text, value}) => [text, value]),
    save: () => prompt().trim() && name("", own(), prompt()),
    rename: () => name(...split()),
    remove: () => {
      const [deleted, others, text] = split();
      write(others);
      list().focus();
      page.toast("Preset deleted.", "ready", () => write({...own(), [deleted]: text}));
    },
  };
})();
