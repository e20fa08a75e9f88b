// Shows in the header how far the annotator is and how long the rest will take.

import { byId } from "./dom.js";

const RECENT = 20;

export class Progress {
  constructor() {
    this.seconds = [];
  }

  answered(seconds) {
    this.seconds = [...this.seconds, seconds].slice(-RECENT);
  }

  // work: {done, needed, extra} as the server said last.
  show(work) {
    const bar = byId("progress");
    bar.max = Math.max(1, work.done + work.needed);
    bar.value = work.done;
    const parts = [`${work.done} done`, `${work.needed} left`];
    if (this.seconds.length >= 3) {
      const pace = [...this.seconds].sort((a, b) => a - b)[Math.floor(this.seconds.length / 2)];
      parts.push(`${pace.toFixed(1)} s each`);
      if (work.needed) parts.push(`about ${duration(pace * work.needed)} to go`);
    }
    byId("progress-text").textContent = parts.join(" · ");
  }
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}
