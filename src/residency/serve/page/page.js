"use strict";
// A picture in, its answers out, row by row as they are streamed.
const answers = document.getElementById("answers");
const state = document.getElementById("state");

function show(told) {
  const row = answers.insertRow();
  const said = told.sure ? told.text : `not sure (${told.text})`;
  for (const text of [told.wording.split(":")[0], said, `${told.confidence.toFixed(2)} ${told.confidence_words}`]) {
    row.insertCell().textContent = text;
  }
}

document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  answers.replaceChildren();
  state.textContent = "reading ...";
  const body = new FormData();
  body.append("file", document.getElementById("file").files[0]);
  const answer = await fetch("/v1/interpret?stream=1", { method: "POST", body, headers: { "X-Residency": "1" } });
  if (!answer.ok) {
    state.textContent = (await answer.json()).error.reason;
    return;
  }
  for (const line of (await answer.text()).trim().split("\n").map(JSON.parse)) {
    if (line.event === "answer") show(line.answer);
    else state.textContent = line.event === "case" ? `case ${line.case.case}` : line.error.reason;
  }
});
