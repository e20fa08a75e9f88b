// The form: a portrait, a voice, and a field for each option that the server names.

import { send } from "./api.js";
import { byId, make } from "./dom.js";

const LONG = 500; // a text that may be longer gets several lines

export class Form {
  // server: what /api/server says; made: called with each new job.
  constructor(server, made) {
    this.limits = server.limits;
    this.made = made;
    this.inputs = {};
    for (const [name, schema] of Object.entries(server.options)) {
      if (name !== "title") this.addOption(name, schema);
    }
    byId("portrait").addEventListener("change", () => this.preview("portrait", "portrait-seen"));
    byId("sound").addEventListener("change", () => this.preview("sound", "sound-heard"));
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.takeDrops();
  }

  addOption(name, schema) {
    const id = `option-${name}`;
    const label = make("label", { htmlFor: id }, name.replaceAll("_", " "));
    const about = make("small", { id: `${id}-about` }, schema.description);
    const described = { id, "aria-describedby": about.id };
    let input;
    if (schema.type === "boolean") {
      input = make("input", { ...described, type: "checkbox", checked: schema.default });
    } else if (schema.type === "string") {
      const long = schema.maxLength > LONG;
      input = make(long ? "textarea" : "input", { ...described, maxLength: schema.maxLength, value: schema.default });
    } else {
      const step = schema.type === "integer" ? "1" : "any";
      const bounds = { min: schema.minimum, max: schema.maximum, step };
      input = make("input", { ...described, ...bounds, type: "number", value: schema.default ?? "" });
    }
    const pair = schema.type === "boolean" ? [make("div", { className: "check" }, input, label)] : [label, input];
    const place = schema.type === "string" ? "words" : "more";
    byId(place).append(make("div", { className: "field" }, ...pair, about));
    this.inputs[name] = input;
  }

  // Shows the chosen picture, or plays the chosen sound, without sending it.
  preview(field, shown) {
    const element = byId(shown);
    URL.revokeObjectURL(element.src);
    const file = byId(field).files[0];
    element.hidden = !file;
    if (!file) return;
    element.onerror = () => { element.hidden = true; }; // the server may read what this browser does not
    element.src = URL.createObjectURL(file);
  }

  takeDrops() {
    const form = byId("form");
    const over = (event, is) => {
      event.preventDefault();
      form.classList.toggle("over", is);
    };
    form.addEventListener("dragover", (event) => over(event, true));
    form.addEventListener("dragleave", (event) => over(event, false));
    form.addEventListener("drop", (event) => {
      over(event, false);
      for (const file of event.dataTransfer.files) {
        const input = byId(file.type.startsWith("image/") ? "portrait" : "sound");
        const one = new DataTransfer();
        one.items.add(file);
        input.files = one.files;
        input.dispatchEvent(new Event("change"));
      }
    });
  }

  async submit() {
    const portrait = byId("portrait").files[0];
    const sound = byId("sound").files[0];
    for (const [file, most] of [[portrait, this.limits.portrait_bytes], [sound, this.limits.sound_bytes]]) {
      if (file.size > most) return this.refuse(`${file.name} is larger than ${Math.floor(most / 2 ** 20)} MiB`);
    }
    const form = new FormData();
    form.append("title", `${portrait.name} + ${sound.name}`.slice(0, 200));
    for (const [name, input] of Object.entries(this.inputs)) {
      form.append(name, input.type === "checkbox" ? String(input.checked) : input.value);
    }
    form.append("portrait", portrait);
    form.append("sound", sound);
    this.refuse("");
    this.sending(true);
    const sent = send("/api/jobs", form, (share) => { byId("upload").value = share; });
    byId("stop-upload").onclick = sent.stop;
    try {
      this.made(await sent.answer);
    } catch (failure) {
      this.refuse(failure.message);
    }
    this.sending(false);
  }

  sending(is) {
    byId("upload").value = 0;
    byId("make").disabled = is;
    for (const id of ["upload", "stop-upload"]) byId(id).hidden = !is;
  }

  refuse(text) {
    byId("refused").textContent = text;
    byId("refused").hidden = !text;
  }
}
