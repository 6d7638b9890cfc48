// A tag, what it has and what is in it in; an element out. Text stays text: nothing is ever read as HTML.
export function make(tag, values = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...kept(inside));
  return made;
}

const kept = (inside) => inside.flat().filter((one) => one !== null && one !== undefined && one !== false);

// Put these in the place of what an element holds; what is null or false is left out.
export const refill = (element, ...inside) => element.replaceChildren(...kept(inside));

export const find = (id) => document.getElementById(id);

// Tell a share; what rounds to none or all is told as less or more.
export function percent(share) {
  return share > 0.995 && share < 1 ? ">99%" : share > 0 && share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`;
}

// Tell a share that may be tiny, to two digits.
export function precise(share) {
  return share >= 0.1 ? percent(share) : share < 1e-5 ? "<0.001%" : `${Number((100 * share).toPrecision(2))}%`;
}
