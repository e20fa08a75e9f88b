// Adds a slider to every threshold and the choice of light or dark; without it the report has all its figures.
"use strict";

const sliders = JSON.parse(document.getElementById("sliders").textContent);

function withText(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function count(number) {
  return number.toLocaleString("en-GB");
}

function duration(seconds) {
  if (seconds >= 360000) return `${count(Math.round(seconds / 3600))} h`;
  if (seconds >= 3600) return `${(seconds / 3600).toFixed(1)} h`;
  if (seconds >= 60) return `${(seconds / 60).toFixed(1)} min`;
  return `${Math.round(seconds)} s`;
}

function amount(clips, seconds) {
  return `${count(clips)} clip${clips === 1 ? "" : "s"}, ${duration(seconds)}`;
}

/** Says what would pass with the threshold at a position, as `[emphasised, rest]` sentences. */
function sentences(data, at) {
  if (at === data.now) return [["", "This is the present threshold."]];
  const of = `of ${amount(...data.entered)} that reached ${data.stage} would pass it.`;
  const first = [amount(data.clips[at], data.seconds[at]), of];
  const more = data.clips[at] - data.clips[data.now];
  const change = amount(Math.abs(more), Math.abs(data.seconds[at] - data.seconds[data.now]));
  if (more > 0) {
    return [first, [`+${change}.`, "Later stages have not measured these, so how many would be kept is unknown."]];
  }
  if (more === 0) return [first, ["", "The same clips pass as now."]];
  const left = amount(data.kept_clips[at], data.kept_seconds[at]);
  return [first, [`−${change}.`, `Of ${count(data.kept_clips[data.now])} clips kept to the end, ${left} would be left.`]];
}

function comparison(data, at) {
  return `${data.value} ${data.operator} ${Number(data.positions[at].toPrecision(6))}`;
}

function show(data, number, at, output) {
  output.replaceChildren();
  for (const [emphasised, rest] of sentences(data, at)) {
    const line = document.createElement("div");
    line.append(withText("b", emphasised), ` ${rest}`);
    output.append(line);
  }
  if (at !== data.now && data.is_whole_rule) {
    const line = document.createElement("div");
    line.append("In the policy: ", withText("code", `${data.rule}: "${comparison(data, at)}"`));
    output.append(line);
  }
  for (const line of document.querySelectorAll(`line.moved[data-slider="${number}"]`)) {
    const { zero, scale } = line.ownerSVGElement.dataset;
    const x = Number(zero) + Number(line.dataset.sign) * data.positions[at] * Number(scale);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    line.classList.toggle("shown", at !== data.now);
  }
}

function addSlider(place) {
  const number = Number(place.dataset.slider);
  const data = sliders[number];
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: data.positions.length - 1, step: 1, value: data.now });
  const label = withText("label", "Try another threshold: ");
  const asked = withText("code", comparison(data, data.now));
  const output = document.createElement("output");
  const reset = withText("button", "Present threshold");
  reset.type = "button";
  const update = () => {
    const at = Number(slider.value);
    asked.textContent = comparison(data, at);
    slider.setAttribute("aria-valuetext", comparison(data, at));
    reset.hidden = at === data.now;
    show(data, number, at, output);
  };
  slider.addEventListener("input", update);
  reset.addEventListener("click", () => {
    slider.value = data.now;
    update();
  });
  label.append(asked, slider);
  const controls = document.createElement("div");
  controls.className = "control";
  controls.append(label, output, reset);
  place.append(controls);
  update();
}

function addThemeChoice() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const update = () => {
    button.textContent = isDark() ? "Light" : "Dark";
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    update();
  });
  prefersDark.addEventListener("change", update);
  button.hidden = false;
  update();
}

document.querySelectorAll(".threshold").forEach(addSlider);
addThemeChoice();
