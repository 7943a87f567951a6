/* Conversations: kept in this browser, taken along as files, and passed on as links. Nothing of them stays in the app. */
const conversations = (() => {
  // The settings, in the order in which Gradio gives their values.
  const FIELDS = ["system_prompt", "model", "temperature", "top_p", "max_tokens", "seed", "reasoning_effort"];
  const LONGEST_LINK = 8000; // characters: what servers and messengers let through
  const SAME = {__type__: "update"};
  const NO_ROOM = "This browser does not keep the conversation: it has no room, or may not. Export it.";

  const byName = (settings) => Object.fromEntries(FIELDS.map((field, i) => [field, settings[i]]));

  /* Two stores, so that the list is read without the pictures in the conversations: what is listed, and what is in them. */
  const done = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = request.oncomplete = () => resolve(request.result);
      request.onerror = request.onabort = () => reject(request.error);
    });
  const inStores = async (mode, use) => {
    const opening = indexedDB.open("llama-ui", 1);
    opening.onupgradeneeded = () => {
      for (const name of ["listed", "contents"]) opening.result.createObjectStore(name, {keyPath: "id"});
    };
    const database = await done(opening);
    try {
      const transaction = database.transaction(["listed", "contents"], mode);
      const request = use(transaction.objectStore("listed"), transaction.objectStore("contents"));
      if (mode === "readwrite") await done(transaction);
      return request && (await done(request));
    } finally {
      database.close();
    }
  };

  /* The conversation of this tab, with when this tab has last seen it change; null: a new one. It is remembered with the
     address at which it was begun: another link begins another one. */
  let current = null;
  const become = (conversation) => {
    current = conversation;
    remember();
    list();
  };
  const remember = () => {
    try {
      sessionStorage.setItem("conversation", JSON.stringify({id: current?.id, search: location.search}));
    } catch {} // a browser that keeps nothing
  };
  const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2);
  const text = (message) => message.content.flatMap((part) => part.text ?? []).join(" ");
  const named = (history) => [...text(history.find((message) => message.role === "user") ?? {content: []}).trim()].slice(0, 80).join("") || "A picture";

  let saving = Promise.resolve(); // one after the other
  const save = (shown, settings) => {
    if (!shown.length && !current) return;
    const history = JSON.parse(JSON.stringify(chat.settled(shown))); // as it is now: Gradio puts proxies into what it shows
    if (!current) become({id: newId(), title: named(history)});
    const mine = current;
    const busy = (is) => document.querySelector("#kept-list")?.setAttribute("aria-busy", is);
    busy(true);
    const saved = saving.then(async () => {
      try {
        let written;
        await inStores("readwrite", (listed, contents) => {
          listed.get(mine.id).onsuccess = ({target: {result: stored}}) => {
            const id = stored && stored.changed !== mine.changed ? newId() : mine.id; // another tab went on with it: both are kept
            written = {id, title: stored?.title ?? mine.title, changed: Date.now()};
            listed.put(written);
            contents.put({id, history, settings: byName(settings)});
          };
        });
        Object.assign(mine, written);
        remember();
      } catch (error) {
        console.error(error);
        chat.tell(NO_ROOM);
      }
      await list();
      if (saving === saved) busy(false);
    });
    saving = saved;
  };

  const list = async () => {
    const place = document.querySelector("#kept-list");
    if (!place || place.querySelector("input")) return; // a name is being written
    const all = await inStores("readonly", (listed) => listed.getAll()).catch(() => []);
    all.sort((one, other) => other.changed - one.changed);
    place.replaceChildren(...all.map(row));
  };
  const button = (label, content, action) => {
    const made = Object.assign(document.createElement("button"), {textContent: content, title: label, onclick: action});
    made.setAttribute("aria-label", label);
    return made;
  };
  const row = (item) => {
    const made = document.createElement("li");
    const name = button(`Open ${item.title}`, item.title, () => open(item.id));
    if (item.id === current?.id) made.setAttribute("aria-current", "true");
    made.append(
      name,
      button(`Rename ${item.title}`, "✎", () => rename(item, name)),
      button(`Delete ${item.title}`, "✕", () => remove(item)),
    );
    return made;
  };
  const rename = (item, name) => {
    const input = Object.assign(document.createElement("input"), {value: item.title, maxLength: 80});
    input.setAttribute("aria-label", "Name");
    name.replaceWith(input);
    input.select();
    const finish = async (chosen) => {
      input.onblur = null;
      input.remove();
      if (chosen && item.id === current?.id) current.title = chosen;
      if (chosen)
        await inStores("readwrite", (listed) => {
          listed.get(item.id).onsuccess = ({target: {result: stored}}) => stored && listed.put({...stored, title: chosen});
        });
      await list();
    };
    input.onblur = () => finish(input.value.trim());
    input.onkeydown = ({key, isComposing}) => {
      if (key === "Enter" && !isComposing) finish(input.value.trim());
      if (key === "Escape") finish("");
    };
  };
  const remove = async (item) => {
    if (!confirm(`Delete “${item.title}”? It cannot be brought back.`)) return;
    if (item.id === current?.id && !begin([])) return;
    await saving;
    await inStores("readwrite", (listed, contents) => {
      listed.delete(item.id);
      contents.delete(item.id);
    });
    await list();
  };

  /* Shows a conversation in place of the one that is there; without settings those of the page stay. */
  let opened = null;
  const begin = (history, settings = {}, conversation = null) => {
    if (chat.busy()) {
      chat.tell("A reply is being written. Stop it first.");
      return false;
    }
    opened = {history, settings};
    become(conversation);
    document.querySelector("#restore").click();
    document.querySelector("#tabs [role=tab]").click();
    return true;
  };
  const listing = ({id, title, changed}) => ({id, title, changed});
  const read = (id) =>
    inStores("readonly", (listed, contents) => contents.get(id)).then(async (content) => {
      const item = content && (await inStores("readonly", (listed) => listed.get(id)));
      return item && {...item, ...content};
    });
  const open = async (id) => {
    await saving;
    const found = await read(id).catch(() => null);
    if (found) begin(found.history, found.settings, listing(found));
    else await list();
  };
  const restored = ({history, settings}) => [history, ...FIELDS.map((field) => settings[field] ?? SAME)];

  const download = (content, name, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  const title = () => current?.title ?? "";
  const filename = (kind) => `${title().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 50) || "conversation"}.${kind}`;
  let empty = false;
  const wanted = (kind) => (_, history, ...settings) => {
    empty = !history.length;
    if (empty) throw new Error("Nothing to export."); // what follows a failure is `failed`
    return [{kind, title: title()}, history, ...settings];
  };

  /* A link that fills in the fields, and sends nothing. */
  const linkTo = (history, settings, box) => {
    const first = history.find((message) => message.role === "user");
    const values = {...Object.fromEntries(FIELDS.map((field, i) => [field, settings[i]])), message: first ? text(first) : box.text};
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(values))
      if (name === "system_prompt" || (value ?? "") !== "") query.set(name, value ?? "");
    return `${location.origin}${location.pathname}?${query}`;
  };

  const query = () => Object.fromEntries(new URLSearchParams(location.search));
  const isLink = () => [...FIELDS, "message"].some((name) => name in query());

  return {
    save,
    byName,
    /* At the page's beginning: the conversation that this tab had, unless a link has brought it here. */
    begin: async () => {
      list();
      window.addEventListener("focus", list);
      try {
        const had = JSON.parse(sessionStorage.getItem("conversation") ?? "null");
        const found = had?.id && (had.search === location.search || !isLink()) && (await read(had.id));
        if (found) {
          become(listing(found));
          chat.show(found.history);
          return restored(found);
        }
      } catch (error) {
        console.error(error);
      }
      return [SAME, ...FIELDS.map(() => SAME)];
    },
    arrive: (model) => [model, current ? {} : query()],
    restored: () => {
      chat.show(opened.history);
      return restored(opened);
    },
    fresh: () => begin([]),
    forget: () => become(null),
    json: wanted("json"),
    markdown: wanted("md"),
    download: (file) => download(file.text, filename(file.kind), file.kind === "json" ? "application/json" : "text/markdown"),
    failed: () => {
      chat.tell(empty ? "There is no conversation to export yet." : "The file could not be made, or read. Try again.");
      empty = false;
    },
    imported: (file) => {
      if (file.complaint) return chat.tell(file.complaint);
      const settings = Object.fromEntries(FIELDS.map((field, i) => [field, file.settings[i]]));
      const conversation = {id: newId(), title: file.title || named(file.history)};
      if (begin(file.history, settings, conversation)) save(file.history, file.settings);
    },
    link: async (history, box, ...settings) => {
      const link = linkTo(history, settings, box);
      if (link.length > LONGEST_LINK) return chat.tell("This is too long for a link. Export it as JSON.");
      try {
        await navigator.clipboard.writeText(link);
        chat.tell("The link is copied. It carries the settings and the first message.", "ready");
      } catch {
        // no clipboard: on http, or not allowed
        chat.tell(`The link: ${link}`, "ready");
      }
    },
  };
})();
