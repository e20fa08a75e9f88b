// Draws the clip's loudness over time, with a playhead; a click jumps there.

export class Waveform {
  // element: the box in index.html. seek(share): called with 0-1.
  constructor(element, seek) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.playhead = element.querySelector(".playhead");
    this.peaks = null;
    element.addEventListener("click", (event) => {
      const box = element.getBoundingClientRect();
      seek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    });
    new ResizeObserver(() => this.draw()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // peaks: loudness 0-1 of equal parts of the clip; none for a clip without sound; null while there is no clip.
  show(peaks) {
    this.peaks = peaks;
    this.draw();
  }

  at(share) {
    this.playhead.style.left = `${100 * Math.max(0, Math.min(1, share))}%`;
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(this.element.clientWidth * scale);
    const height = Math.round(this.element.clientHeight * scale);
    [this.canvas.width, this.canvas.height] = [width, height];
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(this.element).color;
    if (!this.peaks) return;
    if (!this.peaks.length) {
      pen.font = `${12 * scale}px system-ui, sans-serif`;
      pen.fillText("no sound", 8 * scale, height / 2 + 4 * scale);
      return;
    }
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x / width) * this.peaks.length);
      const to = Math.max(from + 1, Math.floor(((x + 1) / width) * this.peaks.length));
      const loud = Math.sqrt(Math.max(...this.peaks.slice(from, to))); // a root, so that quiet speech is seen
      const bar = Math.max(scale, loud * height);
      pen.fillRect(x, (height - bar) / 2, 1, bar);
    }
  }
}
