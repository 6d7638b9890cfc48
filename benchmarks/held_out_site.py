"""Examine an untuned nano on simulated patients of a machine its pretraining never drew: figures with intervals out.

    python benchmarks/held_out_site.py [--model nano] [--patients 120] [--draws 300]

The model's own written answers are scored (`residency.pretrain.examine`); intervals are bootstrapped by patient.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from residency.evaluate.bootstrap import draw_counts, interval
from residency.models.nano.build import IMAGE_SIZE
from residency.models.registry import open_model
from residency.pretrain.examine import examine_studies, score_studies
from residency.pretrain.studies import read_studies
from residency.questionnaire import load_questionnaire
from residency.ultrasound.phantom import HELD_OUT_SITE, write_phantom

WANTED = {
    "q1 F1 a sample": "0.95",
    "plane accuracy": "0.98",
    "NT standard": "0.90",
    "weeks error": "at most 1",
    "boxes mAP50": "0.8",
}


def main() -> None:
    """Draw the patients, ask the model, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=77)
    asked = parser.parse_args()
    questionnaire = load_questionnaire("fetal8")
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(Path(folder) / "unseen", patients=asked.patients, seed=asked.seed, site=HELD_OUT_SITE.name)
        studies = read_studies([Path(folder) / "unseen"], questionnaire, IMAGE_SIZE)
    rows = list(range(len(studies.scenes)))
    examined = examine_studies(open_model(asked.model).loaded, studies, rows, questionnaire)
    rows_of = defaultdict(list)
    for row in rows:
        rows_of[studies.patients[row]].append(row)
    patients = list(rows_of.values())
    drawn = [
        score_studies(
            examined,
            studies,
            [row for own, count in zip(patients, counts_G, strict=True) for row in own * int(count)],
            questionnaire,
        )
        for counts_G in draw_counts(len(patients), asked.draws, asked.seed)
    ]
    print(f"{len(rows)} images of {len(patients)} patients, site {HELD_OUT_SITE.name}\n")
    print("| measure | value | 95% interval | wanted |\n|---|---|---|---|")
    for name, value in score_studies(examined, studies, rows, questionnaire).items():
        values_R = np.array([np.nan if figures[name] is None else figures[name] for figures in drawn], float)
        low, high = interval(values_R, len(patients))
        told = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        print(f"| {name} | {'none' if value is None else f'{value:.3f}'} | {told} | {WANTED.get(name, '')} |")


if __name__ == "__main__":
    main()
