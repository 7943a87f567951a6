/* What the scripts share. They make one script, in the order of their names, behind the constants of app.py. */
const $ = (selector) => document.querySelector(selector);
const $$ = (selector) => [...document.querySelectorAll(selector)];
const root = document.documentElement; // its data attributes say what is open
const FIELDS = Object.keys(LABELS); // of the settings, in order
const NO_CHANGE = {__type__: "update"}; // of a component
const create = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const grouped = (items, groupOf, draw, role = null) => items.flatMap((item, i) => { // with a heading before each group
  const [group, previous] = [groupOf(item), i && groupOf(items[i - 1])];
  const heading = group && group !== previous && create("li", {className: "group", role, textContent: group});
  return heading ? [heading, draw(item, i)] : [draw(item, i)];
});
const icon = (name) => `<svg class="icon" aria-hidden="true"><use href="#icon-${name}"/></svg>`;
const iconButton = (label, name, onclick) => create("button", {className: "quiet", innerHTML: icon(name), title: label, ariaLabel: label, onclick});
const copyOf = (history) => JSON.parse(JSON.stringify(history)); // Gradio's messages are proxies that change
/* Presses one of Gradio's hidden buttons: Gradio then calls a function of these scripts with the values of components. */
const press = (id) => document.getElementById(id)?.click(); // an id may have a dot
/* The result of a function that may fail: browsers block storage, and files and histories have any content. */
const attempt = (action) => { try { return action(); } catch {} };
const load = (key, storage = "localStorage") => attempt(() => JSON.parse(window[storage].getItem(key)));
const store = (key, value, storage = "localStorage") => attempt(() => window[storage].setItem(key, JSON.stringify(value)) ?? true);
/* Copies a text: where there is no clipboard, as on plain http, by way of a selection, or if that is denied, does `otherwise`. */
const copy = (text, done, otherwise) => {
  const select = () => {
    const [area, focused] = [create("textarea", {value: text}), document.activeElement];
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused.focus();
    if (!copied) throw new Error("Not copied.");
  };
  (navigator.clipboard?.writeText(text) ?? Promise.reject()).catch(select).then(() => page.toast(done, "ready"), otherwise);
};
