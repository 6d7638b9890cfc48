// A case's answers in, cards to accept, edit or reject them out; what a reviewer says is kept in the case's `drafts`.
import { makeEdit } from "/page/edit.js";
import { find, make, percent, refill } from "/page/make.js";
import { say, tellTime } from "/page/words.js";

const VERDICTS = { accept: "accepted", edit: "edited", reject: "rejected" };

// Return an answer's text with its location tokens, which are drawn on the picture, left out.
export function readable(text) {
  const plain = text.replace(/\s*(?:<loc_?\d+>)+[\s,;]*/g, ", ").replace(/\s+/g, " ").replace(/^[ ,;]+|[ ,;]+$/g, "");
  return plain || (text.includes("<loc") ? say("drawn") : say("nothing"));
}

// Return the short name of a question.
export function headingOf(about, id) {
  const question = about.questionnaire.questions.find((one) => one.id === id);
  return question?.headings[0] ?? question?.wording.split(":")[0] ?? id;
}

export class Cards {
  constructor(page) {
    this.page = page; // { about, mayReview(), changed(), explain(id), compare() }
    this.visit = null;
    this.current = null;
    this.moved = false; // whether the person has gone to another card
  }

  // Show a picture's answers; the one in hand stays in hand, if it is the same picture.
  show(visit) {
    const held = visit === this.visit && this.moved ? this.cards.indexOf(this.current) : 0;
    if (visit !== this.visit) this.moved = false;
    this.visit = visit;
    this.current = null;
    find("answers").replaceChildren();
    for (const answer of visit?.answers ?? []) this.add(answer);
    this.go(held);
  }

  get cards() {
    return [...find("answers").children];
  }

  // Put a new answer's card in the questionnaire's order, whatever the order in which answers come.
  add(answer) {
    const order = this.page.about.questionnaire.questions.map((question) => question.id);
    const card = make("li", { class: "card", tabindex: "-1", "data-question": answer.question });
    card.addEventListener("focusin", () => this.choose(card));
    card.addEventListener("pointerdown", () => {
      this.moved = true;
      this.choose(card);
    });
    const after = this.cards.find((other) => order.indexOf(other.dataset.question) > order.indexOf(answer.question));
    find("answers").insertBefore(card, after ?? null);
    this.fill(card);
    if (!this.moved) this.go(0);
  }

  refresh() {
    for (const card of this.cards) this.fill(card);
  }

  answerOf(card) {
    return this.visit.answers.find((answer) => answer.question === card.dataset.question);
  }

  fill(card) {
    const answer = this.answerOf(card);
    const draft = this.visit.drafts[answer.question];
    const past = this.visit.words?.[answer.question];
    card.classList.toggle("unsure", !answer.sure);
    card.dataset.verdict = draft?.verdict ?? past?.verdict ?? "";
    refill(
      card,
      make("h2", { title: answer.wording }, headingOf(this.page.about, answer.question)),
      this.tellAnswer(answer),
      this.tellConfidence(answer),
      this.tellOthers(answer),
      this.tellWord(draft, past, answer.question),
      this.offer(card, answer, draft),
    );
  }

  tellAnswer(answer) {
    const text = readable(answer.text);
    if (answer.sure) return make("p", { class: "said" }, text);
    const why = answer.answer === null ? say("noanswer") : text;
    return make("p", { class: "said" }, make("strong", { class: "badge" }, say("notsure")), ` ${why}`);
  }

  tellConfidence(answer) {
    const share = percent(answer.confidence);
    const bar = make("meter", { min: 0, max: 1, low: answer.threshold ?? 0.6, high: 0.8, optimum: 1, "aria-label": `${share} ${say(answer.confidence_words)}` });
    bar.value = answer.confidence;
    const wanted = answer.threshold !== null && !answer.sure ? ` · ${say("wanted", { n: percent(answer.threshold) })}` : "";
    return make("p", { class: "confidence" }, bar, make("b", {}, share), ` ${say(answer.confidence_words)}${wanted}`);
  }

  tellOthers(answer) {
    const others = Object.entries(answer.candidates).filter(([name]) => name !== answer.text).slice(0, 5);
    if (!others.length) return null;
    return make("details", { class: "others" }, make("summary", {}, say("others")),
      make("ul", {}, others.map(([name, share]) => make("li", {}, make("span", {}, readable(name)), make("span", { class: "quiet" }, percent(share))))));
  }

  // Tell what was said of the answer: a draft that waits to be saved, else the last word that was saved.
  tellWord(draft, past, question) {
    const fault = this.visit.faults?.[question];
    if (fault) return make("p", { class: "fault", role: "alert" }, fault);
    if (draft) {
      const said = draft.text ? `: ${readable(draft.text)}` : "";
      return make("p", { class: "word draft" }, `${say(VERDICTS[draft.verdict])}${said} · ${say("unsaved")}`);
    }
    if (!past) return null;
    const said = past.verdict === "edit" ? `: ${readable(past.text)}` : "";
    const by = say("by", { a: past.author, t: tellTime(past.created) });
    return make("p", { class: "word kept" }, `✓ ${say(VERDICTS[past.verdict])}${said} · ${by}`);
  }

  offer(card, answer, draft) {
    const button = (name, act, pressed, more = {}) =>
      make("button", { type: "button", "data-act": name, "aria-pressed": `${pressed}`, onclick: act, ...more }, say(name));
    const row = [];
    if (this.page.mayReview() && this.visit.case) {
      row.push(button("accept", () => this.judge("accept", card), draft?.verdict === "accept", answer.answer === null ? { disabled: true } : {}));
      row.push(button("edit", () => this.judge("edit", card), draft?.verdict === "edit"));
      row.push(button("reject", () => this.judge("reject", card), draft?.verdict === "reject"));
    }
    if (this.visit.case) {
      row.push(button("why", () => this.page.explain(answer.question), this.page.explained() === answer.question));
      row.push(button("likecases", () => this.page.compare(), this.page.compared()));
    }
    return make("div", { class: "acts" }, row);
  }

  // Give a verdict on the card in hand; the same again takes it back.
  judge(verdict, card = this.current) {
    if (!card || !this.visit.case || !this.page.mayReview()) return;
    const answer = this.answerOf(card);
    const drafts = this.visit.drafts;
    delete this.visit.faults?.[answer.question];
    if (verdict === "edit") return this.openEdit(card, answer);
    if (verdict === "accept" && answer.answer === null) return;
    if (drafts[answer.question]?.verdict === verdict) delete drafts[answer.question];
    else drafts[answer.question] = { verdict };
    this.fill(card);
    this.choose(card);
    card.focus();
    this.page.changed();
  }

  openEdit(card, answer) {
    if (card.querySelector("form")) return;
    const question = this.page.about.questionnaire.questions.find((one) => one.id === answer.question);
    const past = this.visit.words?.[answer.question];
    const from = past?.verdict === "edit" ? past : answer;
    const edit = makeEdit(question, from.answer, from.parts ?? {});
    const close = () => {
      this.fill(card);
      card.focus();
    };
    const use = (event) => {
      event.preventDefault();
      const text = edit.read();
      if (!text) return;
      this.visit.drafts[answer.question] = { verdict: "edit", text };
      close();
      this.page.changed();
    };
    const form = make("form", { class: "edit", onsubmit: use, onkeydown: (event) => event.key === "Escape" && close() }, edit.fields,
      make("div", { class: "row" }, make("button", { class: "main" }, say("apply")), make("button", { type: "button", onclick: close }, say("cancel"))));
    card.append(form);
    (form.querySelector(":checked") ?? form.querySelector("input, textarea"))?.focus();
    form.scrollIntoView({ block: "nearest" });
  }

  choose(card) {
    if (this.current === card) return;
    this.current?.removeAttribute("aria-current");
    this.current?.setAttribute("tabindex", "-1");
    this.current = card;
    card.setAttribute("aria-current", "true");
    card.setAttribute("tabindex", "0");
    this.page.chosen(card.dataset.question);
  }

  go(place) {
    const card = this.cards[Math.max(0, Math.min(place, this.cards.length - 1))];
    if (card) this.choose(card);
  }

  step(by) {
    const card = this.cards[Math.max(0, Math.min(this.cards.indexOf(this.current) + by, this.cards.length - 1))];
    if (!card) return;
    this.moved = true;
    card.focus();
    card.scrollIntoView({ block: "nearest" });
  }

  // Accept every answer of which nothing was said, and that can be accepted.
  acceptRest() {
    for (const answer of this.visit.answers) {
      if (answer.answer !== null && !this.visit.drafts[answer.question] && !this.visit.words?.[answer.question]) {
        this.visit.drafts[answer.question] = { verdict: "accept" };
      }
    }
    this.refresh();
    this.page.changed();
  }
}
