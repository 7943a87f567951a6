/* What the page does by itself. A message is shown, and the box locked, without asking the app: the app is asked once,
   for the reply. Each function is given the values of components and gives new ones, or an update of their properties.
   LIMITS, of what is sent, stands before this file. */
const chat = (() => {
  const LOCKED = {__type__: "update", interactive: false, submit_btn: false, stop_btn: true};
  const UNLOCKED = {__type__: "update", interactive: true, submit_btn: true, stop_btn: false};
  const textOf = (message) => message.content.flatMap((part) => part.text ?? []).join("\n\n");
  const imagesOf = (message) => message.content.flatMap((part) => (part.component === "image" ? part.value.url : []));
  const lastAsked = (history) => history.findLastIndex((message) => message.role === "user");
  const number = (count) => count.toLocaleString("en");

  /* A picture in the box: a file as Gradio's box has it, with all of it in its address. */
  const picture = (url) => ({path: "picture", url, mime_type: url.slice(5, url.indexOf(";")), meta: {_type: "gradio.FileData"}});
  const isNew = (file) => !file.url.startsWith("data:");
  const said = ({text, files}) => ({
    role: "user",
    metadata: null,
    content: [
      ...(text.trim() ? [{type: "text", text}] : []), // first: behind pictures Gradio shows an Edit that fails
      ...files.map(({url}) => ({type: "component", component: "image", value: {url}, constructor_args: {}, props: {}})),
    ],
    options: null,
  });

  /* Why a message is not sent; null if it is. */
  const complaint = ({text, files}, history, model) => {
    if (files.some(isNew)) return "A file is still being read; it is sent as soon as it is.";
    if (!text.trim() && !files.length) return "Type something to send.";
    if (!text.isWellFormed()) return "The message has characters that cannot be sent. Remove them.";
    const length = [...text].length;
    if (length > LIMITS.chars)
      return `The message has ${number(length)} characters; at most ${number(LIMITS.chars)} are sent. Shorten it.`;
    const blind = JSON.parse(document.querySelector("#status [data-blind]")?.dataset.blind ?? "[]");
    if (!blind.includes(model)) return null;
    if (files.length) return "This model cannot see pictures. Choose one that can, or remove the pictures.";
    if (history.some((message) => imagesOf(message).length))
      return "The conversation has pictures, which this model cannot see. Choose one that can, or clear the conversation.";
    return null;
  };

  /* Puts the cursor back where the next message is typed, unless it is somewhere else by now. */
  const focus = (tries = 40) => {
    const box = document.querySelector("#message textarea");
    if ((!box || box.disabled) && tries) setTimeout(focus, 50, tries - 1);
    else if (document.activeElement === document.body) box?.focus({preventScroll: true});
  };

  /* Hands files to Gradio's box, as if they had been picked there. */
  const give = (files) => {
    const input = document.querySelector("#message input[type=file]");
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  };

  /* A file dropped beside the box is meant for it, too; the browser would leave the page and show the file. */
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!event.defaultPrevented && event.dataTransfer.files.length) give(event.dataTransfer.files);
    event.preventDefault();
  });

  /* The camera: a button in the box, and a dialog with what the camera sees. Browsers have one on https and localhost only. */
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
    const off = () => video.srcObject?.getTracks().forEach((track) => track.stop());
    dialog.addEventListener("close", off);
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.querySelector(".take").addEventListener("click", () => {
      if (!video.videoWidth) return;
      const canvas = Object.assign(document.createElement("canvas"), {width: video.videoWidth, height: video.videoHeight});
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => give([new File([blob], "camera.jpg", {type: "image/jpeg"})]), "image/jpeg", 0.92);
      dialog.close();
    });
    document.querySelector("#camera-open").addEventListener("click", async () => {
      alert.textContent = "";
      dialog.showModal();
      try {
        const wanted = {facingMode: "environment", width: {ideal: 1920}, height: {ideal: 1920}};
        video.srcObject = await navigator.mediaDevices.getUserMedia({video: wanted});
        if (!dialog.open) off();
      } catch (error) {
        alert.textContent = "No picture from a camera: there is none, or the browser may not use it.";
      }
    });
  };

  /* A complaint stands below the box, where a narrow page may end. */
  const told = (why) => {
    if (why) setTimeout(() => document.querySelector("#complaint").scrollIntoView({block: "nearest"}), 100);
    return why ? `<p class="status error" role="alert">${why}</p>` : "";
  };

  /* What stands for a while on the page, wherever one looks. */
  const tell = (what, state = "error") => {
    document.querySelector("#told")?.remove();
    const told = Object.assign(document.createElement("p"), {id: "told", className: `status ${state}`, textContent: what});
    told.role = "alert";
    document.body.append(told);
    setTimeout(() => told.remove(), 8000 + 50 * what.length);
  };

  /* What each reply took, beside its buttons: Gradio draws a row for the replies to a message, and knows nothing of it. */
  let lines = [];
  const receipt = (message) => {
    try {
      return JSON.parse(message.metadata?.log ?? "null");
    } catch {
      return null;
    }
  };
  const replies = (history) =>
    history.reduce((rows, message, i) => {
      if (message.role === "assistant" && history[i - 1]?.role === "assistant") rows.at(-1).push(message);
      else if (message.role === "assistant") rows.push([message]);
      return rows;
    }, []);
  const show = (history) => {
    lines = replies(history).map((row) => row.map((message) => receipt(message)?.line).findLast(Boolean) ?? "");
    draw();
  };
  const draw = () =>
    document.querySelectorAll("#conversation .bot-row").forEach((row, i) => {
      const buttons = row.nextElementSibling;
      const line = lines[i] ?? "";
      if (buttons?.matches(".message-buttons") && buttons.dataset.numbers !== line) buttons.dataset.numbers = line;
    });

  let replying = false;
  let unkept = null; // what was asked a moment ago: the request goes first
  const keepAsked = () => {
    if (unkept) conversations.save(...unkept);
    unkept = null;
  };
  let cleared = false; // while a reply was being written
  const replyBegins = () => {
    [replying, cleared] = [true, false];
  };
  let sending = false; // Enter pressed twice sends once
  let reading = false; // files that were added
  let waiting = false; // Enter was pressed meanwhile

  return {
    begin: () => {
      addCamera();
      new MutationObserver(draw).observe(document.querySelector("#conversation"), {childList: true, subtree: true});
      focus();
    },
    tell,
    show,
    receipts: (history) => history.map(receipt).filter((told) => told?.numbers),
    busy: () => replying,
    lock: (history) => {
      replyBegins();
      show(history);
      return LOCKED;
    },
    check: (...message) => {
      if (sending || complaint(...message)) throw new Error("Not sent."); // what follows a failure is `complain`
      sending = true;
    },
    ask: (message, history, ...settings) => {
      sending = false;
      replyBegins();
      // As the app says it as soon as it has sent the request; who presses Stop before has it from here.
      const sent = JSON.stringify({sent: conversations.byName(settings.map((value) => value ?? ""))});
      const asked = [...history, {...said(message), metadata: {log: sent}}];
      unkept = [asked, settings];
      setTimeout(keepAsked, 150);
      return [{...LOCKED, value: {text: "", files: []}}, asked, ""];
    },
    complain: (...message) => {
      waiting = message[0].files.some(isNew);
      return told(complaint(...message));
    },

    /* Files: Gradio's box has uploaded them, the app reads them, and what it made of them takes their place. */
    changed: ({files}) => {
      if (reading || !files.some(isNew)) return;
      reading = true;
      document.querySelector("#attach").click();
    },
    added: ({files}) => [{text: "", files: files.filter(isNew)}],
    attached: ({text, files}, read) => {
      const cameOf = new Map(read.map((file) => [file.path, file]));
      const complaints = read.flatMap((file) => file.complaint ?? []);
      const texts = read.flatMap((file) => file.text ?? []);
      let kept = files.flatMap((file) => {
        const came = cameOf.get(file.path);
        return !came ? file : came.image ? picture(came.image) : [];
      });
      if (kept.length > LIMITS.images) {
        complaints.push(`At most ${LIMITS.images} pictures are sent with a message; the others were left out.`);
        kept = kept.slice(0, LIMITS.images);
      }
      reading = false;
      if (waiting && !complaints.length) setTimeout(() => document.querySelector("#message .submit-button").click(), 50);
      waiting = false;
      focus();
      // Before what was typed, at the end of which the cursor stays.
      return [{text: [...texts, text].join("\n\n"), files: kept}, complaints.map(told).join("")];
    },
    notAttached: ({text, files}) => {
      reading = waiting = false;
      return [{text, files: files.filter((file) => !isNew(file))}, told("The file could not be read. Add it again.")];
    },

    retry: (history) => {
      replyBegins();
      const asked = history.slice(0, lastAsked(history) + 1);
      show(asked);
      return [asked, LOCKED];
    },
    undo: (history, ...settings) => {
      const asked = history[lastAsked(history)];
      const left = history.slice(0, lastAsked(history));
      conversations.save(left, settings);
      return [{text: textOf(asked), files: imagesOf(asked).map(picture)}, left];
    },
    /* A reply stopped before it began leaves no "Waiting" behind, and one stopped in thought does not think on. */
    settled: (history) =>
      history
        .filter((message) => message.metadata?.id !== "waiting")
        .map((message) => (message.metadata?.title ? {...message, metadata: {...message.metadata, status: "done"}} : message)),
    stopped: (history, ...settings) => {
      unkept = null;
      const settled = chat.settled(history);
      conversations.save(settled, settings);
      return [settled];
    },
    /* The status line and the list of models are looked at again after a failure, when the server was found changed,
       and after a reply from a server that the status line still calls gone. What was on its way of a reply may have come
       after Stop, or after the conversation was cleared. */
    ended: (history, ...settings) => {
      unkept = null;
      const left = cleared ? [] : chat.settled(history);
      replying = false;
      show(left);
      conversations.save(left, settings);
      const changed = ["error", "notice"].includes(left.at(-1)?.metadata?.id);
      if (changed || document.querySelector("#status .error")) document.querySelector("#refresh").click();
      focus();
      const came = cleared || history.some(({metadata}) => metadata?.id === "waiting" || metadata?.status === "pending");
      return [UNLOCKED, came ? left : {__type__: "update"}];
    },
    cleared: () => {
      cleared = replying;
      keepAsked();
      conversations.forget();
    },
  };
})();
