/* The list of saved conversations. IndexedDB has two stores, so that the list is read without the images in the conversations:
   "listed" has an id, title and time of change for each, "contents" the history, the settings, and the details of replies (tokens.js). */
const saved = (() => {
  const finished = (request) => new Promise((resolve, reject) => {
    request.onsuccess = request.oncomplete = () => resolve(request.result);
    request.onerror = request.onabort = () => reject(request.error);
  });
  /* Resolves to what `use` returns, once all its requests are finished. */
  const withStores = async (mode, use) => {
    const [opening, names] = [indexedDB.open("llama-ui", 1), ["listed", "contents"]];
    opening.onupgradeneeded = () => names.forEach((name) => opening.result.createObjectStore(name, {keyPath: "id"}));
    const database = await finished(opening);
    const transaction = database.transaction(names, mode);
    const used = use(...names.map((name) => transaction.objectStore(name)));
    return finished(transaction).finally(() => database.close()).then(() => used);
  };
  const read = async (id) => {
    const [entry, content] = await withStores("readonly", (...stores) => stores.map((store) => store.get(id)));
    return entry.result && content.result && {...content.result, ...entry.result};
  };
  /* Where another tab has changed the conversation since `changed`, both versions are saved. Returns the entry of this one. */
  const write = ({id, title, changed}, content, newId) => withStores("readwrite", (listed, contents) => {
    const entry = {id, title, changed: Date.now()};
    listed.get(id).onsuccess = ({target: {result: stored}}) => {
      if (stored) Object.assign(entry, {id: stored.changed === changed ? id : newId, title: stored.title});
      listed.put(entry);
      contents.put({id: entry.id, ...content});
    };
    return entry;
  });
  const draw = async () => {
    if ($("#name").open) return; // the button that opened it gets the focus back
    const list = $("#chat-list");
    const words = $("#chat-search").value.toLowerCase().split(/\s+/);
    const {result: all} = await withStores("readonly", (listed) => listed.getAll()).catch(() => ({result: []}));
    const entries = all.filter(({title}) => words.every((word) => title.toLowerCase().includes(word)));
    entries.sort((one, other) => other.changed - one.changed);
    $("#no-chats").textContent = all.length ? "No chat has these words in its title." : "Chats are saved in this browser only.";
    const focused = list.contains(document.activeElement) && document.activeElement.closest("li").id;
    list.replaceChildren(...grouped(entries, ({changed}) => dayOf(changed), itemOf));
    if (focused) ($(`#${focused} button`) ?? $("#chat-search")).focus();
  };
  const dayOf = (time) => {
    const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(time).setHours(0, 0, 0, 0)) / 86_400_000);
    return ["Today", "Yesterday"][days] ?? new Date(time).toLocaleDateString("en", {day: "numeric", month: "long", year: "numeric"});
  };
  const itemOf = (entry) => {
    const [{id, title}, isCurrent] = [entry, entry.id === conversations.currentId()];
    const opening = create("button", {textContent: title, title, ariaCurrent: isCurrent ? "true" : null, onclick: () => conversations.open(id)});
    const renaming = iconButton(`Rename ${title}`, "rename", () => page.askName(title, (name) => rename(entry, name)));
    const deleting = iconButton(`Delete ${title}`, "delete", () => remove(entry));
    return create("li", {id: `chat-${id}`, className: isCurrent ? "current" : ""}, opening, renaming, deleting);
  };
  const rename = async (entry, title) => {
    await withStores("readwrite", (listed) => {
      listed.get(entry.id).onsuccess = ({target: {result: stored}}) => stored && listed.put({...stored, title});
    });
    $("#chat-search").value = ""; // else its new title may hide it
    conversations.onRename(entry.id, title);
    await draw();
  };
  const remove = async (entry) => {
    if (!(await conversations.leave(entry.id))) return;
    const content = await read(entry.id);
    await withStores("readwrite", (listed, contents) => [listed.delete(entry.id), contents.delete(entry.id)]).then(draw);
    const restore = (listed, contents) => [listed.put(entry), contents.put(content)];
    page.toast("Chat deleted.", "ready", () => withStores("readwrite", restore).then(draw));
  };
  return {draw, read, write};
})();
