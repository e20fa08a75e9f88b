// Says that no item needs this annotator any more. Undo and the keys that go to other items work here too, because this
// is where an annotator wants to change the last answer. The text warns against closing the page too early.

import { byId, make } from "./dom.js";

// extra: items that others have judged and this annotator has not. goOn(): shows those.
export function sayDone(extra, goOn) {
  const dialog = byId("done-dialog");
  byId("done-text").textContent = extra
    ? `Every clip that needs you is judged. There are ${extra} that others have judged: your answers on them show ` +
      "how far people agree."
    : "You have judged every clip of this lot, and can close the page once it says “saved”. The arrow keys go back to " +
      "any of them, z takes the last answer back.";
  const close = (then) => () => {
    dialog.close();
    then();
  };
  const look = make("button", { type: "button", onclick: close(() => {}) }, "look at my answers");
  const more = make("button", { type: "button", onclick: close(goOn) }, "go on");
  byId("done-buttons").replaceChildren(...(extra ? [more, look] : [look]));
  dialog.showModal();
}
