// Sends answers to the server. Each stays in the browser's storage until the server has said that it is on disk, so
// that a closed tab, a server that has gone or a full disk loses nothing.

import { Failure, post } from "./api.js";

const RETRY_SECONDS = [1, 2, 5, 10, 15];

export class Outbox {
  // prefix: beginning of the storage keys; names the lot and the annotator. told(event): called with the state of an
  // answer, {kind, waiting}: sending, saved (with reply), waiting (why, seconds until the next try), refused (answer,
  // why), elsewhere.
  constructor(prefix, told) {
    this.prefix = `${prefix}/`;
    this.told = told;
    this.waiting = new Map(this.#stored());
    this.tries = 0;
    this.sending = false;
    this.timer = 0;
    // Another tab of this annotator has sent the answer. Sent once more, it would replace a newer answer given there.
    addEventListener("storage", ({ key, newValue }) => {
      if (newValue === null && this.waiting.delete(key)) this.told({ kind: "elsewhere", waiting: this.waiting.size });
    });
  }

  add(answer) {
    const name = `${this.prefix}${Date.now()}-${Math.random().toString(36).slice(2)}`;
    this.waiting.set(name, answer);
    try {
      localStorage.setItem(name, JSON.stringify(answer));
    } catch {
      // Storage is full or forbidden: the answer lives in this tab, which asks before it closes.
    }
    this.send();
  }

  // Send everything, oldest first; only one sender runs at a time.
  async send() {
    clearTimeout(this.timer);
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.size) {
      const [name, answer] = this.waiting.entries().next().value;
      this.told({ kind: "sending", waiting: this.waiting.size });
      try {
        const reply = await post("/api/answers", answer);
        this.#forget(name);
        this.tries = 0;
        this.told({ kind: "saved", reply, waiting: this.waiting.size });
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        if (failure.isFinal) {
          this.#forget(name);
          this.told({ kind: "refused", answer, why: failure.message });
          continue;
        }
        this.#later(failure);
        break;
      }
    }
    this.sending = false;
  }

  #later(failure) {
    const seconds = RETRY_SECONDS[Math.min(this.tries++, RETRY_SECONDS.length - 1)];
    this.timer = setTimeout(() => this.send(), seconds * 1000);
    this.told({ kind: "waiting", waiting: this.waiting.size, why: failure.message, seconds });
  }

  #forget(name) {
    this.waiting.delete(name);
    localStorage.removeItem(name);
  }

  #stored() {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(this.prefix));
    return names.sort().map((name) => [name, JSON.parse(localStorage.getItem(name))]);
  }
}
