// Requests in, the server's JSON, pictures and streams out; refusals become errors with their status and reason.
import { say } from "/page/words.js";

export class Refused extends Error {
  constructor(status, reason, after = 0) {
    super(reason);
    this.status = status;
    this.after = after;
  }
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const token = () => sessionStorage.getItem("token");
const heads = () => ({ "X-Residency": "1", ...(token() ? { Authorization: `Bearer ${token()}` } : {}) });

// Ask a person for a token until the server knows it.
let asking = null;
function askToken() {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("asktoken");
    if (token()) document.getElementById("tokensaid").textContent = say("tokenwrong");
    dialog.oncancel = (event) => event.preventDefault();
    document.getElementById("tokenform").onsubmit = () => {
      sessionStorage.setItem("token", document.getElementById("token").value.trim());
      document.getElementById("token").value = "";
      asking = null;
      done();
    };
    dialog.showModal();
  });
  return asking;
}

async function ask(path, options = {}) {
  while (true) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: { ...heads(), ...options.headers } });
    } catch {
      throw new Refused(0, say("lost"));
    }
    if (answer.status === 401) {
      await askToken();
      continue;
    }
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => null);
    throw new Refused(answer.status, told?.error?.reason ?? answer.statusText, Number(answer.headers.get("Retry-After")));
  }
}

export const getJson = async (path) => (await ask(path)).json();
export const getBlob = async (path) => (await ask(path)).blob();

export async function postJson(path, body) {
  const options = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return (await ask(path, options)).json();
}

// Ask again while the server says "later" (429, 503 with Retry-After), at most so many times.
export async function insist(call, hear, times = 20) {
  for (let round = 0; ; round++) {
    try {
      return await call();
    } catch (error) {
      if (!(error.after > 0) || round >= times) throw error;
      hear(error);
      await pause(error.after);
    }
  }
}

const pictures = new Map();

// Return a blob: address of a case's picture, which may need the token; it is fetched once.
export function pictureOf(id) {
  if (!pictures.has(id)) {
    const made = getBlob(`/v1/cases/${id}/image`).then((blob) => URL.createObjectURL(blob));
    made.catch(() => pictures.delete(id));
    pictures.set(id, made);
  }
  return pictures.get(id);
}

// Upload one file; `sent` hears the share that has left, `told` each line of the answer. Refused when it fails.
export function interpret(file, fields, sent, told) {
  const body = new FormData();
  body.append("file", file, "image");
  for (const [name, value] of Object.entries(fields)) if (value) body.append(name, value);
  return new Promise((done, fail) => {
    const call = new XMLHttpRequest();
    let read = 0;
    let last = null;
    const drain = () => {
      if (call.status !== 200) return;
      const end = call.responseText.lastIndexOf("\n") + 1;
      for (const line of call.responseText.slice(read, end).split("\n").filter(Boolean)) told((last = JSON.parse(line)));
      read = Math.max(read, end);
    };
    call.open("POST", "/v1/interpret?stream=1");
    for (const [name, value] of Object.entries(heads())) call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => event.lengthComputable && sent(event.loaded / event.total);
    call.onprogress = drain;
    call.onerror = () => fail(new Refused(0, say("lost")));
    call.onload = () => {
      drain();
      if (last?.event === "case") return done(last.case);
      if (call.status === 401) return askToken().then(() => fail(new Refused(401, say("tokennote"), 0.1)));
      let told = last;
      if (!told) try { told = JSON.parse(call.responseText); } catch { told = null; }
      fail(new Refused(told?.error?.status ?? call.status, told?.error?.reason ?? say("lost"),
        Number(call.getResponseHeader("Retry-After"))));
    };
    call.send(body);
  });
}
