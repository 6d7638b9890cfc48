// Dropped files in; uploads two at a time, each with its progress, answers and faults at its thumbnail, out.
import { interpret, pictureOf } from "/page/call.js";
import { find, make, refill } from "/page/make.js";
import { say } from "/page/words.js";

const AT_ONCE = 2;
const LATER = new Set([0, 401, 429, 503]); // what a second try can mend
const MOST_TRIES = 30;

export class Queue {
  constructor(page) {
    this.page = page; // { choose(visit), heard(visit, answer), done(visit) }
    this.visits = [];
    this.running = 0;
    addEventListener("online", () => this.visits.filter((visit) => visit.state === "later").forEach((visit) => this.again(visit)));
  }

  add(files) {
    const fields = { group: find("group").value.trim(), spacing_mm: find("spacing").value.trim() };
    for (const file of files) {
      const visit = { file, fields, name: file.name, answers: [], drafts: {}, state: "waiting", tries: 0, opened: null };
      visit.row = make("li", {}, (visit.button = make("button", { type: "button", onclick: () => this.page.choose(visit) })));
      if (/^image\/(png|jpeg)$/.test(file.type)) visit.thumbnail = URL.createObjectURL(file);
      this.visits.push(visit);
      find("queue").append(visit.row);
      this.tell(visit);
    }
    this.go();
  }

  go() {
    while (this.running < AT_ONCE) {
      const next = this.visits.find((visit) => visit.state === "waiting");
      if (!next) return;
      this.running++;
      this.send(next).finally(() => {
        this.running--;
        this.go();
      });
    }
  }

  async send(visit) {
    Object.assign(visit, { state: "sending", share: 0, answers: [] });
    visit.tries++;
    this.tell(visit);
    const sent = (share) => {
      Object.assign(visit, { share, state: share < 1 ? "sending" : "reading" });
      this.tell(visit);
    };
    const told = (line) => {
      if (line.event !== "answer") return;
      visit.state = "reading";
      visit.answers.push(line.answer);
      this.tell(visit);
      this.page.heard(visit, line.answer);
    };
    try {
      visit.case = await interpret(visit.file, visit.fields, sent, told);
      Object.assign(visit, { state: "ready", answers: visit.case.answers, file: null });
      visit.thumbnail ??= await pictureOf(visit.case.case);
      this.tell(visit);
      this.page.done(visit);
    } catch (error) {
      this.fail(visit, error);
    }
  }

  // Say at the file what went wrong; what may pass is tried again after the time that the server names.
  fail(visit, error) {
    visit.reason = error.message;
    const again = LATER.has(error.status) && visit.tries < MOST_TRIES;
    visit.state = again ? "later" : "failed";
    visit.fault = error.status === 429 ? "busy" : "offline";
    if (again) this.count(visit, Math.max(1, Math.ceil(error.after || Math.min(30, 2 ** visit.tries))));
    this.tell(visit);
    this.page.done(visit);
  }

  count(visit, seconds) {
    if (visit.state !== "later") return;
    visit.left = seconds;
    this.tell(visit);
    if (seconds <= 0) this.again(visit);
    else setTimeout(() => this.count(visit, seconds - 1), 1000);
  }

  again(visit) {
    visit.state = "waiting";
    this.tell(visit);
    this.go();
  }

  words(visit) {
    const asked = this.page.asked();
    if (visit.state === "waiting") return say("waiting");
    if (visit.state === "sending") return say("sending", { n: Math.round(100 * visit.share) });
    if (visit.state === "reading") return say("reading", { n: visit.answers.length, m: asked });
    if (visit.state === "ready") return say("ready", { n: visit.answers.length });
    if (visit.state === "later") return say(visit.fault, { n: visit.left ?? "" });
    return visit.reason;
  }

  tell(visit) {
    const share = { waiting: 0, sending: 0.5 * (visit.share ?? 0), reading: 0.5 + (0.5 * visit.answers.length) / this.page.asked() }[visit.state];
    const shown = visit.thumbnail ? make("img", { src: visit.thumbnail, alt: "" }) : make("span", { class: "blank", "aria-hidden": "true" }, "▦");
    visit.row.className = visit.state;
    refill(visit.button, shown, make("span", { class: "told" }, make("b", {}, visit.name),
      make("span", { class: "state" }, (visit.saved ? "✓ " : "") + this.words(visit)),
      share === undefined ? null : make("progress", { max: 1, value: share, "aria-label": visit.name })));
    const retry = visit.row.querySelector(".again");
    if (visit.state === "failed" && visit.file && !retry) {
      visit.row.append(make("button", { type: "button", class: "again", onclick: () => this.again(visit) }, say("again")));
    } else if (visit.state !== "failed") {
      retry?.remove();
    }
  }

  // Mark the picture in hand.
  point(chosen) {
    for (const visit of this.visits) {
      if (visit === chosen) visit.button.setAttribute("aria-current", "true");
      else visit.button.removeAttribute("aria-current");
    }
    chosen?.row?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}
