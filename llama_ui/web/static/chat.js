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
  const isBlank = ({text, files}) => !text.trim() && !files.length;
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
    if (isBlank({text, files})) return "Type something to send.";
    if (!text.isWellFormed()) return "The message has characters that cannot be sent. Remove them.";
    if ([...text].length > LIMITS.chars) return `The message has ${length} characters; at most ${most} are sent. Shorten it.`;
    const invalid = form.showProblems(settings, true, text);
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
  let undone = null; // a message, as the box has it
  const useMessage = (box) => { // the other one stays at hand
    const message = undone;
    undone = copyOf(box);
    if (!isBlank(box)) page.toast("The message is in the box.", "ready", () => conversations.fillBox(useMessage), "Use the draft", true);
    return message;
  };
  let [reading, sendAfterReading] = [false, false]; // the app is reading files; Enter was pressed meanwhile
  let continuing = null; // the text that the next reply goes on from, and its tokens
  const startReply = (history, ...settings) => {
    [replying, started, stopped, sending, unsaved] = [true, performance.now(), 0, false, history];
    tokens.begin(history, continuing?.lines);
    if (form.byName(settings).n > 1) compare.openSamples();
    root.toggleAttribute("data-empty", false);
    page.setBusy(true);
    page.jump();
    setTimeout(() => unsaved === history && [show(history), conversations.save(history, settings)], 150);
  };
  const add = ({text, files}, history, ...settings) => {
    const sent = form.byName(variables.filled(settings).map((value) => value ?? "")); // as the app notes it when it has sent the request
    const extended = [...history, userMessage({text: variables.fill(text), files}, sent)];
    startReply(extended, ...settings);
    return extended;
  };
  /* The history without what a reply leaves that ended early: a "Waiting" note, a "Thinking" that goes on, no time. */
  const isPending = ({metadata}) => metadata?.id === "waiting" || metadata?.status === "pending";
  const note = (id, text) => ({role: "assistant", metadata: {id}, content: [{type: "text", text}], options: null});
  const withMetadata = (message, changes) => ({...message, metadata: {...message.metadata, ...changes}});
  const tokensIn = (text) => Math.ceil(new TextEncoder().encode(text).length / 4); // as the app estimates them
  const settle = (history, seconds = 0, reason = "stopped") => {
    const finish = (message) => (message.metadata?.title ? withMetadata(message, {status: "done"}) : message);
    const settled = history.filter(({metadata}) => metadata?.id !== "waiting").map(finish);
    const [question, answer] = [lastUserIndex(settled), settled.findLastIndex(({metadata}) => !metadata?.id && !metadata?.title)];
    if (!seconds || !settled.length) return settled;
    // Gradio shows the receipt of thoughts, so that of a reply without an answer is in a note.
    if (answer <= question && !settled.at(-1).metadata?.id) settled.push(note("ending", "ℹ️ The reply ended before the answer began."));
    const index = answer > question ? answer : settled.length - 1;
    const {sent = receiptOf(settled[question] ?? {})?.sent, numbers = {}} = receiptOf(settled[index]) ?? {};
    if (numbers.finish_reason) return settled;
    const generating = Math.max(0, seconds - (numbers.waited ?? 0) - (numbers.first ?? 0));
    const texts = settled.map((message) => (message.metadata?.id ? "" : textOf(message)));
    const asked = settled.flatMap(({metadata}, i) => (i <= question && !metadata?.title ? texts[i] : []));
    const [before, after] = [[sent?.system_prompt ?? "", ...asked], texts.slice(question + 1)].map((list) => tokensIn(list.join("")));
    const first = numbers.first ? `${numbers.first.toFixed(2)} s to first token · ` : "";
    const line = `${first}≈${before} tokens in, ≈${after} out · ${reason} after ${seconds.toFixed(2)} s`;
    const counts = {prompt_tokens: before, completion_tokens: after, estimated: true};
    const log = {sent, numbers: {...numbers, ...counts, generating, finish_reason: reason}, line};
    return settled.with(index, withMetadata(settled[index], {log: JSON.stringify(log)}));
  };
  const end = (settled, settings, isChanged) => {
    const [last, kind] = [settled.at(-1), settled.at(-1)?.metadata?.id];
    [replying, unsaved] = [false, null];
    show(settled);
    conversations.save(settled, settings);
    page.setBusy(false, last?.role === "assistant" ? `Reply: ${textOf(last).slice(0, 400)}` : "");
    if (kind === "error" || kind === "notice" || $("#status .error")) press("refresh");
    guide.onReplyEnd(settled, kind === "error" || stopped);
    return [UNLOCKED, isChanged ? settled : NO_CHANGE];
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
      if (continuing) question.push({...note(null, continuing.text), metadata: null});
      startReply(question, ...settings);
      continuing = null;
      return [question, LOCKED];
    },
    continueFrom: (text, lines) => { continuing = {text, lines}; if (!page.retry()) continuing = null; },
    /* The message goes back to the box, or where that has a draft, is offered. */
    undo: (box, history, ...settings) => {
      const [message, rest] = [history[lastUserIndex(history)], history.slice(0, lastUserIndex(history))];
      undone = {text: textOf(message), files: imagesOf(message).map(imageFile)};
      show(rest);
      conversations.save(rest, settings);
      if (isBlank(box)) return [undone, rest];
      page.toast("The message was taken back. The box still has your draft.", "ready", () => conversations.fillBox(useMessage), "Use the message", true);
      return [NO_CHANGE, rest];
    },
    onStop: (history, ...settings) => {
      [stopped, unsaved] = [(performance.now() - started) / 1000, null];
      const settled = settle(history, stopped);
      conversations.save(settled, settings);
      return [settled];
    },
    /* The app is asked again for the server and its models after a failure, after a notice (the server has changed), and
       where the server is said not to answer. An update of the reply may have arrived after Stop. */
    onReplyEnd: (history, details, samples, ...settings) => {
      tokens.onArrival(details);
      compare.onSamplesEnd(samples);
      return end(settle(history, stopped), settings, stopped || history.some(isPending));
    },
    /* The connection to the app was lost, or the app failed. What came of the reply stays. */
    onReplyLost: (history, ...settings) => {
      if (stopped) return [NO_CHANGE, NO_CHANGE]; // Gradio takes Stop for a failure
      const text = "⚠️ The connection to this page's server was lost before the reply ended. What came of it stays.";
      const ended = [...settle(history), note("error", text)];
      return end(settle(ended, (performance.now() - started) / 1000, "failed"), settings, true);
    },
    /* Files: Gradio's box uploads them, the app reads them, and the images and texts in them take their place. */
    onBoxChange: ({text, files}) => {
      root.toggleAttribute("data-files", files.length > 0); // which cover the guide
      conversations.setDraft({text, files: files.filter((file) => !isUnread(file))});
      variables.draw();
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
      const content = {text: [...texts, text].join("\n\n"), files: images.slice(0, LIMITS.images)};
      conversations.setDraft(content); // Gradio tells of no change
      return [content, problems.map(errorHtml).join("")];
    },
    removeUnreadFiles: ({text, files}) => {
      reading = sendAfterReading = false;
      return [{text, files: files.filter((file) => !isUnread(file))}, errorHtml("The file could not be read. Add it again.")];
    },
  };
})();
