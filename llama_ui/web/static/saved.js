/* The list of saved conversations. IndexedDB has two stores, so that the list is read without the images in the conversations:
   "listed" has an id, title and time of change for each, "contents" the history and the settings. */
const saved = (() => {
  const finished = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = request.oncomplete = () => resolve(request.result);
      request.onerror = request.onabort = () => reject(request.error);
    });
  const withStores = async (mode, use) => {
    const opening = indexedDB.open("llama-ui", 1);
    const addStore = (name) => opening.result.createObjectStore(name, {keyPath: "id"});
    opening.onupgradeneeded = () => ["listed", "contents"].forEach(addStore);
    const database = await finished(opening);
    const transaction = database.transaction(["listed", "contents"], mode);
    const request = use(transaction.objectStore("listed"), transaction.objectStore("contents"));
    return finished(mode === "readwrite" ? transaction : request).finally(() => database.close());
  };
  const read = async (id) => {
    const content = await withStores("readonly", (listed, contents) => contents.get(id));
    const entry = content && (await withStores("readonly", (listed) => listed.get(id)));
    return entry && {...content, ...entry};
  };
  /* Where another tab has changed the conversation since `changed`, both versions are saved. Returns the entry of this one. */
  const write = async ({id, title, changed}, history, settings, newId) => {
    let entry;
    await withStores("readwrite", (listed, contents) => {
      listed.get(id).onsuccess = ({target: {result: stored}}) => {
        entry = {id: stored && stored.changed !== changed ? newId : id, title: stored?.title ?? title, changed: Date.now()};
        listed.put(entry);
        contents.put({id: entry.id, history, settings});
      };
    });
    return entry;
  };
  /* Draws the list, by day. */
  const draw = async () => {
    const list = $("#chat-list");
    if (!list || list.querySelector("input")) return; // a title is being edited
    const words = $("#chat-search").value.toLowerCase().split(/\s+/);
    const all = await withStores("readonly", (listed) => listed.getAll()).catch(() => []);
    const entries = all.filter(({title}) => words.every((word) => title.toLowerCase().includes(word)));
    entries.sort((one, other) => other.changed - one.changed);
    $("#no-chats").textContent = all.length ? "No chat has these words in its title." : "Chats are saved in this browser only.";
    const days = entries.map(({changed}) => dayOf(changed));
    const items = entries.flatMap((entry, i) => {
      const item = create("li", {className: entry.id === conversations.currentId() ? "current" : ""}, ...buttonsOf(entry));
      item.dataset.id = entry.id;
      return days[i] === days[i - 1] ? [item] : [create("li", {className: "group", textContent: days[i]}), item];
    });
    const focusedId = list.contains(document.activeElement) && document.activeElement.closest("li").dataset.id;
    list.replaceChildren(...items);
    if (focusedId) (list.querySelector(`[data-id="${focusedId}"] button`) ?? $("#chat-search")).focus();
  };
  const dayOf = (time) => {
    const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(time).setHours(0, 0, 0, 0)) / 86_400_000);
    return ["Today", "Yesterday"][days] ?? new Date(time).toLocaleDateString("en", {day: "numeric", month: "long", year: "numeric"});
  };
  const buttonsOf = (entry) => {
    const [{id, title}, isCurrent] = [entry, entry.id === conversations.currentId()];
    const onclick = () => conversations.open(id);
    const opening = create("button", {textContent: title, title, ariaCurrent: isCurrent ? "true" : null, onclick});
    const edit = () => page.editText(opening, title, "Name", (name) => name && rename(entry, name));
    return [opening, iconButton(`Rename ${title}`, "rename", edit), iconButton(`Delete ${title}`, "delete", () => remove(entry))];
  };
  const rename = async (entry, title) => {
    await withStores("readwrite", (listed) => {
      listed.get(entry.id).onsuccess = ({target: {result: stored}}) => stored && listed.put({...stored, title});
    });
    conversations.onRename(entry.id, title);
    await draw();
  };
  const remove = async (entry) => {
    if (!(await conversations.leave(entry.id))) return;
    const {history, settings} = await read(entry.id);
    await withStores("readwrite", (listed, contents) => [listed.delete(entry.id), contents.delete(entry.id)]).then(draw);
    const restore = (listed, contents) => [listed.put(entry), contents.put({id: entry.id, history, settings})];
    page.toast("Chat deleted.", "ready", () => withStores("readwrite", restore).then(draw));
  };
  return {draw, read, write};
})();
