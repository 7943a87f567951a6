/* A list to search and choose from: the models, and what a reply can be compared with. */
const picker = (() => {
  let [list, shown, active] = [() => [], [], 0]; // {group, label, value}
  let [isFree, choose] = [false, null]; // whether a text that is not on the list can be chosen; what to do with the choice
  const input = () => $("#picker input");
  const items = () => $$("#picker [role=option]");
  const known = {}; // what the server had, while it is looked up again
  const serverData = (name) => JSON.parse((known[name] = $("#status button")?.dataset[name] ?? known[name] ?? "[]"));
  const mark = () => {
    items().forEach((item, i) => (item.ariaSelected = i === active));
    input().setAttribute("aria-activedescendant", `option-${active}`);
    items()[active]?.scrollIntoView({block: "nearest"});
  };
  const draw = () => {
    const text = input().value.trim();
    const [words, current] = [text.toLowerCase().split(/\s+/), text || (isFree ? $("#model-name").textContent : "")];
    shown = list().filter(({label}) => words.every((word) => label.toLowerCase().includes(word)));
    if (isFree && text && !shown.length) shown = [{label: `Use “${text}” anyway`, value: text}];
    active = Math.max(0, shown.findIndex(({label}) => label === current));
    const itemOf = (option, i) =>
      create("li", {id: `option-${i}`, role: "option", textContent: option.label, onclick: () => end(option)});
    $("#picker ul").replaceChildren(...grouped(shown, ({group}) => group, itemOf, "presentation"));
    $("#picker p").hidden = shown.length > 0;
    mark();
  };
  const end = (option) => [$("#picker").hidePopover(), option && choose(option.value)];
  const onkeydown = (event) => {
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (event.key === "Tab") return end(); // the focus then moves on from the button
    if (event.isComposing || (!step && event.key !== "Enter")) return;
    event.preventDefault();
    if (!step) return end(shown[active]);
    active = (active + step + shown.length) % Math.max(1, shown.length);
    mark();
  };
  const open = (anchor, options, hint, free, onChoose) => {
    [list, isFree, choose] = [options, free, onChoose];
    Object.assign(input(), {value: "", placeholder: hint, ariaLabel: hint, oninput: draw, onkeydown});
    $("#picker").showPopover({source: anchor}); // style.css puts it below
    draw();
    input().focus();
  };
  return {
    open, serverData,
    redraw: () => $("#picker:popover-open") && list().length !== shown.length && !input().value && draw(),
    chooseModel: () => {
      press("refresh"); // models may have been added since
      const models = () => serverData("models").map((model) => ({label: model, value: model}));
      open($("#model-button"), models, "Search models or paste an ID", true, (model) => conversations.setSettings({model}));
    },
    onLocalModel: () => [setTimeout(press, 100, "refresh"), ""][1],
  };
})();
