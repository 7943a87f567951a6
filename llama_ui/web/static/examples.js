/* The examples that are sent between the system prompt and the conversation, hand-written in Inspect. */
const examples = (() => {
  const list = () => $("#examples");
  const read = () => [...list().children].map((item) => Object.fromEntries([...item.querySelectorAll("textarea")].map(({dataset, value}) => [dataset.part, value])));
  let written = ""; // the setting, as it was last read or written
  const write = () => {
    const pairs = read();
    written = pairs.some(({user, assistant}) => user || assistant) ? JSON.stringify(pairs) : "";
    form.type("examples", written);
  };
  const add = ({user, assistant}) => {
    const item = $("#example").content.firstElementChild.cloneNode(true);
    [...item.querySelectorAll("textarea")].forEach((area, i) => Object.assign(area, {value: [user, assistant][i] ?? "", oninput: write}));
    list().append(item);
    return item;
  };
  return {
    add: () => add({}).querySelector("textarea").focus(),
    remove: (button) => { button.closest("li").remove(); write(); },
    /* Shows the examples of the settings, unless they were typed here. */
    sync: (text) => {
      if (text === written || !list()) return;
      written = text;
      list().replaceChildren();
      for (const pair of attempt(() => JSON.parse(text || "[]")) ?? []) add(pair);
    },
  };
})();
