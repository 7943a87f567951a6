/* What the page does by itself. A message is shown, and the box locked, without asking the app: the app is asked once,
   for the reply. Each function is given the values of components and gives new ones, or an update of their properties. */
const chat = (() => {
  const LOCKED = {__type__: "update", interactive: false, submit_btn: false, stop_btn: true};
  const UNLOCKED = {__type__: "update", interactive: true, submit_btn: true, stop_btn: false};
  const said = (text) => ({role: "user", metadata: null, content: [{type: "text", text}], options: null});
  const textOf = (message) => message.content.map((part) => part.text ?? "").join("\n\n");
  const lastAsked = (history) => history.findLastIndex((message) => message.role === "user");

  /* Why a message is not sent; null if it is. */
  const complaint = (text, most) => {
    if (!text.trim()) return "Type something to send.";
    if (!text.isWellFormed()) return "The message has characters that cannot be sent. Remove them.";
    const length = [...text].length;
    const [shown, limit] = [length, most].map((number) => number.toLocaleString("en"));
    return length > most ? `The message has ${shown} characters; at most ${limit} are sent. Shorten it.` : null;
  };

  /* Puts the cursor back where the next message is typed, unless it is somewhere else by now. */
  const focus = (tries = 40) => {
    const box = document.querySelector("#message textarea");
    if ((!box || box.disabled) && tries) setTimeout(focus, 50, tries - 1);
    else if (document.activeElement === document.body) box?.focus({preventScroll: true});
  };

  let sending = false; // Enter pressed twice sends once

  return {
    focus: () => focus(),
    lock: () => LOCKED,
    check: (text, most) => {
      if (sending || complaint(text, most)) throw new Error("Not sent."); // what follows a failure is `complain`
      sending = true;
    },
    ask: (text, history) => {
      sending = false;
      return ["", [...history, said(text)], ""];
    },
    complain: (text, most) => {
      setTimeout(() => document.querySelector("#complaint").scrollIntoView({block: "nearest"}), 100);
      const why = complaint(text, most);
      return why ? `<p class="status error" role="alert">${why}</p>` : "";
    },
    retry: (history) => [history.slice(0, lastAsked(history) + 1)],
    undo: (history) => {
      const index = lastAsked(history);
      return [textOf(history[index]), history.slice(0, index)];
    },
    /* A reply stopped before it began leaves no "Waiting" behind. */
    stopped: (history) => [history.filter((message) => message.metadata?.id !== "waiting")],
    /* The status line and the list of models are looked at again after a failure, when the server was found changed,
       and after a reply from a server that the status line still calls gone. */
    ended: (history) => {
      const changed = ["error", "notice"].includes(history.at(-1)?.metadata?.id);
      if (changed || document.querySelector("#status .error")) document.querySelector("#refresh").click();
      focus();
      return UNLOCKED;
    },
  };
})();
