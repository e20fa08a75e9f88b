// The page starts here: it asks for the lot and the annotator's name, then shows the items (page.js).

import { get } from "./api.js";
import { byId, sayTrouble } from "./dom.js";
import { Page } from "./page.js";

const NAME = "funnel/annotator";

// Returns the annotator's name: the server's, the one that this browser knows, or the one that is asked for now.
function nameOf(lot, anew) {
  const known = lot.annotator || (!anew && localStorage.getItem(NAME));
  if (known) return Promise.resolve(known);
  const dialog = byId("name-dialog");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  byId("name").focus();
  return new Promise((resolve) => {
    byId("name-form").addEventListener("submit", () => {
      localStorage.setItem(NAME, byId("name").value);
      resolve(byId("name").value);
    }, { once: true });
  });
}

async function start() {
  history.replaceState(null, "", "/"); // the token stays out of the history and of screenshots
  const lot = await get("/api/lot");
  document.title = `${lot.name} – annotate`;
  byId("lot-name").textContent = lot.name;
  byId("lot-about").textContent = lot.mode === "verdict" ? `${lot.stage}, ${lot.side} clips` : lot.stage;
  byId("question").textContent = lot.mode === "verdict" ? lot.question
    : lot.mode === "pair" ? "Which of the two is better?" : "How good is this clip?";
  const annotator = await nameOf(lot, false);
  byId("annotator").textContent = annotator;
  byId("annotator").disabled = Boolean(lot.annotator);
  byId("annotator").addEventListener("click", async () => {
    await nameOf(lot, true);
    location.reload();
  });
  byId("help-button").addEventListener("click", () => byId("help-dialog").showModal());
  byId("help-close").addEventListener("click", () => byId("help-dialog").close());
  const work = await get(`/api/work?annotator=${encodeURIComponent(annotator)}`);
  new Page(lot, annotator, work).begin();
}

start().catch((failure) => sayTrouble(failure.message));
