/* The chat. A message is shown, and Stop with it, without a request to the app: the one request is for the reply. Gradio calls
   these functions with the values of components, and takes new values or property updates from them. */
const chat = (() => {
  const LOCKED = {...NO_CHANGE, submit_btn: false, stop_btn: true};
  const UNLOCKED = {...NO_CHANGE, submit_btn: true, stop_btn: false};
  const textOf = (message) => message.content.flatMap((part) => part.text ?? []).join("\n\n");
  const imagesOf = (message) => message.content.flatMap((part) => (part.component === "image" ? part.value.url : []));
  const lastUserIndex = (history) => history.findLastIndex((message) => message.role === "user");
  /* An image in the message box: Gradio's file object with the whole image in its URL. */
  const imageFile = (url) => ({path: "picture", url, mime_type: url.slice(5, url.indexOf(";")), meta: {_type: "gradio.FileData"}});
  const isUnread = (file) => !file.url.startsWith("data:");
  const userMessage = ({text, files}, sent = null) => {
    const images = files.map(({url}) => ({type: "component", component: "image", value: {url}, constructor_args: {}, props: {}}));
    const content = [...(text.trim() ? [{type: "text", text}] : []), ...images]; // Gradio's Edit fails on a text behind images
    return {role: "user", metadata: sent && {log: JSON.stringify({sent})}, content, options: null};
  };
  const problemWith = ({text, files}, history, ...settings) => { // why a message can't be sent, or a blank text
    const [length, most] = [[...text].length, LIMITS.chars].map((count) => count.toLocaleString("en"));
    if (replying) return "A reply is being written. Send the message when it has ended.";
    if (files.some(isUnread)) return "A file is still being read. The message is sent when it is ready.";
    if (!text.trim() && !files.length) return "Type something to send.";
    if (!text.isWellFormed()) return "The message has characters that cannot be sent. Remove them.";
    if ([...text].length > LIMITS.chars) return `The message has ${length} characters; at most ${most} are sent. Shorten it.`;
    const invalid = form.showProblems(settings);
    if (invalid || !picker.serverData("textOnly").includes(form.byName(settings).model)) return invalid;
    if (files.length) return "This model cannot see pictures. Choose one that can, or remove the pictures.";
    if (!history.some((message) => imagesOf(message).length)) return "";
    return "The conversation has pictures, which this model cannot see. Choose one that can, or start a new chat.";
  };
  const errorHtml = (sentence) => {
    $("#message-error").hidden = !sentence;
    return sentence && `<p class="status error" role="alert">${sentence}</p>`;
  };
  /* The app's notes on a message: what was sent, times and tokens, and a line with these. */
  const receiptOf = (message) => attempt(() => JSON.parse(message.metadata?.log ?? "null"));
  const show = (history) => [page.show("conversation", history), inspect.showTimes(history)];
  let [replying, started, stopped] = [false, 0, 0]; // when the last message was sent; seconds after that, by the reader
  let unsaved = null; // a history with a new message; saved a moment later, so that the request for the reply goes first
  let sending = false; // a message is sent once, even if Enter is pressed twice
  let [reading, sendAfterReading] = [false, false]; // the app is reading files; Enter was pressed meanwhile
  const startReply = (history, ...settings) => {
    [replying, started, stopped, sending, unsaved] = [true, performance.now(), 0, false, history];
    root.toggleAttribute("data-empty", false);
    page.setBusy(true);
    page.jump();
    setTimeout(() => unsaved === history && [show(history), conversations.save(history, settings)], 150);
  };
  const add = (message, history, ...settings) => {
    const sent = form.byName(settings.map((value) => value ?? "")); // as the app notes it when it has sent the request
    const extended = [...history, userMessage(message, sent)];
    startReply(extended, ...settings);
    return extended;
  };
  /* The history without what a stopped reply leaves: a "Waiting" note, a "Thinking" that goes on, no time. */
  const isPending = ({metadata}) => metadata?.id === "waiting" || metadata?.status === "pending";
  const withMetadata = (message, changes) => ({...message, metadata: {...message.metadata, ...changes}});
  const settle = (history, seconds = stopped) => {
    const end = (message) => (message.metadata?.title ? withMetadata(message, {status: "done"}) : message);
    const settled = history.filter(({metadata}) => metadata?.id !== "waiting").map(end);
    const index = settled.findLastIndex(({metadata}) => !metadata?.id && !metadata?.title);
    if (!seconds || index < lastUserIndex(settled)) return settled;
    const {sent, numbers = {}} = receiptOf(settled[index]) ?? {};
    const generating = Math.max(0, seconds - (numbers.waited ?? 0) - (numbers.first ?? 0));
    const line = `${numbers.first ? `${numbers.first.toFixed(2)} s to first token · ` : ""}stopped after ${seconds.toFixed(2)} s`;
    const log = {sent, numbers: {...numbers, generating, finish_reason: "stopped"}, line};
    return settled.with(index, withMetadata(settled[index], {log: JSON.stringify(log)}));
  };
  return {
    settle, show, receiptOf, textOf, userMessage, isReplying: () => replying,
    /* Sending: `validate`, then `addMessage` or, where it throws, `showProblem`. */
    validate: (...message) => { if (sending || problemWith(...message)) throw new Error("Not sent."); sending = true; },
    addMessage: (...values) => [{...LOCKED, value: {text: "", files: []}}, add(...values), ""],
    showProblem: (...message) => {
      sendAfterReading = message[0].files.some(isUnread);
      return errorHtml(problemWith(...message));
    },
    sendPrepared: (history, ...settings) => { // the next message of the guide; the message box stays as it is
      const [text, changes] = guide.takeStep();
      const changed = Object.values({...form.byName(settings), ...changes});
      return [LOCKED, add({text, files: []}, history, ...changed), ...changed];
    },
    lockForEdit: (...conversation) => startReply(...conversation) ?? LOCKED,
    retry: (history, ...settings) => {
      const question = history.slice(0, lastUserIndex(history) + 1);
      startReply(question, ...settings);
      return [question, LOCKED];
    },
    undo: (history, ...settings) => {
      const [message, rest] = [history[lastUserIndex(history)], history.slice(0, lastUserIndex(history))];
      show(rest);
      conversations.save(rest, settings);
      return [{text: textOf(message), files: imagesOf(message).map(imageFile)}, rest];
    },
    onStop: (history, ...settings) => {
      [stopped, unsaved] = [(performance.now() - started) / 1000, null];
      conversations.save(settle(history), settings);
      return [settle(history)];
    },
    /* The app is asked again for the server and its models after a failure, after a notice (the server has changed), and
       where the server is said not to answer. An update of the reply may have arrived after Stop. */
    onReplyEnd: (history, ...settings) => {
      const settled = settle(history);
      const [last, kind] = [settled.at(-1), settled.at(-1)?.metadata?.id];
      [replying, unsaved] = [false, null];
      show(settled);
      conversations.save(settled, settings);
      page.setBusy(false, last?.role === "assistant" ? `Reply: ${textOf(last).slice(0, 400)}` : "");
      if (kind === "error" || kind === "notice" || $("#status .error")) press("refresh");
      guide.onReplyEnd(settled, kind === "error" || stopped);
      return [UNLOCKED, stopped || history.some(isPending) ? settled : NO_CHANGE];
    },
    /* Files: Gradio's box uploads them, the app reads them, and the images and texts in them take their place. */
    readNewFiles: ({files}) => {
      root.toggleAttribute("data-files", files.length > 0); // which cover the guide
      if (!reading && (reading = files.some(isUnread))) press("attach");
    },
    unreadFiles: ({files}) => [{text: "", files: files.filter(isUnread)}],
    insertFiles: ({text, files}, results) => {
      const [problems, texts] = ["problems", "texts"].map((kind) => Object.values(results).flatMap((result) => result[kind]));
      const images = files.flatMap((file) => results[file.path]?.images.map(imageFile) ?? file);
      if (images.length > LIMITS.images) problems.push(`At most ${LIMITS.images} pictures are sent with a message; the others were left out.`);
      if (sendAfterReading && !problems.length) setTimeout(() => $("#message .submit-button").click(), 50);
      reading = sendAfterReading = false;
      page.focusBox(); // the texts come in front of what was typed, so that the cursor stays at its end
      return [{text: [...texts, text].join("\n\n"), files: images.slice(0, LIMITS.images)}, problems.map(errorHtml).join("")];
    },
    removeUnreadFiles: ({text, files}) => {
      reading = sendAfterReading = false;
      return [{text, files: files.filter((file) => !isUnread(file))}, errorHtml("The file could not be read. Add it again.")];
    },
  };
})();
