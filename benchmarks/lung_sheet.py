"""The manifest of ../shared/data/lung_ultrasound in, an answer sheet about its pictures and a questionnaire out."""

import csv
import json
from pathlib import Path

import yaml

SIGNS = ("Effusion", "Consolidations", "B-lines", "A-lines", "Pleural line irregularities", "Air bronchogram")
QUESTIONS = {
    "q1": {
        "type": "set",
        "wording": "Signs: Which signs are seen in this lung ultrasound?",
        "headings": ["Signs"],
        "options": [sign.lower() for sign in SIGNS],
    },
    "q2": {
        "type": "choice",
        "wording": "Assessment: Is the lung healthy?",
        "headings": ["Assessment"],
        "options": ["healthy lung", "not healthy"],
    },
    "q3": {
        "type": "choice",
        "wording": "Pattern: Which disease does the picture suggest?",
        "headings": ["Pattern"],
        "options": ["regular", "COVID-19", "viral pneumonia", "bacterial pneumonia"],
    },
    "q4": {
        "type": "choice",
        "wording": "Probe: With which probe was it taken?",
        "headings": ["Probe"],
        "options": ["convex", "linear"],
    },
}


def write_sheet(folder: Path, out: Path) -> None:
    """Write answers.csv and questionnaire.yaml; what the manifest leaves empty stays empty.

    A picture without a patient is a patient of its own video.
    """
    out.mkdir(parents=True, exist_ok=True)
    questions = [{"id": id} | question for id, question in QUESTIONS.items()]
    (out / "questionnaire.yaml").write_text(yaml.safe_dump({"name": "lung", "questions": questions}, sort_keys=False))
    with (out / "answers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image", "Patient", *(str(question["headings"][0]) for question in QUESTIONS.values())])
        for item in json.loads((folder / "manifest.json").read_text()):
            told = item["Effusion"] != ""
            signs = ", ".join(sign.lower() for sign in SIGNS if item[sign] == "1") or "none"
            healthy = "healthy lung" if item["Label"] == "regular" else "not healthy"
            patient = item["Patient ID / Name"] or Path(item["source"]).stem
            row = [signs if told else "", healthy, item["Label"], item["Probe"]]
            writer.writerow([item["image"], patient, *row])
