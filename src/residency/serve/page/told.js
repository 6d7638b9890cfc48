// A picture's record in, what was saved of it and what is known of it in words out.
import { make } from "/page/make.js";
import { say, tellTime } from "/page/words.js";

// Return a picture's size, or null where the browser cannot show it.
export async function measure(address) {
  const picture = new Image();
  picture.src = address;
  try {
    await picture.decode();
  } catch {
    return null;
  }
  return { width: picture.naturalWidth, height: picture.naturalHeight };
}

// Take reviews into a picture's record: the last word on each answer, and on the whole.
export function remember(visit, reviews) {
  visit.words ??= {};
  for (const one of reviews) {
    if (one.question) visit.words[one.question] = one;
    else visit.rated = one.rating;
  }
  visit.history = [...(visit.history ?? []), ...reviews];
}

// The server names the question before each fault: `q6: unmapped: ...; q8: ...`.
export function findFaults(reason, answers) {
  const found = answers.map(({ question }) => [question, reason.split("; ").find((part) => part.startsWith(`${question}: `))]);
  return Object.fromEntries(found.filter(([, fault]) => fault));
}

export function tellFacts(told) {
  const { origin } = told;
  const facts = [say("pixels", { w: told.width, h: told.height })];
  if (told.spacing_mm) facts.push(`${told.spacing_mm[0]} × ${told.spacing_mm[1]} mm`);
  if (origin?.kind === "dicom") facts.push(say("dicom", { n: origin.removed.length }));
  if (origin?.masked.length) facts.push(say("masked", { n: origin.masked.length }));
  if (origin?.frames > 1) facts.push(say("frames", { n: origin.frames }));
  return [...facts, say("seconds", { n: told.seconds.toFixed(2) })].join(" · ");
}

export function tellSaved(visit) {
  const made = visit?.note ? [make("strong", {}, visit.note)] : [];
  const whole = (visit?.history ?? []).filter((one) => !one.question);
  if (whole.length) {
    made.push(make("span", { class: "quiet" }, ` ${say("history")}: ` + whole.slice(-4).map((one) =>
      `${say("rated", { n: one.rating })} (${say("by", { a: one.author, t: tellTime(one.created) })})`).join("; ")));
  }
  return made;
}
