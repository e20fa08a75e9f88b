// Shows one item after another. The server names the items (work.next); this file shows one, takes its answer, and goes
// on without waiting for the disk, because the outbox keeps answers until they are stored.

import { Ahead } from "./ahead.js";
import { Failure, get } from "./api.js";
import { byId, sayTrouble } from "./dom.js";
import { sayDone } from "./done.js";
import { rulesAndScores } from "./facts.js";
import { makeForm } from "./forms.js";
import { describe, listen } from "./keys.js";
import { Outbox } from "./outbox.js";
import { Player } from "./player.js";
import { Progress } from "./progress.js";
import { Waveform } from "./waveform.js";

const DAY_S = 86_400;

export class Page {
  constructor(lot, annotator, work) {
    this.lot = lot;
    this.annotator = annotator;
    this.work = work;
    this.answers = new Map(Object.entries(work.answers).map(([number, answer]) => [Number(number), answer]));
    this.before = []; // for undo: [item number, the answer that it had, or null]
    this.number = 0;
    this.visit = 0; // counts shown items, so that a late reply of the server is not used for another item
    this.isLooping = true;
    this.isOffline = false;
    this.goesBeyond = false; // whether items are shown that enough others have judged
    this.boxesShown = false;
    this.notes = new Map(); // notes on items that are not judged yet
    this.ahead = new Ahead(lot.mode);
    this.progress = new Progress();
    this.outbox = new Outbox(`funnel/outbox/${lot.key}/${annotator}`, (event) => this.#told(event));
    for (const answer of this.outbox.waiting.values()) this.#remember(answer);
    this.players = (lot.mode === "pair" ? ["A", "B"] : [""]).map((label) => new Player(label));
    this.active = this.players[0];
    this.wave = new Waveform(byId("wave"), (share) => this.active.seek(share));
    this.form = makeForm(lot, (judged) => this.answer(judged));
  }

  begin() {
    byId("players").replaceChildren(...this.players.map((player) => player.element));
    byId("form").replaceChildren(this.form.element);
    listen(this.lot, this.form, this);
    describe(this.lot);
    byId("note").maxLength = this.lot.max_note;
    byId("note").addEventListener("change", () => this.#noteChanged());
    const redraw = () => {
      this.#drawTime();
      requestAnimationFrame(redraw);
    };
    requestAnimationFrame(redraw);
    addEventListener("beforeunload", (event) => this.outbox.waiting.size && event.preventDefault());
    byId("main").hidden = false;
    this.outbox.send();
    this.progress.show(this.work);
    this.#showNext();
  }

  // -- one item

  async show(number) {
    const visit = ++this.visit;
    this.number = number;
    const answer = this.answers.get(number) || null;
    byId("place").textContent = `item ${number} of ${this.lot.size}`;
    byId("note").value = answer ? answer.note : this.notes.get(number) || "";
    this.form.load(answer);
    this.began = performance.now();
    byId("scores").replaceChildren();
    this.#describe(number, visit);
    await this.#loadClips(visit);
    if (visit === this.visit) this.ahead.prepare(this.work.next.filter((item) => item !== number));
  }

  async #loadClips(visit) {
    for (const player of this.players) player.clear("loading …");
    this.#activate(this.players[0]);
    await Promise.all(this.players.map((player, i) => this.#load(player, i ? "other" : "first", visit)));
  }

  async #load(player, which, visit) {
    const number = this.number;
    try {
      const clip = await get(`/api/items/${number}/${which}`);
      if (visit !== this.visit) return;
      player.show(`/media/${number}/${which}.mp4`, clip, this.isLooping);
      this.began = performance.now();
      if (clip.problems.length) player.say(clip.problems.join("; "));
      if (player === this.active) {
        this.#activate(player);
        player.play();
      }
      if (this.boxesShown) this.#fetchBoxes();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      const advice = this.lot.mode === "verdict" ? "; press u for unsure" : "";
      if (visit === this.visit) player.clear(`cannot be played: ${failure.message}${advice}`);
    }
  }

  async #describe(number, visit) {
    try {
      const item = await get(`/api/items/${number}?annotator=${encodeURIComponent(this.annotator)}`);
      if (visit !== this.visit || this.lot.mode !== "verdict") return;
      byId("place").textContent = `item ${number} of ${this.lot.size} · ${item.source}, ` +
        `${item.start_s.toFixed(2)} to ${item.end_s.toFixed(2)} s`;
      byId("scores").replaceChildren(...rulesAndScores(item));
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (visit === this.visit) byId("scores").replaceChildren(failure.message);
    }
  }

  #activate(player) {
    this.active = player;
    for (const each of this.players) {
      each.element.classList.toggle("active", each === player);
      if (each !== player) each.video.pause();
    }
    this.wave.show(player.clip && player.clip.peaks);
  }

  #drawTime() {
    const { video, clip } = this.active;
    this.wave.at(clip ? video.currentTime / clip.duration_s : 0);
    if (this.boxesShown) this.active.draw();
    const text = !clip ? "" : `${video.currentTime.toFixed(2)} / ${clip.duration_s.toFixed(2)} s · ` +
      `frame ${this.active.frame + 1} of ${clip.frame_times_s.length}${this.isLooping ? " · loop" : ""}`;
    if (byId("transport").textContent !== text) byId("transport").textContent = text;
  }

  // -- answers

  answer({ verdict, reasons, scores }) {
    const seconds = Math.min(DAY_S, Math.round(performance.now() - this.began) / 1000);
    this.before.push([this.number, this.answers.get(this.number) || null]);
    this.#give({ number: this.number, verdict, reasons, scores, note: byId("note").value.trim(), seconds });
    this.progress.answered(seconds);
    this.#showNext();
  }

  // A note on a judged item is saved as soon as the field is left; on another item it is saved with the verdict.
  #noteChanged() {
    const note = byId("note").value.trim();
    const answer = this.answers.get(this.number);
    this.notes.set(this.number, note);
    if (!answer || answer.note === note) return;
    const { verdict, reasons, scores, seconds } = answer;
    this.#give({ number: this.number, verdict, reasons, scores, note, seconds: seconds || 0 });
  }

  #give(judged) {
    const answer = { annotator: this.annotator, ...judged };
    this.#remember(answer);
    this.outbox.add(answer);
  }

  #remember(answer) {
    const given = answer.verdict !== null || Object.keys(answer.scores).length > 0;
    if (given) this.answers.set(answer.number, answer);
    else this.answers.delete(answer.number);
  }

  undo() {
    const last = this.before.pop() || this.#lastGiven();
    if (!last) return;
    const [number, answer] = last;
    const taken = this.answers.get(number);
    const { verdict, reasons, scores, note, seconds } = answer || { verdict: null, reasons: [], scores: {}, note: "" };
    this.#give({ number, verdict, reasons, scores, note, seconds: seconds || 0 });
    if (taken) this.notes.set(number, taken.note); // a note is kept, so that nobody has to write it again
    this.show(number);
  }

  // Returns the newest answer that the server knows, for undo after a reload.
  #lastGiven() {
    const given = [...this.answers].filter(([, answer]) => answer.answered_at);
    given.sort(([, first], [, second]) => (first.answered_at < second.answered_at ? -1 : 1));
    return given.length ? [given.at(-1)[0], null] : null;
  }

  // Shows the state of an answer that is being sent.
  #told(event) {
    const words = {
      sending: () => "saving …",
      saved: () => (event.waiting ? "saving …" : "saved"),
      waiting: () => `${event.waiting} not saved yet`,
      refused: () => "not accepted",
      elsewhere: () => (event.waiting ? `${event.waiting} not saved yet` : "saved in another tab"),
    };
    const wasOffline = this.isOffline;
    this.isOffline = event.kind === "waiting" || (this.isOffline && event.kind === "sending");
    byId("saved").textContent = words[event.kind]();
    byId("saved").className = event.kind;
    if (event.kind === "saved") {
      this.work = event.reply;
      this.progress.show(this.work);
      if (!event.waiting) sayTrouble("");
      if (wasOffline && !this.active.clip) this.#loadClips(this.visit);
    } else if (event.kind === "elsewhere") {
      if (!event.waiting) sayTrouble("");
    } else if (event.kind === "waiting") {
      const kept = event.waiting === 1 ? "One answer is kept" : `${event.waiting} answers are kept`;
      sayTrouble(`Not saved yet: ${event.why}. ${kept} in this browser and sent again in ${event.seconds} s; ` +
        "you can go on.");
    } else if (event.kind === "refused") {
      this.answers.delete(event.answer.number);
      sayTrouble(`The answer to item ${event.answer.number} was not accepted: ${event.why}`);
    }
  }

  // -- moving

  #showNext() {
    const open = (number) => !this.answers.has(number);
    const { next, needed } = this.work;
    let wanted = (this.goesBeyond ? next : next.slice(0, needed)).filter(open);
    // The server names a few items at a time. While it does not answer, go on with all that are not judged here yet.
    if (!wanted.length && (this.isOffline || needed > next.length))
      wanted = Array.from({ length: this.lot.size }, (_, i) => i + 1).filter(open);
    if (wanted.length) return this.show(wanted.find((number) => number !== this.number) || wanted[0]);
    const extra = next.filter(open);
    if (!this.number) this.show(extra[0] || 1);
    else this.form.load(this.answers.get(this.number) || null); // the last item stays, with its answer
    sayDone(extra.length ? this.work.extra : 0, () => {
      this.goesBeyond = true;
      this.#showNext();
    });
  }

  next() {
    this.show((this.number % this.lot.size) + 1);
  }

  previous() {
    this.show(this.number > 1 ? this.number - 1 : this.lot.size);
  }

  unjudged() {
    this.#showNext();
  }

  // -- the other keys (keys.js names them)
  toggle() {
    this.active.toggle();
  }

  frameForward() {
    this.active.step(1);
  }

  frameBack() {
    this.active.step(-1);
  }

  loop() {
    this.isLooping = !this.isLooping;
    for (const player of this.players) player.video.loop = this.isLooping;
  }

  note() {
    byId("note").focus();
  }

  scores() {
    byId("scores").hidden = !byId("scores").hidden;
  }

  other() {
    this.#activate(this.players[this.active === this.players[0] ? 1 : 0]);
    this.active.play();
  }

  boxes() {
    this.boxesShown = !this.boxesShown;
    if (this.boxesShown) return this.#fetchBoxes();
    this.active.say("");
    this.active.showBoxes(null);
  }

  async #fetchBoxes() {
    const { visit, active } = this;
    active.say("looking for boxes …");
    try {
      const overlay = await get(`/api/items/${this.number}/boxes`);
      if (visit !== this.visit || !this.boxesShown) return;
      active.say(overlay.boxes.some((boxes) => boxes.length) ? "" : `no ${this.lot.boxes.join(" or ")} found`);
      active.showBoxes(overlay);
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (visit === this.visit) active.say(`no boxes: ${failure.message}`);
    }
  }

  help() {
    byId("help-dialog").showModal();
  }
}
