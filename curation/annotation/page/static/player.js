// Shows one clip: the video, the boxes drawn over it, and stepping by its real frames.

import { make } from "./dom.js";

export class Player {
  // label: shown above the picture ("A", "B"); empty for a single player.
  constructor(label) {
    this.video = make("video", { playsInline: true, preload: "auto", disablePictureInPicture: true });
    this.overlay = make("canvas", { className: "overlay" });
    this.message = make("p", { className: "message", hidden: true });
    this.screen = make("div", { className: "screen" }, this.video, this.overlay, this.message);
    this.element = make("figure", { className: "player" }, this.screen);
    if (label) this.element.prepend(make("figcaption", {}, label));
    this.clip = null;
    this.boxes = null;
    this.video.addEventListener("error", () => {
      if (this.clip) this.say("cannot be played: this browser does not decode the clip");
    });
    new ResizeObserver(() => this.draw()).observe(this.video);
  }

  // clip: the answer of /api/items/N/first. The clip plays as soon as the browser allows it.
  show(url, clip, loop) {
    this.clip = clip;
    this.boxes = null;
    this.say("");
    this.video.loop = loop;
    this.video.src = url;
    this.draw();
  }

  clear(text) {
    this.clip = null;
    this.boxes = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.say(text);
    this.draw();
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
  }

  // Browsers refuse to play a clip with sound before the user has pressed a key or clicked.
  async play() {
    try {
      await this.video.play();
    } catch (refusal) {
      if (refusal.name === "NotAllowedError") this.say("press space to play");
    }
  }

  toggle() {
    if (!this.clip) return;
    this.say("");
    if (this.video.paused) this.play();
    else this.video.pause();
  }

  // Returns the index of the frame that is on the screen.
  get frame() {
    const times = this.clip.frame_times_s;
    let index = times.length - 1;
    while (index > 0 && times[index] > this.video.currentTime + 1e-4) index--;
    return index;
  }

  // Goes to the middle of a neighbouring frame, so that no rounding shows the frame before it.
  step(count) {
    if (!this.clip) return;
    this.video.pause();
    const times = this.clip.frame_times_s;
    const index = Math.max(0, Math.min(times.length - 1, this.frame + count));
    const end = index + 1 < times.length ? times[index + 1] : this.clip.duration_s;
    this.video.currentTime = (times[index] + end) / 2;
  }

  seek(share) {
    if (this.clip) this.video.currentTime = share * this.clip.duration_s;
  }

  // overlay: {times_s, boxes} from /api/items/N/boxes, or null for none.
  showBoxes(overlay) {
    this.boxes = overlay;
    this.draw();
  }

  // Draws the boxes of the sampled picture that is nearest to the frame on the screen.
  draw() {
    const { video, overlay } = this;
    const scale = window.devicePixelRatio || 1;
    // The picture is fitted into the element, with black on two sides.
    const fit = Math.min(video.offsetWidth / (video.videoWidth || 1), video.offsetHeight / (video.videoHeight || 1));
    const [width, height] = [video.videoWidth * fit, video.videoHeight * fit];
    Object.assign(overlay.style, {
      left: `${(video.offsetWidth - width) / 2}px`, top: `${(video.offsetHeight - height) / 2}px`,
      width: `${width}px`, height: `${height}px`,
    });
    [overlay.width, overlay.height] = [width * scale, height * scale];
    if (!this.boxes || !this.boxes.times_s.length) return;
    const times = this.boxes.times_s;
    const distance = (time) => Math.abs(time - video.currentTime);
    const nearest = times.reduce((best, time, i) => (distance(time) < distance(times[best]) ? i : best), 0);
    const pen = overlay.getContext("2d");
    pen.scale(scale, scale);
    pen.lineWidth = 2;
    pen.font = "12px system-ui, sans-serif";
    for (const box of this.boxes.boxes[nearest]) {
      pen.strokeStyle = pen.fillStyle = box.kind === "face" ? "#ffd23f" : "#3fd2ff";
      pen.strokeRect(box.left * width, box.top * height, box.width * width, box.height * height);
      pen.fillText(`${box.kind} ${box.score.toFixed(2)}`, box.left * width + 3, Math.max(12, box.top * height - 4));
    }
  }
}
