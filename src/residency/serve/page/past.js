// Kept cases in, a list to choose from and the record of a chosen one out.
import { getJson, pictureOf } from "/page/call.js";
import { find, make } from "/page/make.js";
import { remember } from "/page/told.js";
import { say, tellTime } from "/page/words.js";

export async function showPast(before = "") {
  const { cases } = await getJson(`/v1/cases?limit=24${before && `&before=${encodeURIComponent(before)}`}`);
  const list = find("past");
  if (!before) list.replaceChildren();
  for (const one of cases) {
    const shown = make("img", { alt: "" });
    pictureOf(one.case).then((address) => (shown.src = address), () => {});
    const when = tellTime(one.created);
    list.append(make("li", {}, make("a", { href: `#case=${one.case}` }, shown, make("span", {}, when), make("span", { class: "quiet" }, one.model))));
  }
  if (!list.children.length) list.append(make("li", { class: "quiet" }, say("nocases")));
  find("older").hidden = cases.length < 24;
  find("older").onclick = () => showPast(cases.at(-1).created);
}

// Take a kept case, with its reviews, beside the pictures of this session, and show it.
export async function openCase(page, id) {
  let visit = page.queue.visits.find((one) => one.case?.case === id);
  if (!visit) {
    const told = await getJson(`/v1/cases/${id}`);
    visit = { case: told.case, answers: told.case.answers, drafts: {}, name: id, state: "ready", opened: null };
    visit.row = make("li", {}, (visit.button = make("button", { type: "button", onclick: () => page.choose(visit) })));
    remember(visit, told.reviews);
    visit.saved = told.reviews.length > 0;
    visit.thumbnail = await pictureOf(id);
    page.queue.visits.push(visit);
    find("queue").append(visit.row);
    page.queue.tell(visit);
  }
  location.replace("#read");
  page.choose(visit);
}
