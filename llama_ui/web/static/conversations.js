/* The conversation in this tab: saved in this browser, exported and imported as files, shared as links. */
const conversations = (() => {
  const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2);
  const firstText = (history) => history.filter(({role}) => role === "user").map(chat.textOf)[0] ?? "";
  const titleOf = (history) => [...firstText(history).replace(/\s+/g, " ").trim()].slice(0, 80).join("") || "A picture";
  /* Its id, title and time of the last change that this tab knows of; null for a new one. The session storage has it with the
     settings and the page's query: another link starts another conversation. */
  let current = null;
  let draft = {}; // what is in the message box
  /* When the page is left: the draft, without its pictures where they are too large for the session storage. */
  const keepDraft = () => store("draft", draft, "sessionStorage") ?? store("draft", {...draft, files: []}, "sessionStorage");
  for (const type of ["pagehide", "visibilitychange"]) window.addEventListener(type, keepDraft);
  const remember = () => store("conversation", {id: current?.id, search: location.search, settings: form.latest()}, "sessionStorage");
  const setCurrent = (conversation) => {
    current = conversation;
    document.title = `${conversation ? `${conversation.title} · ` : ""}Llama Stack Chat`;
    remember();
    saved.draw();
  };
  let saving = Promise.resolve(); // one save after the other
  const save = (messages, settings) => {
    if (!messages.length && !current) return;
    const [history, details] = [copyOf(chat.settle(messages)), tokens.until(tokens.turnOf(messages))];
    if (!current) setCurrent({id: newId(), title: titleOf(history)});
    const conversation = current;
    const write = async () => {
      const entry = await saved.write(conversation, {history, settings: form.byName(settings), details}, newId()).catch(console.error);
      if (entry) Object.assign(conversation, entry);
      else page.toast("This browser can't save the chat: its storage is full or blocked. Export the chat to keep it.");
      remember();
      await saved.draw();
      if (saving === done) $("#chat-list").ariaBusy = false;
    };
    const done = (saving = saving.then(write));
    $("#chat-list").ariaBusy = true;
  };
  /* Shows a conversation in place of the current one. Settings that it doesn't have stay as they are. */
  let next = null;
  const show = (history, settings = {}, conversation = null, details = {}) => {
    if (chat.isReplying()) return void page.toast("A reply is being written. Stop it first.");
    if (compare.isOpen()) compare.close();
    next = {history, settings};
    tokens.load(details);
    setCurrent(conversation);
    press("restore");
    if (!page.isWide()) page.setPanel("chats", false);
    page.focusBox();
    return true;
  };
  const valueOf = (settings, field) => (field === "model" ? settings.model || undefined : settings[field]); // a blank model is none
  const componentValues = ({history = NO_CHANGE, settings}) => [history, ...FIELDS.map((field) => valueOf(settings, field) ?? NO_CHANGE)];
  const fill = (box) => {
    if (next.history) chat.show(next.history);
    if (next.history?.length) page.hideUntilDrawn();
    return [...componentValues(next), next.fillBox?.(box) ?? NO_CHANGE];
  };
  const exportAs = (kind) => (_, ...conversation) => [{kind, title: current?.title ?? "", details: tokens.all()}, ...conversation];
  let hasDraft = false; // from before a reload
  const query = Object.fromEntries(new URLSearchParams(location.search));
  return {
    setDraft: (content) => (draft = content),
    save, fill, remember, currentId: () => current?.id, startNew: () => [chat.isReplying() || ($("#chat-search").value = ""), show([])],
    setHistory: (history) => [(next = {history, settings: {}}), press("restore"), save(history, Object.values(form.latest()))],
    /* Puts in the message box what the function makes of its content. */
    fillBox: (fillBox) => [(next = {fillBox, settings: {}}), press("restore")],
    setSettings: (settings) => [(next = {settings}), press("restore")],
    open: async (id) => {
      await saving;
      const conversation = await saved.read(id).catch(() => null);
      if (conversation) show(conversation.history, conversation.settings, conversation, conversation.details);
      else await saved.draw();
    },
    /* Returns whether the conversation can be deleted: it is not, or no longer, the current one. */
    leave: async (id) => (id !== current?.id || show([])) && saving.then(() => true),
    onRename: (id, title) => id === current?.id && setCurrent(Object.assign(current, {title})),
    /* When the page loads: shows the draft, the conversation and the settings that this tab had, unless a link was followed. */
    restoreTab: async () => {
      saved.draw();
      window.addEventListener("focus", saved.draw);
      $("#chat-search").oninput = saved.draw;
      const before = load("conversation", "sessionStorage") ?? {};
      const isLink = [...FIELDS, "message"].some((name) => name in query);
      draft = load("draft", "sessionStorage") ?? {};
      if (isLink && before.search !== location.search) return [...componentValues({settings: {}}), NO_CHANGE];
      const conversation = before.id && (await saved.read(before.id).catch(console.error));
      if (conversation) [setCurrent(conversation), tokens.load(conversation.details)];
      next = {history: conversation?.history, settings: before.settings ?? conversation?.settings ?? {}};
      hasDraft = Boolean(draft.text || draft.files?.length);
      if (hasDraft) next.fillBox = () => draft;
      return fill();
    },
    linkQuery: (model) => [model, current ? {} : {...query, ...(hasDraft && {message: undefined})}],
    exportJson: exportAs("json"), exportMarkdown: exportAs("md"),
    download: ({text, name, type, error}) => {
      if (error) return page.toast(error);
      const href = URL.createObjectURL(new Blob([text], {type}));
      create("a", {href, download: name}).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
    },
    copyText: ({text, error}) => {
      if (error) return page.toast(error);
      copy(text, "Conversation copied.", () => page.toast("This browser can't copy here. Export the chat as Markdown instead."));
    },
    onFileError: () => page.toast("The file could not be created or read. Try again."),
    showImport: (file) => {
      if (file.error) return page.toast(file.error);
      const conversation = {id: newId(), title: file.title || titleOf(file.history)};
      if (!show(file.history, form.byName(file.settings), conversation, file.details)) return;
      save(file.history, file.settings);
      if (file.note) page.toast(file.note, "ready");
    },
    /* A link that fills in the settings and the first message, and sends nothing. */
    copyLink: (history, box, ...settings) => {
      const values = Object.entries({...form.byName(settings), message: firstText(history) || box.text});
      const filled = new URLSearchParams(values.filter(([name, value]) => name === "system_prompt" || value));
      const link = `${location.origin}${location.pathname}?${filled}`;
      if (link.length > 8000) return page.toast("This is too long for a link. Export it as JSON."); // for servers and messengers
      copy(link, "Link copied, with settings and first message.", () => page.toast(`The link: ${link}`, "ready"));
    },
  };
})();
