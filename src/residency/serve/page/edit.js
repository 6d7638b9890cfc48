// A question of the questionnaire and an answer in; a form to change it, and the answer's text as a sheet's cell, out.
import { make } from "/page/make.js";
import { say } from "/page/words.js";

const LONG = 12;
const nameOf = (option) => option.name;

// What a number field holds, in words: weeks in weeks and days, as the questionnaire's texts have them.
function sayNumber(fields, unit) {
  const [first, second] = fields.map((field) => field.value.trim());
  if (unit !== "weeks") return first && `${first} ${unit}`;
  return first || second ? `${first || 0} weeks ${second || 0} days` : "";
}

function makeNumber(spec, value) {
  const weeks = spec.unit === "weeks";
  const days = weeks && value ? Math.round(value.value * 7) : 0;
  const first = value ? (weeks ? Math.floor(days / 7) : Number(value.value.toPrecision(4))) : "";
  const bounds = weeks ? { min: 0, max: 45, step: 1 } : { min: spec.minimum, max: spec.maximum, step: "any" };
  const fields = [make("input", { type: "number", inputmode: "decimal", value: `${first}`, "aria-label": `${label(spec)} (${weeks ? say("weeks") : spec.unit})`, ...bounds })];
  if (weeks) fields.push(make("input", { type: "number", min: 0, max: 6, value: value ? `${days % 7}` : "", "aria-label": `${label(spec)} (${say("days")})` }));
  const units = weeks ? [say("weeks"), say("days")] : [spec.unit];
  const row = make("span", { class: "number" }, fields.flatMap((field, place) => [field, ` ${units[place]} `]));
  return { row, read: () => sayNumber(fields, spec.unit) };
}

const label = (spec) => (spec.id.includes(".") ? spec.id.slice(spec.id.indexOf(".") + 1) : spec.id);

// A list of options, those that hold first where it is long, with a field to find one by.
function makeList(rows) {
  const list = make("div", { class: "options" }, rows.map((row) => row.row));
  if (rows.length <= LONG) return [list];
  list.append(...[...rows].sort((one, other) => other.box.checked - one.box.checked).map((row) => row.row));
  const search = make("input", { type: "search", placeholder: say("find"), "aria-label": say("find") });
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const row of rows) row.row.hidden = !row.name.toLowerCase().includes(wanted);
  });
  return [search, list];
}

function makeChoice(spec, value, empty) {
  const names = spec.options.map(nameOf);
  const group = `${spec.id}-${Math.random()}`;
  const rows = (empty ? ["", ...names] : names).map((name) => {
    const box = make("input", { type: "radio", name: group, value: name, checked: name === (value ?? (empty ? "" : null)) });
    return { name, box, row: make("label", { class: "check" }, box, ` ${name || say("none")}`) };
  });
  return { row: make("div", { class: "set" }, makeList(rows)), read: () => rows.find(({ box }) => box.checked)?.name ?? "" };
}

// Checkboxes; a member that is measured has its number beside it.
function makeSet(spec, value, numbers = new Map()) {
  const held = new Set(value ?? []);
  const members = spec.options.map(nameOf).map((name) => {
    const box = make("input", { type: "checkbox", value: name, checked: held.has(name) });
    const number = numbers.get(name);
    number?.row.addEventListener("input", () => (box.checked = true));
    const row = make("div", { class: "member" }, make("label", { class: "check" }, box, ` ${name}`), number?.row ?? null);
    return { name, box, number, row };
  });
  const read = () => members.filter((member) => member.box.checked)
    .map((member) => [member.name, member.number?.read()].filter(Boolean).join(" ")).join(", ");
  return { row: make("div", { class: "set" }, makeList(members)), read };
}

function makeText(spec, value) {
  const field = make("textarea", { rows: 3, maxlength: 2000, "aria-label": say("freetext") });
  field.value = value ?? "";
  const chips = spec.options.map(nameOf).map((name) =>
    make("button", { type: "button", class: "chip", onclick: () => (field.value = name) }, name));
  return { row: make("div", { class: "set" }, make("div", { class: "chips" }, chips), field), read: () => field.value.trim() };
}

function makeField(spec, value, empty = false, numbers) {
  if (spec.type === "number") return makeNumber(spec, value);
  if (spec.type === "set") return makeSet(spec, value, numbers);
  return spec.type === "text" ? makeText(spec, value) : makeChoice(spec, value, empty);
}

// Return a form for a question, and what reads it as the text of an answer ("" where nothing was chosen).
export function makeEdit(question, answer, parts) {
  const members = new Set(question.type === "set" ? question.options.map(nameOf) : []);
  const numbers = new Map();
  const others = [];
  for (const spec of question.parts) {
    if (members.has(label(spec)) && spec.type === "number") numbers.set(label(spec), makeNumber(spec, parts[spec.id]));
    else others.push({ spec, ...makeField(spec, parts[spec.id], true) });
  }
  const main = makeField(question, answer, false, numbers);
  const rows = others.map(({ spec, row }) => make("fieldset", {}, make("legend", {}, label(spec)), row));
  const read = () => {
    const said = main.read() || (question.type === "set" ? "none" : "");
    const rest = others.map((other) => other.read()).filter(Boolean);
    return said && rest.length ? `${said} (${rest.join("; ")})` : said;
  };
  return { fields: [main.row, ...rows], read };
}
