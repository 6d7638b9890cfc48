"""A seed in; 200 references, each with a true report in other words and that report's negated twin, out.

Words and forms are this file's own: it shares no code and no list with the judge that it tests. A twin differs from
its true report in one statement, which it turns into its opposite.

    python benchmarks/negation_pairs.py FOLDER     # writes reference, true and negated reports for `residency judge`
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from residency.data.dataset import Dataset, write_dataset
from residency.files import write_lines
from residency.types import Prediction, Sample

FINDINGS = (
    "pleural effusion", "pneumothorax", "consolidation", "lung nodule", "rib fracture", "hiatal hernia",
    "pericardial effusion", "atelectasis", "interstitial edema", "calcified granuloma", "pulmonary mass", "ascites",
    "gallstone", "hydronephrosis", "liver cyst", "cleft lip", "ventricular septal defect", "subchorionic hematoma",
    "nasal bone", "stomach bubble", "cavum septum pellucidum", "four chamber view", "umbilical vein", "B-lines",
)  # fmt: skip
ORGANS = (
    "heart", "mediastinum", "liver", "spleen", "left kidney", "right kidney", "gallbladder", "aorta", "diaphragm",
    "cerebellum", "lateral ventricle", "placenta", "cervix", "spine", "bladder", "trachea",
)  # fmt: skip
STATES = ("enlarged", "displaced", "calcified", "dilated", "deviated", "thickened", "echogenic", "compressed")
PRESENT = (
    "There is a {}.", "A {} is seen.", "{} is present.", "A {} is noted.", "The image shows a {}.", "{} can be seen.",
    "{} was identified.", "The scan demonstrates a {}.",
)  # fmt: skip
ABSENT = (
    "There is no {}.", "No {}.", "No {} is seen.", "{} is absent.", "{} is not seen.", "No evidence of {}.",
    "{} is not present.", "Negative for {}.", "No sign of {} is noted.", "Without {}.", "{} was not identified.",
    "The image shows no {}.", "{} cannot be seen.", "{} has been excluded.", "Absence of {}.",
)  # fmt: skip
IS = ("The {} is {}.", "The {} appears {}.", "{}: {}.", "The {} looks {}.", "The {} was {}.")
IS_NOT = ("The {} is not {}.", "The {} isn't {}.", "The {} does not appear {}.", "The {} was not {}.")


@dataclass(frozen=True)
class Statement:
    """One fact: a finding that is there or not, or an organ that is in a state or not."""

    about: str
    state: str
    holds: bool

    def say(self, rng: np.random.Generator) -> str:
        """Return one wording of the fact."""
        if not self.state:
            text = str(rng.choice(PRESENT if self.holds else ABSENT)).format(self.about)
        else:
            text = str(rng.choice(IS if self.holds else IS_NOT)).format(self.about, self.state)
        return text[0].upper() + text[1:]

    def negated(self) -> "Statement":
        """Return the opposite fact."""
        return Statement(self.about, self.state, not self.holds)


def make_pairs(count: int = 200, seed: int = 0) -> list[tuple[str, str, str]]:
    """Return (reference, true report, its negated twin)."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        facts = [Statement(str(name), "", bool(rng.random() < 0.5)) for name in rng.choice(FINDINGS, 3, replace=False)]
        for organ in rng.choice(ORGANS, 2, replace=False):
            state = "normal" if rng.random() < 0.5 else str(rng.choice(STATES))
            facts.append(Statement(str(organ), state, bool(rng.random() < 0.6)))
        reference = " ".join(fact.say(rng) for fact in facts)
        order = rng.permutation(len(facts))
        said = [facts[place].say(rng) for place in order]
        turned = int(rng.integers(len(facts)))
        twin = [*said[:turned], facts[order[turned]].negated().say(rng), *said[turned + 1 :]]
        pairs.append((reference, " ".join(said), " ".join(twin)))
    return pairs


def write_pairs(folder: Path, count: int = 200, seed: int = 0) -> list[tuple[str, str, str]]:
    """Write a dataset of references (`data`) and two predictions files, `true.jsonl` and `negated.jsonl`."""
    pairs = make_pairs(count, seed)
    samples = [
        Sample(id=f"r{n:03d}", image=f"r{n:03d}.png", prefix="<CAPTION>", suffix=reference, group=f"r{n:03d}")
        for n, (reference, _, _) in enumerate(pairs)
    ]
    write_dataset(Dataset(folder / "data", tuple(samples), None, None))
    for name, place in (("true", 1), ("negated", 2)):
        made = [
            Prediction(id=f"r{n:03d}", model=name, mode="own", split="all", prompt_sha256="0", prediction=pair[place])
            for n, pair in enumerate(pairs)
        ]
        write_lines(folder / name / "reports.jsonl", made)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write_pairs(asked.folder, seed=asked.seed)
    print(f"residency judge {asked.folder / 'negated' / 'reports.jsonl'} --data {asked.folder / 'data'}")


if __name__ == "__main__":
    main()
