/* Conversations: saved in this browser, exported and imported as files, and shared as links. The app stores nothing. */
const conversations = (() => {
  // The settings, in the order in which Gradio passes their values.
  const SAMPLING = ["temperature", "top_p", "max_tokens", "seed", "reasoning_effort", "streaming"];
  const FIELDS = ["system_prompt", "model", ...SAMPLING];
  const MAX_LINK_LENGTH = 8000; // characters: what servers and messengers accept
  const NO_CHANGE = {__type__: "update"};
  const NOT_SAVED = "This browser can't save the chat: its storage is full or blocked. Export the chat to keep it.";

  const byName = (settings) => Object.fromEntries(FIELDS.map((field, i) => [field, settings[i]]));

  /* IndexedDB has two stores, so that the list is read without the images in the conversations: "listed" has an id, title
     and time of change for each, "contents" the history and the settings. */
  const finished = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = request.oncomplete = () => resolve(request.result);
      request.onerror = request.onabort = () => reject(request.error);
    });
  const withStores = async (mode, use) => {
    const opening = indexedDB.open("llama-ui", 1);
    opening.onupgradeneeded = () => {
      for (const name of ["listed", "contents"]) opening.result.createObjectStore(name, {keyPath: "id"});
    };
    const database = await finished(opening);
    try {
      const transaction = database.transaction(["listed", "contents"], mode);
      const request = use(transaction.objectStore("listed"), transaction.objectStore("contents"));
      if (mode === "readwrite") await finished(transaction);
      return request && (await finished(request));
    } finally {
      database.close();
    }
  };

  /* The conversation in this tab, with the time of the last change that this tab knows of; null for a new one. The session
     storage has it with the page's query: another link starts another conversation. */
  let current = null;
  const setCurrent = (conversation) => {
    current = conversation;
    rememberCurrent();
    updateList();
  };
  const rememberCurrent = () => {
    try {
      sessionStorage.setItem("conversation", JSON.stringify({id: current?.id, search: location.search}));
    } catch {} // the browser blocks storage
  };
  const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2);
  const textOf = (message) => message.content.flatMap((part) => part.text ?? []).join(" ");
  const titleOf = (history) => {
    const question = history.find((message) => message.role === "user");
    return [...(question ? textOf(question) : "").trim()].slice(0, 80).join("") || "A picture";
  };

  let saving = Promise.resolve(); // one save after the other
  const save = (messages, settings) => {
    if (!messages.length && !current) return;
    const history = JSON.parse(JSON.stringify(chat.settle(messages))); // a copy: Gradio's messages are proxies that change
    if (!current) setCurrent({id: newId(), title: titleOf(history)});
    const conversation = current;
    const setBusy = (busy) => document.querySelector("#chat-list")?.setAttribute("aria-busy", busy);
    setBusy(true);
    const saved = saving.then(async () => {
      try {
        let entry;
        await withStores("readwrite", (listed, contents) => {
          listed.get(conversation.id).onsuccess = ({target: {result: stored}}) => {
            // Where another tab has continued the conversation, both versions are saved.
            const id = stored && stored.changed !== conversation.changed ? newId() : conversation.id;
            entry = {id, title: stored?.title ?? conversation.title, changed: Date.now()};
            listed.put(entry);
            contents.put({id, history, settings: byName(settings)});
          };
        });
        Object.assign(conversation, entry);
        rememberCurrent();
      } catch (error) {
        console.error(error);
        chat.toast(NOT_SAVED);
      }
      await updateList();
      if (saving === saved) setBusy(false);
    });
    saving = saved;
  };

  /* The list of saved conversations. */
  const updateList = async () => {
    const list = document.querySelector("#chat-list");
    if (!list || list.querySelector("input")) return; // a title is being edited
    const entries = await withStores("readonly", (listed) => listed.getAll()).catch(() => []);
    entries.sort((one, other) => other.changed - one.changed);
    list.replaceChildren(...entries.map(listItem));
  };
  const button = (label, content, action) => {
    const element = Object.assign(document.createElement("button"), {textContent: content, title: label, onclick: action});
    element.setAttribute("aria-label", label);
    return element;
  };
  const listItem = (entry) => {
    const item = document.createElement("li");
    const title = button(`Open ${entry.title}`, entry.title, () => open(entry.id));
    if (entry.id === current?.id) item.setAttribute("aria-current", "true");
    item.append(
      title,
      button(`Rename ${entry.title}`, "✎", () => editTitle(entry, title)),
      button(`Delete ${entry.title}`, "✕", () => remove(entry)),
    );
    return item;
  };
  const editTitle = (entry, title) => {
    const input = Object.assign(document.createElement("input"), {value: entry.title, maxLength: 80});
    input.setAttribute("aria-label", "Name");
    title.replaceWith(input);
    input.select();
    const finish = async (name) => {
      input.onblur = null;
      input.remove();
      if (name && entry.id === current?.id) current.title = name;
      if (name)
        await withStores("readwrite", (listed) => {
          listed.get(entry.id).onsuccess = ({target: {result: stored}}) => stored && listed.put({...stored, title: name});
        });
      await updateList();
    };
    input.onblur = () => finish(input.value.trim());
    input.onkeydown = ({key, isComposing}) => {
      if (key === "Enter" && !isComposing) finish(input.value.trim());
      if (key === "Escape") finish("");
    };
  };
  const remove = async (entry) => {
    if (!confirm(`Delete “${entry.title}”? This can't be undone.`)) return;
    if (entry.id === current?.id && !show([])) return;
    await saving;
    await withStores("readwrite", (listed, contents) => {
      listed.delete(entry.id);
      contents.delete(entry.id);
    });
    await updateList();
  };

  /* Shows a conversation in place of the current one. Settings that it doesn't have stay as they are. A hidden button has
     Gradio call `fill`. */
  let next = null;
  const show = (history, settings = {}, conversation = null) => {
    if (chat.isReplying()) {
      chat.toast("A reply is being written. Stop it first.");
      return false;
    }
    next = {history, settings};
    setCurrent(conversation);
    document.querySelector("#restore").click();
    document.querySelector("#tabs [role=tab]").click();
    return true;
  };
  const componentValues = ({history, settings}) => [history, ...FIELDS.map((field) => settings[field] ?? NO_CHANGE)];
  const listEntry = ({id, title, changed}) => ({id, title, changed});
  const load = (id) =>
    withStores("readonly", (listed, contents) => contents.get(id)).then(async (content) => {
      const entry = content && (await withStores("readonly", (listed) => listed.get(id)));
      return entry && {...entry, ...content};
    });
  const open = async (id) => {
    await saving;
    const conversation = await load(id).catch(() => null);
    if (conversation) show(conversation.history, conversation.settings, listEntry(conversation));
    else await updateList();
  };

  /* Files. The app converts between a conversation and a file's text. */
  const download = (content, name, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  const title = () => current?.title ?? "";
  const filename = (kind) => `${title().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 50) || "conversation"}.${kind}`;
  let nothingToExport = false;
  const exportAs = (kind) => (_, history, ...settings) => {
    nothingToExport = !history.length;
    if (nothingToExport) throw new Error("Nothing to export."); // Gradio then calls `onFileError`
    return [{kind, title: title()}, history, ...settings];
  };

  /* A link that fills in the settings and the first message, and sends nothing. */
  const linkTo = (history, settings, box) => {
    const first = history.find((message) => message.role === "user");
    const values = {...byName(settings), message: first ? textOf(first) : box.text};
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
    /* When the page loads: shows the conversation that this tab had before, unless a link was followed. */
    restoreTab: async () => {
      updateList();
      window.addEventListener("focus", updateList);
      try {
        const before = JSON.parse(sessionStorage.getItem("conversation") ?? "null");
        const conversation = before?.id && (before.search === location.search || !isLink()) && (await load(before.id));
        if (conversation) {
          setCurrent(listEntry(conversation));
          chat.showStats(conversation.history);
          return componentValues(conversation);
        }
      } catch (error) {
        console.error(error);
      }
      return [NO_CHANGE, ...FIELDS.map(() => NO_CHANGE)];
    },
    linkQuery: (model) => [model, current ? {} : query()],
    fill: () => {
      chat.showStats(next.history);
      return componentValues(next);
    },
    startNew: () => show([]),
    leave: () => setCurrent(null),
    exportJson: exportAs("json"),
    exportMarkdown: exportAs("md"),
    download: (file) => download(file.text, filename(file.kind), file.kind === "json" ? "application/json" : "text/markdown"),
    onFileError: () => {
      chat.toast(nothingToExport ? "There is no conversation to export yet." : "The file could not be created or read. Try again.");
      nothingToExport = false;
    },
    showImport: (file) => {
      if (file.error) return chat.toast(file.error);
      const conversation = {id: newId(), title: file.title || titleOf(file.history)};
      if (show(file.history, byName(file.settings), conversation)) save(file.history, file.settings);
    },
    copyLink: async (history, box, ...settings) => {
      const link = linkTo(history, settings, box);
      if (link.length > MAX_LINK_LENGTH) return chat.toast("This is too long for a link. Export it as JSON.");
      try {
        await navigator.clipboard.writeText(link);
        chat.toast("Link copied, with settings and first message.", "ready");
      } catch {
        // There is no clipboard on http, or the browser denies it.
        chat.toast(`The link: ${link}`, "ready");
      }
    },
  };
})();
