// The report is whole without this file: it adds a slider to every threshold and the choice of light or dark.
"use strict";

const moves = JSON.parse(document.getElementById("moves").textContent);

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

/** What a move to a position means, as `[emphasised, rest]` sentences. */
function sentences(move, at) {
  if (at === move.now) return [["", "This is the threshold as it is."]];
  const of = `of ${amount(...move.entered)} that reached ${move.stage} would pass it.`;
  const first = [amount(move.clips[at], move.seconds[at]), of];
  const more = move.clips[at] - move.clips[move.now];
  const change = amount(Math.abs(more), Math.abs(move.seconds[at] - move.seconds[move.now]));
  if (more > 0) {
    return [first, [`+${change}.`, "Later stages have not seen these: how many of them would be kept is unknown."]];
  }
  if (more === 0) return [first, ["", "The same clips pass as now."]];
  const left = amount(move.kept_clips[at], move.kept_seconds[at]);
  return [first, [`−${change}.`, `Of ${count(move.kept_clips[move.now])} clips kept to the end, ${left} would be left.`]];
}

function comparison(move, at) {
  return `${move.value} ${move.operator} ${Number(move.positions[at].toPrecision(6))}`;
}

function show(move, number, at, output) {
  output.replaceChildren();
  for (const [emphasised, rest] of sentences(move, at)) {
    const line = document.createElement("div");
    line.append(withText("b", emphasised), ` ${rest}`);
    output.append(line);
  }
  if (at !== move.now && move.is_whole_rule) {
    const line = document.createElement("div");
    line.append("In the policy: ", withText("code", `${move.rule}: "${comparison(move, at)}"`));
    output.append(line);
  }
  for (const line of document.querySelectorAll(`line.moved[data-move="${number}"]`)) {
    const { zero, scale } = line.ownerSVGElement.dataset;
    const x = Number(zero) + Number(line.dataset.sign) * move.positions[at] * Number(scale);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    line.classList.toggle("shown", at !== move.now);
  }
}

function addSlider(place) {
  const number = Number(place.dataset.move);
  const move = moves[number];
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: move.positions.length - 1, step: 1, value: move.now });
  const label = withText("label", "Try another threshold: ");
  const asked = withText("code", comparison(move, move.now));
  const output = document.createElement("output");
  const reset = withText("button", "As it is");
  reset.type = "button";
  const update = () => {
    const at = Number(slider.value);
    asked.textContent = comparison(move, at);
    slider.setAttribute("aria-valuetext", comparison(move, at));
    reset.hidden = at === move.now;
    show(move, number, at, output);
  };
  slider.addEventListener("input", update);
  reset.addEventListener("click", () => {
    slider.value = move.now;
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
