// The summary of the reviews in; its figures as text and small SVG charts out. Every chart says its numbers in words.
import { getJson } from "/page/call.js";
import { find, make } from "/page/make.js";
import { say } from "/page/words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 320;
const LONGEST = 48; // letters of a name in a legend

function draw(tag, values, ...inside) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

const chart = (height, words, marks) => draw("svg", { viewBox: `0 0 ${WIDE} ${height}`, role: "img", "aria-label": words, class: "chart" }, ...marks);
const two = (value) => (value === null ? "–" : value.toFixed(2));

// One bar of several parts, each {share, name}; classes part0, part1 ... colour them.
function stack(parts, height = 18) {
  let x = 0;
  const marks = parts.map(({ share, place }) => {
    const mark = draw("rect", { x, y: 0, width: share * WIDE, height, class: `part${place}` });
    x += share * WIDE;
    return mark;
  });
  return chart(height, parts.map((part) => `${part.name}: ${Math.round(100 * part.share)}%`).join(", "), marks);
}

// A figure with its interval on a scale from -1 to 1.
function dot(figure) {
  const at = (value) => 8 + ((value + 1) / 2) * (WIDE - 16);
  const marks = [draw("line", { x1: at(-1), x2: at(1), y1: 12, y2: 12, class: "axis" })];
  for (const [value, name] of [[-1, "−1"], [0, "0"], [1, "1"]]) {
    marks.push(draw("line", { x1: at(value), x2: at(value), y1: 7, y2: 17, class: "axis" }));
    marks.push(draw("text", { x: at(value), y: 29, "text-anchor": "middle" }, name));
  }
  if (figure.low !== null) marks.push(draw("line", { x1: at(figure.low), x2: at(figure.high), y1: 12, y2: 12, class: "reach" }));
  marks.push(draw("circle", { cx: at(figure.value), cy: 12, r: 6, class: "dot" }));
  return chart(32, `${two(figure.value)} [${two(figure.low)}, ${two(figure.high)}]`, marks);
}

function ratings(counts) {
  const most = Math.max(1, ...Object.values(counts));
  const marks = Object.entries(counts).flatMap(([stars, count], place) => {
    const height = (60 * count) / most;
    return [
      draw("rect", { x: 12 + 62 * place, y: 76 - height, width: 46, height: Math.max(height, 1), class: "count" }),
      draw("text", { x: 35 + 62 * place, y: 92, "text-anchor": "middle" }, `${stars}★`),
      draw("text", { x: 35 + 62 * place, y: 72 - height, "text-anchor": "middle" }, `${count}`),
    ];
  });
  return chart(98, Object.entries(counts).map(([stars, count]) => `${stars}: ${count}`).join(", "), marks);
}

// A name for a legend: of an empty set "none", of a long one its beginning.
function shorten(name) {
  if (!name) return say("nothing");
  return name.length > LONGEST ? `${name.slice(0, LONGEST).trimEnd()}…` : name;
}

function legend(names) {
  return make("ul", { class: "legend" }, names.map((name, place) => make("li", { title: name }, make("span", { class: `key part${place}` }), shorten(name))));
}

function tile(key, value, note) {
  return make("div", { class: "tile" }, make("h3", {}, say(key)), make("p", { class: "figure" }, value), note && make("p", { class: "quiet" }, note));
}

const spread = (pair) => (pair ? [`${pair[0]}`, say("median", { b: pair[1] })] : ["–", null]);

function tiles(told) {
  const { rating } = told;
  const reach = rating.low === null ? say(rating.note) : say("interval", { a: two(rating.low), b: two(rating.high) });
  return make("div", { class: "tiles" },
    tile("sumcases", say("sumof", { n: told.reviewed_cases, m: told.cases })),
    tile("sumreviewers", `${told.reviewers.length}`, told.reviewers.join(", ")),
    tile("sumrating", two(rating.value), reach),
    tile("summodel", ...spread(told.model_seconds)),
    tile("sumreview", ...spread(told.review_seconds)));
}

function card(title, ...inside) {
  return make("section", { class: "block" }, make("h2", {}, title), ...inside);
}

function line(name, ...inside) {
  return make("div", { class: "line" }, make("h3", {}, name), ...inside);
}

function verdicts(questions) {
  const kinds = ["accept", "edit", "reject"];
  return questions.map((one) => {
    const all = kinds.reduce((sum, kind) => sum + one[kind], 0);
    if (!all) return null;
    const parts = kinds.map((kind, place) => ({ share: one[kind] / all, place, name: say(`${kind}`) }));
    return line(one.heading, stack(parts), make("p", { class: "quiet" }, kinds.map((kind) => `${say(kind)} ${one[kind]}`).join(" · ")));
  });
}

function agreement(questions) {
  return questions.map((one) => line(one.heading,
    ...(one.kappa.value === null ? [] : [dot(one.kappa)]),
    make("p", { class: "quiet" }, one.kappa.value === null
      ? (one.kappa.n ? say(one.kappa.note) : say("nopairs"))
      : `${two(one.kappa.value)} [${two(one.kappa.low)}, ${two(one.kappa.high)}] · ${say("pairs", { n: one.kappa.n })}${one.kappa.note ? ` · ${say(one.kappa.note)}` : ""}`)));
}

function drift(questions) {
  return questions.map((one) => {
    const names = [...new Set(Object.values(one.drift.weeks).flatMap(Object.keys))];
    const rows = Object.entries(one.drift.weeks).map(([week, shares]) => make("div", { class: "week" },
      make("span", { class: "quiet" }, `${week} (${one.drift.cases[week]})`),
      stack(Object.entries(shares).map(([name, share]) => ({ share, place: names.indexOf(name), name: shorten(name) })).sort((one, other) => one.place - other.place), 14)));
    const told = one.drift.distance === null ? say("driftone") : say("driftline", { d: two(one.drift.distance), p: one.drift.p });
    return line(one.heading, ...rows, legend(names), make("p", { class: "quiet" }, told));
  });
}

export async function showCharts() {
  const told = await getJson("/v1/reviews/summary");
  const blocks = [tiles(told)];
  if (told.reviewed_cases) {
    blocks.push(make("div", { class: "blocks" },
      make("div", { class: "column" }, card(say("ratings"), ratings(told.ratings)),
        card(say("verdicts"), legend(["accept", "edit", "reject"].map((kind) => say(kind))), ...verdicts(told.questions).filter(Boolean))),
      card(say("agreement"), make("p", { class: "quiet" }, say("agreenote")), ...agreement(told.questions))));
  } else {
    blocks.push(make("p", {}, say("noreviews")));
  }
  if (told.cases) blocks.push(card(say("drift"), make("div", { class: "blocks" }, drift(told.questions))));
  find("charts").replaceChildren(...blocks);
}
