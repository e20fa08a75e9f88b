// The page starts here: it asks what the server is, then for its jobs, again and again.

import { get } from "./api.js";
import { byId, sayTrouble } from "./dom.js";
import { Form } from "./form.js";
import { Jobs } from "./jobs.js";

const BUSY_MS = 1000;
const IDLE_MS = 5000;

class Page {
  constructor(server) {
    this.jobs = new Jobs(() => this.look());
    this.form = new Form(server, () => this.look());
    this.away = false;
  }

  // Asks for the jobs now, and again after a while; a question that is on its way is not asked twice.
  async look() {
    clearTimeout(this.timer);
    const number = this.asked = (this.asked || 0) + 1;
    let busy = true;
    try {
      const { jobs } = await get("/api/jobs");
      if (number !== this.asked) return;
      if (this.away) sayTrouble("");
      this.away = false;
      this.jobs.show(jobs);
      busy = this.summarise(jobs);
    } catch (failure) {
      if (number !== this.asked) return;
      this.away = true;
      sayTrouble(failure.message);
    }
    this.timer = setTimeout(() => this.look(), busy ? BUSY_MS : IDLE_MS);
  }

  // Tells in the header and the title what goes on; returns whether anything does.
  summarise(jobs) {
    const running = jobs.find((job) => job.state === "running");
    const waiting = jobs.filter((job) => job.state === "waiting").length;
    byId("queue").textContent = running ? `1 in work, ${waiting} waiting` : waiting ? `${waiting} waiting` : "nothing to do";
    const { done, total } = running?.progress || {};
    document.title = total ? `${Math.floor((100 * done) / total)} % – Portraits` : "Portraits";
    return Boolean(running || waiting);
  }
}

async function start() {
  history.replaceState(null, "", "/"); // the token stays out of the history and of screenshots
  const server = await get("/api/server");
  const { name, width, height, fps } = server.model;
  byId("model").textContent = [name, width && `${width}×${height}`, fps && `${fps} fps`].filter(Boolean).join(" · ");
  byId("main").hidden = false;
  await new Page(server).look();
}

start().catch((failure) => sayTrouble(failure.message));
