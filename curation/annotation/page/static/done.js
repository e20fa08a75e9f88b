// Says that nothing needs this annotator any more. Undo and the keys that go to other items work in it: the last
// answer is the one that is regretted here. What is not saved yet is said, so that nobody closes the page over it.

import { byId, make } from "./dom.js";

// extra: items that others have judged and this annotator has not. goOn(): begin with those.
export function sayDone(extra, goOn) {
  const dialog = byId("done-dialog");
  byId("done-text").textContent = extra
    ? `Every clip that needs you is judged. There are ${extra} that others have judged: your opinion on them tells ` +
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
