// While a clip is watched, the server already writes the next clips and the browser loads them.

import { Failure, get } from "./api.js";
import { make } from "./dom.js";

const AHEAD = 2; // items

export class Ahead {
  constructor(mode) {
    this.clips = mode === "pair" ? ["first", "other"] : ["first"];
    this.ready = new Map(); // item number -> video elements that hold what was loaded
  }

  // numbers: items to come, soonest first.
  async prepare(numbers) {
    const wanted = numbers.slice(0, AHEAD);
    for (const number of this.ready.keys()) if (!wanted.includes(number)) this.ready.delete(number);
    for (const number of wanted.filter((item) => !this.ready.has(item))) {
      this.ready.set(number, []);
      for (const which of this.clips) {
        try {
          await get(`/api/items/${number}/${which}`);
          const video = make("video", { preload: "auto", muted: true, src: `/media/${number}/${which}.mp4` });
          this.ready.get(number)?.push(video);
        } catch (failure) {
          if (!(failure instanceof Failure)) throw failure;
          this.ready.delete(number); // the reason is shown when the item is
        }
      }
    }
  }
}
