// A case's answer in; why it was given (heat map, deletion test) and the similar annotated cases, in their panels, out.
import { getJson, insist, postJson } from "/page/call.js";
import { headingOf, readable } from "/page/cards.js";
import { find, make, precise, refill } from "/page/make.js";
import { hideHeat, showHeat } from "/page/viewer.js";
import { say } from "/page/words.js";

const later = (panel) => (error) => panel.replaceChildren(make("p", {}, say("retry", { r: error.message, n: error.after })));

// Show why an answer was given; `current` tells whether the person still wants it when it comes.
export async function explain(visit, question, about, current) {
  const panel = find("why");
  panel.hidden = false;
  hideHeat();
  visit.whys ??= {};
  const told = () => tellNeighbours(visit.answers.find((answer) => answer.question === question));
  try {
    if (!visit.whys[question]) {
      refill(panel, make("p", { class: "busy" }, say("whyload")), told());
      const ask = () => postJson(`/v1/cases/${visit.case.case}/why`, { questions: [question] });
      visit.whys[question] = (await insist(ask, later(panel))).answers[0];
    }
    if (current()) tellWhy(panel, visit.whys[question], headingOf(about, question), told());
  } catch (error) {
    if (current()) refill(panel, make("p", { class: "fault", role: "alert" }, error.message), told());
  }
}

// Tell which annotated cases stood in the prompt, each with the answer that was told; nothing where none did.
function tellNeighbours(answer) {
  const told = Object.entries(answer?.neighbours ?? {});
  if (!told.length) return null;
  const cases = told.map(([id, text]) => (text ? say("toldcase", { c: id, a: readable(text) }) : id));
  return make("p", { class: "told" }, say("toldcases", { c: cases.join(say("toldjoint")) }));
}

function tellWhy(panel, why, name, told) {
  const title = make("h2", {}, `${say("why")} · ${name}`);
  if (why.without_marked === null) {
    refill(panel, title, make("p", {}, say("whynone")), told);
    return;
  }
  showHeat(why.heat);
  const shares = { a: precise(why.likelihood), b: precise(why.without_marked), c: precise(why.without_random) };
  const falls = why.without_marked < why.likelihood;
  refill(panel, title, make("p", {}, say(falls ? "whyline" : "whyrises", shares)),
    why.without_marked >= why.without_random && make("p", { class: "fault" }, say("weak")),
    told, make("p", { class: "quiet" }, say("whynote")));
}

export function hideWhy() {
  find("why").hidden = true;
  hideHeat();
}

// Show the similar annotated cases with their answers, that to the question in hand first.
export async function compare(visit, question, about, current) {
  const panel = find("similar");
  panel.hidden = false;
  try {
    if (!visit.similar) {
      panel.replaceChildren(make("p", { class: "busy" }, say("similarload")));
      visit.similar = await insist(() => getJson(`/v1/cases/${visit.case.case}/similar?k=3`), later(panel));
    }
    if (current()) tellSimilar(panel, visit, question, about);
  } catch (error) {
    if (current()) panel.replaceChildren(make("h2", {}, say("similar")), make("p", { class: "quiet" }, error.message));
  }
}

function tellSimilar(panel, visit, question, about) {
  const own = visit.answers.find((answer) => answer.question === question);
  const cases = visit.similar.cases.map((one) => {
    const said = one.answers.find((answer) => answer.question === question);
    const same = said && own && JSON.stringify(said.answer) === JSON.stringify(own.answer);
    const rest = one.answers.filter((answer) => answer.question !== question);
    return make("li", {},
      make("img", { src: one.thumbnail, alt: "", loading: "lazy" }),
      make("p", { class: "quiet" }, say("likeness", { n: one.likeness.toFixed(2) })),
      make("p", {}, said ? readable(said.text) : say("unanswered"), " ",
        said && make("span", { class: same ? "tag same" : "tag" }, say(same ? "same" : "differs"))),
      rest.length ? make("details", {}, make("summary", {}, say("rest_of_it")),
        make("ul", {}, rest.map((answer) => make("li", {}, make("b", {}, `${headingOf(about, answer.question)}: `), readable(answer.text))))) : null);
  });
  panel.replaceChildren(make("h2", {}, `${say("similar")} · ${headingOf(about, question)}`), make("ol", { class: "trio" }, cases));
}
