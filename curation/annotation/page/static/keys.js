// Says which key does what, for the page, the help and the hints.

import { byId, key, make } from "./dom.js";

// [keys, what it does, name of the action, shown among the hints]
const COMMON = [
  [["Space"], "play or pause", "toggle", true],
  [["z"], "undo", "undo", true],
  [["n"], "note", "note", true],
  [["ArrowRight", "j"], "next item", "next", true],
  [["ArrowLeft", "k"], "previous item", "previous", true],
  [["Home"], "next item that is not judged", "unjudged", false],
  [["."], "frame forward", "frameForward", true],
  [[","], "frame back", "frameBack", true],
  [["l"], "loop on or off", "loop", false],
  [["?"], "this help", "help", true],
];
const ANSWERS = {
  verdict: [
    [["g", "1"], "good"], [["b", "2"], "bad"], [["u", "3"], "unsure"],
    [["1 … 9, 0, q …"], "reasons, once a verdict asks for them"],
    [["Enter"], "save with these reasons, or with none (the verdict's own key again does the same)"],
    [["Esc"], "leave without saving"],
  ],
  scale: [[["0", "1", "2"], "score each question in turn; the last one saves"], [["Backspace"], "previous question"]],
  pair: [[["1", "2", "3"], "A is better, equal, B is better"], [["Backspace"], "previous question"]],
};

// Returns the keys of this lot.
export function keysOf(lot) {
  const extra = [];
  if (lot.mode === "verdict") extra.push([["s"], "show or hide the scores", "scores", false]);
  if (lot.boxes.length && lot.mode === "verdict")
    extra.push([["o"], `boxes around ${lot.boxes.join("s and ")}s`, "boxes", true]);
  if (lot.mode === "pair") extra.push([["x"], "the other clip of the pair", "other", true]);
  return [...COMMON.slice(0, -1), ...extra, COMMON.at(-1)];
}

// Actions whose keys also work in the dialog that says that the lot is done.
const FROM_DONE = ["undo", "next", "previous"];

const nameOf = (event) =>
  event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;

// Calls actions[name]() for its key; the form gets every key first.
export function listen(lot, form, actions) {
  const names = new Map(keysOf(lot).flatMap(([keys, , name]) => keys.map((pressed) => [pressed, name])));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const dialog = document.querySelector("dialog[open]");
    if (dialog && !(dialog.id === "done-dialog" && FROM_DONE.includes(names.get(nameOf(event))))) return;
    dialog?.close();
    if (event.target.matches("textarea, input")) {
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
        event.preventDefault();
        event.target.blur();
      }
      return;
    }
    const pressed = nameOf(event);
    if (pressed === "Enter" && event.target.matches("button") && !form.choosing) return; // presses the focused button
    const name = names.get(pressed);
    if (event.repeat && name !== "frameForward" && name !== "frameBack") return;
    if (form.press(pressed)) event.preventDefault();
    else if (name) {
      event.preventDefault();
      actions[name]();
    }
  });
}

export function describe(lot) {
  const all = [...ANSWERS[lot.mode].map(([keys, what]) => [keys, what]), ...keysOf(lot)];
  byId("keys").replaceChildren(...all.flatMap(([keys, what]) =>
    [make("dt", {}, ...keys.flatMap((name, i) => (i ? [" ", key(label(name))] : [key(label(name))]))),
      make("dd", {}, what)]));
  byId("hints").replaceChildren(...keysOf(lot).filter(([, , , hinted]) => hinted).map(([keys, what]) =>
    make("span", {}, key(label(keys[0])), ` ${what}`)));
}

const LABELS = { ArrowRight: "→", ArrowLeft: "←", Space: "space" };
const label = (name) => LABELS[name] || name;
