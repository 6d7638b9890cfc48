// The case in hand in; its draft of a report, FHIR or DICOM SR, saved as a file out.
import { getBlob } from "/page/call.js";
import { find, make } from "/page/make.js";
import { say } from "/page/words.js";

const FORMS = { fhir: "fhir.json", sr: "sr.zip" };

// Save a blob under a name, as a download.
export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function saveDraft(visit, form) {
  const name = `${visit.case.case}.${FORMS[form]}`;
  let told;
  try {
    saveFile(await getBlob(`/v1/cases/${visit.case.case}/draft?form=${form}`), name);
    told = say(Object.keys(visit.drafts).length ? "draftunsaved" : "drafted", { n: name });
  } catch (error) {
    told = say("notdrafted", { r: error.message });
  }
  find("drafted").textContent = told;
}

// Offer the drafts of a picture that is a case.
export function offerDrafts(visit) {
  find("drafts").hidden = !visit?.case;
  find("drafted").textContent = "";
  for (const form of Object.keys(FORMS)) {
    find(form).setAttribute("aria-label", say("draftname", { n: find(form).textContent }));
    find(form).onclick = () => saveDraft(visit, form);
  }
}
