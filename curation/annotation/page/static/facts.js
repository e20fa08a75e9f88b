// Shows the stage's numbers and rules of one item as tables.

import { make } from "./dom.js";

const SIGNS = new Map([[true, "✓"], [false, "✗"], [null, "–"]]);
const WORDS = new Map([[true, "holds"], [false, "fails"], [null, "not measured"]]);

export function rulesAndScores(item) {
  const rules = item.rules.map((rule) =>
    make("tr", { className: `rule ${WORDS.get(rule.holds).replace(" ", "-")}` },
      make("td", { className: "sign", title: WORDS.get(rule.holds) }, SIGNS.get(rule.holds)),
      make("td", {}, rule.name, item.drop_rule === rule.name ? " (dropped it)" : ""),
      make("td", {}, make("code", {}, rule.expression))));
  const [deciding, others] = [true, false].map((decides) =>
    item.scores.filter((score) => score.decides === decides).map(scoreRow));
  return [
    ...(rules.length ? [make("table", { className: "rules" }, make("tbody", {}, ...rules))] : []),
    make("table", { className: "values" }, make("tbody", {}, ...deciding, ...others)),
  ];
}

function scoreRow(score) {
  return make("tr", { title: score.meaning, className: score.decides ? "decides" : "" },
    make("td", {}, score.name),
    make("td", { className: "value" }, shown(score.value)),
    make("td", { className: "unit" }, score.unit));
}

function shown(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}
