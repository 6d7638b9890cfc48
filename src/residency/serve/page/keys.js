// Keys in, what they stand for done: letters only where nothing is being written, and only if the person wants them.
import { find } from "/page/make.js";
import { fit, zoom } from "/page/viewer.js";

const WRITES = "textarea, input:not([type=checkbox], [type=radio], [type=range], [type=button])";

export function takeKeys(page) {
  const letters = find("letters");
  letters.checked = localStorage.getItem("letters") !== "off";
  letters.addEventListener("change", () => localStorage.setItem("letters", letters.checked ? "on" : "off"));
  const acts = {
    j: () => page.cards.step(1),
    k: () => page.cards.step(-1),
    a: () => page.cards.judge("accept"),
    e: () => page.cards.judge("edit"),
    r: () => page.cards.judge("reject"),
    n: () => page.step(1),
    p: () => page.step(-1),
    h: () => page.explain(),
    s: () => page.compare(),
    b: () => page.toggleMarks(),
    "+": () => zoom(1.25),
    "=": () => zoom(1.25),
    "-": () => zoom(0.8),
    0: fit,
    "?": () => find("keys").showModal(),
  };
  for (const stars of [1, 2, 3, 4, 5]) acts[stars] = () => page.rate(stars);
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      page.save();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.target.closest?.(WRITES)) return;
    const act = acts[event.key];
    if (!act || find("read").hidden || (!letters.checked && event.key !== "?")) return;
    event.preventDefault();
    act();
  });
}
