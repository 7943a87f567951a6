/* The chat in the browser. A message is shown and the message box locked without a request to the app: the one request
   is for the reply. Gradio calls these functions with the values of components, and takes new values or property updates
   from them. The app puts LIMITS, the limits of a message, in front of this file. */
const chat = (() => {
  const LOCKED = {__type__: "update", interactive: false, submit_btn: false, stop_btn: true};
  const UNLOCKED = {__type__: "update", interactive: true, submit_btn: true, stop_btn: false};
  const textOf = (message) => message.content.flatMap((part) => part.text ?? []).join("\n\n");
  const imagesOf = (message) => message.content.flatMap((part) => (part.component === "image" ? part.value.url : []));
  const lastUserIndex = (history) => history.findLastIndex((message) => message.role === "user");
  const format = (count) => count.toLocaleString("en");

  /* An image in the message box: Gradio's file object with the whole image in its URL. */
  const imageFile = (url) => ({path: "picture", url, mime_type: url.slice(5, url.indexOf(";")), meta: {_type: "gradio.FileData"}});
  const isUnread = (file) => !file.url.startsWith("data:");
  const userMessage = ({text, files}) => ({
    role: "user",
    metadata: null,
    content: [
      ...(text.trim() ? [{type: "text", text}] : []), // first, because Gradio's Edit fails on a text behind images
      ...files.map(({url}) => ({type: "component", component: "image", value: {url}, constructor_args: {}, props: {}})),
    ],
    options: null,
  });

  /* Returns why a message can't be sent, or null. */
  const problemWith = ({text, files}, history, model) => {
    if (files.some(isUnread)) return "A file is still being read. The message is sent when it is ready.";
    if (!text.trim() && !files.length) return "Type something to send.";
    if (!text.isWellFormed()) return "The message has characters that cannot be sent. Remove them.";
    const length = [...text].length;
    if (length > LIMITS.chars)
      return `The message has ${format(length)} characters; at most ${format(LIMITS.chars)} are sent. Shorten it.`;
    const textOnly = JSON.parse(document.querySelector("#status [data-text-only]")?.dataset.textOnly ?? "[]");
    if (!textOnly.includes(model)) return null;
    if (files.length) return "This model cannot see pictures. Choose one that can, or remove the pictures.";
    if (history.some((message) => imagesOf(message).length))
      return "The conversation has pictures, which this model cannot see. Choose one that can, or clear the conversation.";
    return null;
  };

  /* Focuses the message box once it is enabled, unless another element has the focus by then. */
  const focusBox = (attempts = 40) => {
    const box = document.querySelector("#message textarea");
    if ((!box || box.disabled) && attempts) setTimeout(focusBox, 50, attempts - 1);
    else if (document.activeElement === document.body) box?.focus({preventScroll: true});
  };

  /* Adds files to Gradio's message box, as its file picker does. */
  const addFiles = (files) => {
    const input = document.querySelector("#message input[type=file]");
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  };

  /* A file dropped beside the box is added to it. By default the browser would leave the page to show the file. */
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!event.defaultPrevented && event.dataTransfer.files.length) addFiles(event.dataTransfer.files);
    event.preventDefault();
  });

  /* The camera: a button in the message box opens a dialog with the live picture. Browsers offer cameras to pages on
     https and localhost only. */
  const CAMERA = `<dialog id="camera" aria-label="Camera"><video autoplay playsinline muted></video><p role="alert"></p>
    <div><button class="take">Take the picture</button><button class="close">Cancel</button></div></dialog>`;
  const CAMERA_BUTTON = `<button id="camera-open" aria-label="Take a picture" title="Take a picture"><svg viewBox="0 0 24 24"
    fill="none" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round"><path d="M3 8h4l2-3h6l2 3h4v11H3z"/>
    <circle cx="12" cy="13" r="3.6"/></svg></button>`;
  const addCamera = () => {
    if (!navigator.mediaDevices) return;
    document.body.insertAdjacentHTML("beforeend", CAMERA);
    document.querySelector("#message .textarea-wrapper").insertAdjacentHTML("beforebegin", CAMERA_BUTTON);
    const dialog = document.querySelector("#camera");
    const [video, alert] = dialog.querySelectorAll("video, p");
    const turnOff = () => video.srcObject?.getTracks().forEach((track) => track.stop());
    dialog.addEventListener("close", turnOff);
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.querySelector(".take").addEventListener("click", () => {
      if (!video.videoWidth) return;
      const canvas = Object.assign(document.createElement("canvas"), {width: video.videoWidth, height: video.videoHeight});
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => addFiles([new File([blob], "camera.jpg", {type: "image/jpeg"})]), "image/jpeg", 0.92);
      dialog.close();
    });
    document.querySelector("#camera-open").addEventListener("click", async () => {
      alert.textContent = "";
      dialog.showModal();
      try {
        const constraints = {facingMode: "environment", width: {ideal: 1920}, height: {ideal: 1920}};
        video.srcObject = await navigator.mediaDevices.getUserMedia({video: constraints});
        if (!dialog.open) turnOff();
      } catch (error) {
        alert.textContent = "The camera can't be used: there is none, or the browser has no permission.";
      }
    });
  };

  /* The HTML of an error below the message box. On a narrow page it may be below the screen: scrolls to it. */
  const errorHtml = (sentence) => {
    if (sentence) setTimeout(() => document.querySelector("#message-error").scrollIntoView({block: "nearest"}), 100);
    return sentence ? `<p class="status error" role="alert">${sentence}</p>` : "";
  };

  /* Shows a sentence at the bottom of the screen for some seconds. */
  const toast = (sentence, state = "error") => {
    document.querySelector("#toast")?.remove();
    const note = Object.assign(document.createElement("p"), {id: "toast", className: `status ${state}`, textContent: sentence});
    note.role = "alert";
    document.body.append(note);
    setTimeout(() => note.remove(), 8000 + 50 * sentence.length);
  };

  /* The statistics of each reply, beside its buttons. Gradio draws one row of buttons for all the messages of a reply. */
  let statsLines = [];
  const receiptOf = (message) => {
    try {
      return JSON.parse(message.metadata?.log ?? "null");
    } catch {
      return null;
    }
  };
  const groupReplies = (history) =>
    history.reduce((groups, message, i) => {
      if (message.role === "assistant" && history[i - 1]?.role === "assistant") groups.at(-1).push(message);
      else if (message.role === "assistant") groups.push([message]);
      return groups;
    }, []);
  const showStats = (history) => {
    statsLines = groupReplies(history).map((group) => group.map((message) => receiptOf(message)?.line).findLast(Boolean) ?? "");
    drawStats();
  };
  const drawStats = () =>
    document.querySelectorAll("#conversation .bot-row").forEach((row, i) => {
      const buttons = row.nextElementSibling;
      const line = statsLines[i] ?? "";
      if (buttons?.matches(".message-buttons") && buttons.dataset.stats !== line) buttons.dataset.stats = line;
    });

  let replying = false;
  let unsaved = null; // a new message with its settings; saved a moment later, so that the request for the reply goes first
  const saveMessage = () => {
    if (unsaved) conversations.save(...unsaved);
    unsaved = null;
  };
  let discarding = false; // the conversation was cleared during a reply, the rest of which must not come back
  const startReply = () => {
    [replying, discarding] = [true, false];
  };
  let sending = false; // a message is sent once, even if Enter is pressed twice
  let reading = false; // the app is reading files
  let sendAfterReading = false; // Enter was pressed meanwhile

  /* The history without a "Waiting" note, which a reply leaves when it is stopped before it begins, and without a
     "Thinking" that goes on. */
  const settle = (history) =>
    history
      .filter((message) => message.metadata?.id !== "waiting")
      .map((message) => (message.metadata?.title ? {...message, metadata: {...message.metadata, status: "done"}} : message));

  return {
    init: () => {
      addCamera();
      new MutationObserver(drawStats).observe(document.querySelector("#conversation"), {childList: true, subtree: true});
      focusBox();
    },
    toast,
    settle,
    showStats,
    receipts: (history) => history.map(receiptOf).filter((receipt) => receipt?.numbers),
    isReplying: () => replying,
    lock: (history) => {
      startReply();
      showStats(history);
      return LOCKED;
    },

    /* Sending: `validate`, then `addMessage` or, where it throws, `showProblem`. */
    validate: (...message) => {
      if (sending || problemWith(...message)) throw new Error("Not sent.");
      sending = true;
    },
    addMessage: (message, history, ...settings) => {
      sending = false;
      startReply();
      // What the app notes once it has sent the request. A message that is stopped before that has it from here.
      const log = JSON.stringify({sent: conversations.byName(settings.map((value) => value ?? ""))});
      const extended = [...history, {...userMessage(message), metadata: {log}}];
      unsaved = [extended, settings];
      setTimeout(saveMessage, 150);
      return [{...LOCKED, value: {text: "", files: []}}, extended, ""];
    },
    showProblem: (...message) => {
      sendAfterReading = message[0].files.some(isUnread);
      return errorHtml(problemWith(...message));
    },

    /* Files: Gradio's box uploads them, the app reads them, and the images and texts in them take their place. */
    readNewFiles: ({files}) => {
      if (reading || !files.some(isUnread)) return;
      reading = true;
      document.querySelector("#attach").click();
    },
    unreadFiles: ({files}) => [{text: "", files: files.filter(isUnread)}],
    insertFiles: ({text, files}, results) => {
      const resultOf = new Map(results.map((result) => [result.path, result]));
      const problems = results.flatMap((result) => result.error ?? []);
      const texts = results.flatMap((result) => result.text ?? []);
      let images = files.flatMap((file) => {
        const result = resultOf.get(file.path);
        return !result ? file : result.image ? imageFile(result.image) : [];
      });
      if (images.length > LIMITS.images) {
        problems.push(`At most ${LIMITS.images} pictures are sent with a message; the others were left out.`);
        images = images.slice(0, LIMITS.images);
      }
      reading = false;
      if (sendAfterReading && !problems.length) setTimeout(() => document.querySelector("#message .submit-button").click(), 50);
      sendAfterReading = false;
      focusBox();
      // In front of the typed text, so that the cursor stays at its end.
      return [{text: [...texts, text].join("\n\n"), files: images}, problems.map(errorHtml).join("")];
    },
    removeUnreadFiles: ({text, files}) => {
      reading = sendAfterReading = false;
      return [{text, files: files.filter((file) => !isUnread(file))}, errorHtml("The file could not be read. Add it again.")];
    },

    retry: (history) => {
      startReply();
      const question = history.slice(0, lastUserIndex(history) + 1);
      showStats(question);
      return [question, LOCKED];
    },
    undo: (history, ...settings) => {
      const message = history[lastUserIndex(history)];
      const rest = history.slice(0, lastUserIndex(history));
      conversations.save(rest, settings);
      return [{text: textOf(message), files: imagesOf(message).map(imageFile)}, rest];
    },
    onStop: (history, ...settings) => {
      unsaved = null;
      const settled = settle(history);
      conversations.save(settled, settings);
      return [settled];
    },
    /* The app is asked again for the status line and the models after a failure, after a notice (the server has changed),
       and after a reply from a server that the status line calls unreachable. An update of the reply may have arrived
       after Stop or Clear: the history is then replaced. */
    onReplyEnd: (history, ...settings) => {
      unsaved = null;
      const settled = discarding ? [] : settle(history);
      replying = false;
      showStats(settled);
      conversations.save(settled, settings);
      const changed = ["error", "notice"].includes(settled.at(-1)?.metadata?.id);
      if (changed || document.querySelector("#status .error")) document.querySelector("#refresh").click();
      focusBox();
      const late = discarding || history.some(({metadata}) => metadata?.id === "waiting" || metadata?.status === "pending");
      return [UNLOCKED, late ? settled : {__type__: "update"}];
    },
    onClear: () => {
      discarding = replying;
      saveMessage();
      conversations.leave();
    },
  };
})();
