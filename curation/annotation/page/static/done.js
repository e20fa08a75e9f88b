// Says that nothing needs this annotator any more.

import { byId, make } from "./dom.js";

// extra: items that others have judged and this annotator has not. goOn(): begin with those.
export function sayDone(extra, goOn) {
  const dialog = byId("done-dialog");
  byId("done-text").textContent = extra
    ? `Every clip that needs you is judged. There are ${extra} that others have judged: your opinion on them tells ` +
      "how far people agree."
    : "You have judged every clip of this lot, and can close the page. The arrow keys go back to any of them.";
  const close = (then) => () => {
    dialog.close();
    then();
  };
  const look = make("button", { type: "button", onclick: close(() => {}) }, "look at my answers");
  const more = make("button", { type: "button", onclick: close(goOn) }, "go on");
  byId("done-buttons").replaceChildren(...(extra ? [more, look] : [look]));
  dialog.showModal();
}
