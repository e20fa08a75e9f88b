// The list of jobs: one card each, which keeps its player while the list is asked for again and again.

import { post, remove } from "./api.js";
import { byId, make, sayTrouble } from "./dom.js";

const ENDED = { done: "is done", failed: "has failed", interrupted: "was interrupted" };

export class Jobs {
  // changed: called when the list should be asked for at once.
  constructor(changed) {
    this.cards = new Map();
    this.changed = changed;
  }

  show(jobs) {
    const ids = new Set(jobs.map((job) => job.id));
    for (const [id, card] of this.cards) {
      if (ids.has(id)) continue;
      card.element.remove();
      this.cards.delete(id);
    }
    const list = byId("jobs");
    for (const job of [...jobs].reverse()) { // oldest first, as each new one goes to the top
      if (!this.cards.has(job.id)) {
        this.cards.set(job.id, new Card(job, this.changed));
        list.prepend(this.cards.get(job.id).element);
      }
      this.cards.get(job.id).show(job);
    }
    byId("none").hidden = jobs.length > 0;
  }
}

class Card {
  constructor(job, changed) {
    this.path = `/api/jobs/${job.id}`;
    this.name = job.options.title || `video ${job.id.slice(0, 6)}`;
    this.changed = changed;
    const title = make("h3", { id: `job-${job.id}` }, this.name);
    this.state = make("p", { className: "state" });
    this.bar = make("progress", { "aria-label": `progress of ${this.name}` });
    this.screen = make("div");
    this.buttons = make("div", { className: "row" });
    const said = make("p", { className: "said quiet" }, job.options.prompt);
    said.hidden = !job.options.prompt;
    this.notes = make("p", { className: "said quiet" });
    this.element = make("li", { className: "job", "aria-labelledby": title.id });
    this.element.append(title, said, this.screen, this.state, this.notes, this.bar, this.buttons);
  }

  show(job) {
    const before = this.element.dataset.state;
    this.state.textContent = told(job);
    this.bar.hidden = !["waiting", "running"].includes(job.state);
    this.notes.textContent = job.notes.join("\n");
    this.notes.hidden = !job.notes.length;
    const progress = job.progress;
    if (progress && progress.total) {
      this.bar.max = progress.total;
      this.bar.value = progress.done;
    } else {
      this.bar.removeAttribute("value"); // moves to and fro: nobody knows yet
    }
    if (before === job.state) return;
    this.element.dataset.state = job.state;
    if (before && ENDED[job.state]) byId("news").textContent = `${this.name} ${ENDED[job.state]}`;
    const film = `${this.path}/film`;
    this.screen.replaceChildren();
    this.buttons.replaceChildren();
    if (job.state === "done") {
      const video = make("video", { controls: true, preload: "metadata", playsInline: true, src: film });
      video.setAttribute("aria-label", this.name);
      this.screen.append(video);
      this.buttons.append(make("a", { className: "button", href: film, download: `portrait-${job.id}.mp4` }, "download"));
    }
    if (job.state === "interrupted") this.addButton("go on", () => post(`${this.path}/again`));
    if (ENDED[job.state]) this.addRemove();
    else this.addButton("cancel", () => remove(this.path));
  }

  addButton(label, action) {
    const button = make("button", { type: "button", "aria-label": `${label}: ${this.name}` }, label);
    button.addEventListener("click", () => this.do(button, action));
    this.buttons.append(button);
    return button;
  }

  // A film that took minutes is not lost to one slip: the second press within some seconds removes it.
  addRemove() {
    let sure = false;
    const button = make("button", { type: "button", "aria-label": `remove ${this.name}` }, "remove");
    const say = (text, label) => {
      button.textContent = text;
      button.setAttribute("aria-label", `${label} ${this.name}`);
    };
    button.addEventListener("click", () => {
      if (sure) return void this.do(button, () => remove(this.path));
      sure = true;
      say("really remove?", "really remove");
      setTimeout(() => {
        sure = false;
        say("remove", "remove");
      }, 5000);
    });
    this.buttons.append(button);
  }

  async do(button, action) {
    button.disabled = true;
    try {
      await action();
      sayTrouble("");
    } catch (failure) {
      if (failure.status !== 404) sayTrouble(failure.message); // somebody else has removed it: as was wished
    }
    button.disabled = false;
    this.changed();
  }
}

function told(job) {
  if (job.state === "waiting") return job.place ? `waits; ${job.place} before it` : "begins at once";
  if (job.state === "failed") return job.error;
  if (job.state === "interrupted") return `interrupted: ${job.error}`;
  if (job.state === "done") {
    const took = (new Date(job.ended_at) - new Date(job.started_at)) / 1000;
    return `done in ${duration(took)} · ${(job.film_bytes / 1e6).toFixed(1)} MB`;
  }
  const progress = job.progress;
  if (!progress) return "begins";
  const parts = [progress.phase];
  if (progress.total) parts.push(`${Math.floor((100 * progress.done) / progress.total)} %`);
  if (progress.frames_written) parts.push(`${progress.frames_written} frames written`);
  if (progress.eta_s !== null) parts.push(`about ${duration(progress.eta_s)} to go`);
  return parts.join(" · ");
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
