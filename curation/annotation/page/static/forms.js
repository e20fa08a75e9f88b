// A form asks for the answer to one item, by mode. It holds a draft and calls `submit({verdict, reasons, scores})` when
// the draft is complete; `press(key)` returns whether the form used the key.

import { key, make } from "./dom.js";

const REASON_KEYS = "1234567890qwerty";
const VERDICTS = [
  { name: "good", keys: ["g", "1"] },
  { name: "bad", keys: ["b", "2"] },
  { name: "unsure", keys: ["u", "3"] },
];

const ASKED_WHY = {
  "": "reasons",
  good: "good, but dropped: what misled the stage?",
  bad: "why is it bad?",
  unsure: "what makes it hard to say?",
};

export function makeForm(lot, submit) {
  return lot.mode === "verdict" ? new VerdictForm(lot, submit) : new AxesForm(lot, submit);
}

// Asks for good, bad or unsure. Where the lot has reasons for a verdict (lot.reasons), Enter or the verdict's own key a
// second time saves; otherwise the verdict is saved at once.
class VerdictForm {
  constructor(lot, submit) {
    this.lot = lot;
    this.submit = submit;
    this.element = make("div", { className: "verdicts" });
    this.load(null);
  }

  load(answer) {
    this.stored = answer;
    this.verdict = answer ? answer.verdict : null;
    this.reasons = new Set(answer ? answer.reasons : []);
    this.choosing = false;
    this.draw();
  }

  press(pressed) {
    if (this.choosing) {
      const reason = this.#offered()[REASON_KEYS.indexOf(pressed)];
      if (pressed === "Enter") return this.#finish();
      if (pressed === "Escape") return this.load(this.stored), true;
      if (reason) return this.toggle(reason.key), true;
    }
    const verdict = VERDICTS.find(({ keys }) => keys.includes(pressed));
    if (verdict) this.choose(verdict.name);
    return Boolean(verdict);
  }

  choose(verdict) {
    const again = this.choosing && this.verdict === verdict;
    if (this.verdict !== verdict) this.reasons.clear();
    this.verdict = verdict;
    this.choosing = this.#offered().length > 0;
    if (again || !this.choosing) this.#finish();
    else this.draw();
  }

  // Returns the reasons of the verdict; before there is a verdict those of a bad clip, to be read while the clip plays.
  #offered() {
    return this.lot.reasons[this.verdict || "bad"];
  }

  toggle(reason) {
    if (!this.reasons.delete(reason)) this.reasons.add(reason);
    this.draw();
  }

  draw() {
    const buttons = VERDICTS.map(({ name, keys }) =>
      make("button", {
        type: "button", className: `verdict ${name}`, "aria-pressed": String(this.verdict === name),
        onclick: () => this.choose(name),
      }, `${name} `, key(keys[0])));
    const reasons = this.#offered().map((reason, i) =>
      make("button", {
        type: "button", className: "reason", disabled: !this.choosing,
        "aria-pressed": String(this.reasons.has(reason.key)), onclick: () => this.toggle(reason.key),
      }, key(REASON_KEYS[i]), ` ${reason.label}`));
    const save = make("button", { type: "button", className: "save", onclick: () => this.#finish() }, "save ",
      key("Enter"));
    save.disabled = !this.choosing;
    this.element.replaceChildren(
      make("div", { className: "row" }, ...buttons),
      make("div", { hidden: !reasons.length, className: `reasons ${this.choosing ? "open" : ""}` },
        make("p", { className: "quiet" }, ASKED_WHY[this.choosing ? this.verdict : ""]), ...reasons, save));
  }

  #finish() {
    this.choosing = false;
    this.submit({ verdict: this.verdict, reasons: [...this.reasons], scores: {} });
    return true;
  }
}

// Asks for one choice per axis, in order; the last one saves. Scale: keys 0, 1, 2. Pair: 1 = A, 2 = equal, 3 = B.
class AxesForm {
  constructor(lot, submit) {
    this.lot = lot;
    this.submit = submit;
    this.element = make("div", { className: "axes" });
    this.load(null);
  }

  load(answer) {
    this.scores = { ...(answer ? answer.scores : {}) };
    this.active = 0;
    this.draw();
  }

  // Returns [key, value, label] of each level of an axis.
  #levels(axis) {
    if (this.lot.mode === "pair") return [["1", -1, "A"], ["2", 0, "equal"], ["3", 1, "B"]];
    return axis.levels.map((label, level) => [String(level), level, label]);
  }

  press(pressed) {
    if (pressed === "Backspace") {
      this.active = Math.max(0, this.active - 1);
      this.draw();
      return true;
    }
    const level = this.#levels(this.lot.axes[this.active]).find(([name]) => name === pressed);
    if (level) this.choose(this.active, level[1]);
    return Boolean(level);
  }

  choose(index, value) {
    this.scores[this.lot.axes[index].key] = value;
    this.active = Math.min(index + 1, this.lot.axes.length - 1);
    const complete = this.lot.axes.every((axis) => axis.key in this.scores);
    this.draw();
    if (complete && index === this.lot.axes.length - 1)
      this.submit({ verdict: null, reasons: [], scores: { ...this.scores } });
  }

  draw() {
    this.element.replaceChildren(...this.lot.axes.map((axis, index) =>
      make("fieldset", { className: index === this.active ? "active" : "" },
        make("legend", {}, axis.label),
        make("div", { className: "row" }, ...this.#levels(axis).map(([name, value, label]) =>
          make("button", {
            type: "button", "aria-pressed": String(this.scores[axis.key] === value),
            onclick: () => this.choose(index, value),
          }, `${label} `, key(name)))))));
  }
}
