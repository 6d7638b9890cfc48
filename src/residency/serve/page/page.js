// The page: what a person does in, what the other modules show and send out.
import { getBlob, getJson, pictureOf, postJson } from "/page/call.js";
import { Cards } from "/page/cards.js";
import { showCharts } from "/page/charts.js";
import { offerDrafts, saveFile } from "/page/drafts.js";
import { compare, explain, hideWhy } from "/page/explain.js";
import { takeKeys } from "/page/keys.js";
import { find, make } from "/page/make.js";
import { openCase, showPast } from "/page/past.js";
import { Queue } from "/page/queue.js";
import { findFaults, measure, remember, tellFacts, tellSaved } from "/page/told.js";
import { listen, markPlaces, resetTone, showPicture } from "/page/viewer.js";
import { chosen, KEYS, pick, say, speak } from "/page/words.js";

const DWELL = 500; // ms on an answer before its heat map is asked for, so that passing by costs nothing

const page = {
  soon: 0,
  about: null, // what GET /v1/model tells
  visit: null, // the picture in hand
  shown: null, // whose picture is, or soon will be, on the stage
  why: null, // the question whose heat map is shown
  near: false, // whether the similar cases are shown
  marks: true,
  asked: () => page.about.asked.length || page.about.questionnaire.questions.length,
  mayReview: () => page.about.role !== "reader",
  explained: () => page.why,
  compared: () => page.near,

  choose(visit) {
    page.visit = visit;
    page.queue.point(visit);
    visit.opened ??= performance.now();
    page.why = null;
    hideWhy();
    page.cards.show(visit);
    page.see();
    page.changed();
    offerDrafts(visit);
    page.refreshSimilar();
  },

  heard(visit, answer) {
    if (visit === page.visit) page.cards.add(answer);
  },

  done(visit) {
    if (visit === page.visit) page.choose(visit);
    announce(`${visit.name}: ${page.queue.words(visit)}`);
  },

  // Show the picture in hand: that which the model saw, as soon as it is a case; until then that which was brought.
  async see() {
    const visit = page.visit;
    resetTone();
    if (visit !== page.shown) showPicture(null);
    page.shown = visit;
    find("empty").hidden = true;
    find("facts").textContent = visit.name;
    const before = visit.case;
    const address = before ? await pictureOf(before.case) : visit.thumbnail;
    const size = address && (await measure(address));
    if (visit !== page.visit || before !== visit.case || !size) return;
    showPicture(address, size.width, size.height);
    if (before) find("facts").textContent = tellFacts(before);
    page.mark();
  },

  mark() {
    const { visit } = page;
    if (visit?.case) markPlaces(page.marks ? visit.answers : [], page.cards.current?.dataset.question, visit.case.spacing_mm);
    find("boxes").setAttribute("aria-pressed", `${page.marks}`);
  },

  chosen(question) {
    page.mark();
    clearTimeout(page.soon);
    if (page.why && page.why !== question) page.soon = setTimeout(() => page.explain(question), DWELL);
    page.refreshSimilar();
  },

  explain(question = page.cards.current?.dataset.question) {
    const { visit } = page;
    if (!visit?.case || !question) return;
    page.why = page.why === question ? null : question;
    page.press("why", (card) => card.dataset.question === page.why);
    if (page.why) explain(visit, question, page.about, () => page.visit === visit && page.why === question);
    else hideWhy();
  },

  compare() {
    page.near = !page.near;
    page.press("likecases", () => page.near);
    page.refreshSimilar();
  },

  refreshSimilar() {
    const { visit } = page;
    const question = page.cards.current?.dataset.question;
    find("similar").hidden = !page.near || !visit?.case;
    if (find("similar").hidden || !question) return;
    compare(visit, question, page.about, () => page.near && page.visit === visit && page.cards.current?.dataset.question === question);
  },

  press(act, when) {
    for (const card of page.cards.cards) card.querySelector(`[data-act=${act}]`)?.setAttribute("aria-pressed", `${when(card)}`);
  },

  toggleMarks() {
    page.marks = !page.marks;
    page.mark();
  },

  step(by) {
    const { visits } = page.queue;
    const next = visits[visits.indexOf(page.visit) + by];
    if (next) page.choose(next);
  },

  rate(stars) {
    if (!page.visit?.case || !page.mayReview()) return;
    page.visit.rating = page.visit.rating === stars ? undefined : stars;
    page.changed();
  },

  // Show what waits to be saved, and what was.
  changed() {
    const { visit } = page;
    find("whole").hidden = !visit?.case || !page.mayReview();
    for (const star of document.querySelectorAll("#stars input")) star.checked = Number(star.value) <= (visit?.rating ?? visit?.rated ?? 0);
    for (const star of document.querySelectorAll("#stars label")) star.classList.toggle("on", star.control.checked);
    find("saved").replaceChildren(...tellSaved(visit));
  },

  async save() {
    const { visit } = page;
    if (!visit?.case || !page.mayReview()) return;
    const answers = Object.entries(visit.drafts).map(([question, draft]) => ({ question, ...draft }));
    if (!answers.length && !visit.rating) {
      visit.note = say("nosave");
      return page.changed();
    }
    const seconds = Math.min(86400, Math.round((performance.now() - visit.opened) / 100) / 10);
    const author = find("author").value.trim() || null;
    try {
      const kept = await postJson("/v1/reviews", { case: visit.case.case, author, rating: visit.rating ?? null, seconds, answers });
      Object.assign(visit, { drafts: {}, faults: {}, saved: true, rating: undefined });
      remember(visit, kept.reviews);
      visit.note = say("savednow", { n: answers.length, r: visit.rated ?? say("norating") });
      visit.opened = performance.now();
    } catch (error) {
      visit.faults = findFaults(error.message, answers);
      visit.note = say("failed", { r: error.message });
    }
    announce(visit.note);
    if (visit.row) page.queue.tell(visit);
    page.cards.refresh();
    page.changed();
  },
};
page.cards = new Cards(page);
page.queue = new Queue(page);

function announce(text) {
  find("said").textContent = text;
}

async function route() {
  const [view, id] = location.hash.slice(1).split("=");
  const wanted = { cases: "cases", reviews: "reviews" }[view] ?? "read";
  for (const name of ["read", "cases", "reviews"]) find(name).hidden = name !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    if (view === "case" && /^[0-9a-f]{16}$/.test(id)) await openCase(page, id);
    if (wanted === "cases") await showPast();
    if (wanted === "reviews") await showCharts();
  } catch (error) {
    announce(error.message);
    find(wanted === "reviews" ? "charts" : "past").replaceChildren(make("p", { class: "fault", role: "alert" }, error.message));
  }
}

function retell() {
  speak();
  find("language").textContent = chosen() === "zh" ? "English" : "中文";
  find("language").lang = chosen() === "zh" ? "en" : "zh";
  find("keylist").replaceChildren(...KEYS.map(([keys, words]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, keys)), make("td", {}, pick(words)))));
  find("stars").replaceChildren(find("stars").firstElementChild, ...[1, 2, 3, 4, 5].map((stars) =>
    make("label", { title: say("stars", { n: stars }) }, make("input", { type: "checkbox", value: `${stars}`, "aria-label": say("stars", { n: stars }), onchange: () => page.rate(stars) }), make("span", { "aria-hidden": "true" }, "★"))));
  for (const visit of page.queue.visits) page.queue.tell(visit);
  if (page.visit) page.choose(page.visit);
  find("model").textContent = page.about ? `${page.about.model} ${page.about.version}` : "";
}

async function download() {
  const blob = await getBlob("/v1/reviews/sheet").catch((error) => announce(error.message));
  if (blob) saveFile(blob, "answers.xlsx");
}

function takeFiles() {
  const take = (files) => {
    if (!files.length) return;
    page.queue.add(files);
    location.hash = "#read";
    if (!page.visit) page.choose(page.queue.visits[0]);
  };
  find("file").disabled = false;
  find("file").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      find("drop").classList.toggle("over", name === "dragover");
      if (name === "drop") take([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("dragleave", () => find("drop").classList.remove("over"));
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
}

async function begin() {
  retell();
  listen();
  find("language").addEventListener("click", () => {
    speak(chosen() === "zh" ? "en" : "zh");
    retell();
    route();
  });
  find("help").addEventListener("click", () => find("keys").showModal());
  find("boxes").addEventListener("click", page.toggleMarks);
  find("rest").addEventListener("click", () => page.cards.acceptRest());
  find("whole").addEventListener("submit", (event) => {
    event.preventDefault();
    page.save();
  });
  find("sheetfile").addEventListener("click", download);
  find("author").value = localStorage.getItem("author") ?? "";
  find("author").addEventListener("change", () => localStorage.setItem("author", find("author").value.trim()));
  page.about = await getJson("/v1/model");
  find("reviewer").hidden = page.about.role === "reader";
  find("sheetfile").hidden = page.about.role !== "admin";
  if (page.about.named) Object.assign(find("author"), { value: page.about.name, readOnly: true });
  retell();
  takeFiles();
  takeKeys(page);
  addEventListener("hashchange", route);
  addEventListener("beforeunload", (event) => {
    if (page.queue.visits.some((visit) => Object.keys(visit.drafts).length || visit.rating)) event.preventDefault();
  });
  await route();
}

begin().catch((error) => {
  find("empty").textContent = error.message;
  announce(error.message);
});
