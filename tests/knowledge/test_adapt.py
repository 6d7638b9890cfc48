"""KnowAda on an answer sheet: what is judged, cut and left; and the commands on real files, with a tiny model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.files import read_lines
from residency.knowledge.adapt import Cut
from residency.knowledge.cut import cut_sample, draw_random, find_lost
from residency.knowledge.trials import Trial, find_unknown, is_unknown
from residency.knowledge.verdict import Verdict, judge_answer, list_claims
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.registry import open_model
from residency.questionnaire import ABSTENTION, load_questionnaire, render_answer
from residency.types import Answer, Quantity, Sample, Splits
from tests.contract.test_family import FULL, fit
from tests.discs import QUESTIONNAIRE, build_bench, cut_groups, disc_samples
from tests.run_command import call_residency, run_residency

FETAL = load_questionnaire("fetal8")


def sheet_sample(question: str, answer: Answer, parts: dict[str, Answer] | None = None) -> Sample:
    asked = FETAL.question(question)
    text = render_answer(asked, answer, parts or {})
    return Sample(id=question, image="i.png", prefix=asked.wording, suffix=text, group="P", question=question,
                  answer=answer, parts=parts or {})  # fmt: skip


MEASURED = sheet_sample("q4", ("femur length", "HC"), {"q4.femur length": Quantity(value=40.0, unit="mm")})
AGED = sheet_sample("q5", "20-25 weeks", {"q5.weeks": Quantity(value=22.0, unit="weeks")})
SEEN = sheet_sample("q1", ("liver", "stomach", "umbilical vein"))


@pytest.mark.parametrize(
    ("sample", "text", "verdicts"),
    [
        (SEEN, "liver, spleen", {"q1:liver": "correct", "q1:stomach": "wrong", "q1:umbilical vein": "wrong"}),
        (SEEN, "I am a language model", dict.fromkeys(("q1:liver", "q1:stomach", "q1:umbilical vein"))),
        (SEEN, "", dict.fromkeys(("q1:liver", "q1:stomach", "q1:umbilical vein"))),
        (AGED, "20-25 weeks (22 weeks 1 day)", {"q5": "correct", "q5.weeks": "correct"}),
        (AGED, "20-25 weeks (24 weeks 0 days)", {"q5": "correct", "q5.weeks": "minor"}),
        (AGED, "25-30 weeks", {"q5": "minor", "q5.weeks": "wrong"}),
        (AGED, "30-35 weeks (33 weeks 0 days)", {"q5": "wrong", "q5.weeks": "wrong"}),
        (
            MEASURED,
            "femur length 41 mm",
            {"q4:femur length": "correct", "q4:HC": "wrong", "q4.femur length": "correct"},
        ),
        (MEASURED, "HC", {"q4:femur length": "wrong", "q4:HC": "correct", "q4.femur length": "wrong"}),
        (sheet_sample("q7", "normal"), "abnormal", {"q7": "wrong"}),
        (sheet_sample("q2", "breech presentation"), "breech", {"q2": "correct"}),
    ],
)
def test_each_claim_of_the_truth_is_judged_by_what_was_said(
    sample: Sample, text: str, verdicts: dict[str, Verdict | None]
) -> None:
    assert judge_answer(sample, text, FETAL) == verdicts


def test_a_failed_judgement_is_never_wrong() -> None:
    wrong, failed, correct = ["wrong"], [None], ["correct"]
    assert is_unknown([*wrong * 8, *correct * 2]) is True
    assert is_unknown([*wrong * 7, *correct * 3]) is False
    assert is_unknown([*wrong * 7, *failed, *correct * 2]) is False  # 7 of 9
    assert is_unknown([*wrong * 4, *failed * 5, *correct]) is True  # 4 of the 5 that were judged
    assert is_unknown([*wrong * 4, *failed * 6]) is None  # too few to say
    assert is_unknown(failed * 10) is None
    trial = Trial(id="a", sample="a", image="i", group="g", question="q", asked="?", reference="r", answers=("x",) * 10,
                  verdicts={"q": (None,) * 10, "q.part": ("wrong",) * 10})  # fmt: skip
    assert find_unknown([trial]) == {"a": frozenset({"q.part"})}


def test_only_what_is_unknown_is_cut() -> None:
    assert cut_sample(MEASURED, frozenset(), FETAL) is MEASURED
    assert cut_sample(MEASURED, frozenset({"q4.femur length"}), FETAL).suffix == "femur length, HC"
    gone = cut_sample(MEASURED, frozenset({"q4:femur length"}), FETAL)
    assert (gone.suffix, gone.answer, gone.parts) == ("HC", ("HC",), {})
    assert set(find_lost(MEASURED, {"q4:femur length"}, FETAL)) == {"q4:femur length", "q4.femur length"}
    assert cut_sample(AGED, frozenset({"q5.weeks"}), FETAL).suffix == "20-25 weeks"
    assert cut_sample(AGED, frozenset({"q5"}), FETAL).suffix is None
    assert set(find_lost(AGED, {"q5"}, FETAL)) == {"q5", "q5.weeks"}
    assert cut_sample(SEEN, frozenset(list_claims(SEEN, FETAL)), FETAL).suffix is None
    loose = SEEN.model_copy(update={"suffix": "Liver,  stomach ; umbilical vein."})  # not as we would write it
    assert cut_sample(loose, frozenset(), FETAL).suffix == "Liver,  stomach ; umbilical vein."


def test_as_many_claims_go_at_random() -> None:
    samples = (MEASURED, AGED, SEEN)
    everything = sum(len(list_claims(sample, FETAL)) for sample in samples)
    drawn = set()
    for seed in range(40):
        count = seed % (everything + 1)
        keys = draw_random(samples, count, FETAL, np.random.default_rng(seed))
        gone = sum(len(find_lost(sample, keys.get(sample.id, ()), FETAL)) for sample in samples)
        assert gone == count
        drawn.add(tuple(sorted(key for found in keys.values() for key in found)))
    assert len(drawn) > 20


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows which side is bright, and tells every size the wrong way round."""
    folder = tmp_path_factory.mktemp("known")
    build_bench(folder, images=7)
    samples = list(disc_samples(folder / "images", 7))
    write_dataset(Dataset(folder / "data", tuple(samples), QUESTIONNAIRE, cut_groups(tuple(samples))))
    flip = {"small disc": "large disc", "large disc": "small disc"}
    opened = open_model(str(folder / "model"))
    apply_plan(opened.loaded, plan_tuning(opened.family, opened.loaded.model, FULL), FULL, seed=0)
    opened.loaded.model.eval()
    told = [sample.model_copy(update={"suffix": flip.get(str(sample.suffix), sample.suffix)}) for sample in samples]
    fit(opened, told, steps=150, rate=1e-3)
    opened.loaded.model.merge_and_unload().save_pretrained(folder / "model")
    recipe: dict[str, Any] = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe |= {"out": str(folder / "runs"), "predict": {"max_new_tokens": 24}}
    recipe["train"] |= {"epochs": 1}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def probe(bench: Path) -> Path:
    done = run_residency(
        "probe", bench / "model", "--data", bench / "data", "--max-new-tokens", 8, "--out", bench / "p"
    )
    assert done.code == 0, done.err
    assert "adapt-captions" in done.out
    return bench / "p"


def test_a_probe_finds_what_a_model_cannot_know_and_goes_on_after_a_stop(bench: Path, probe: Path) -> None:
    asked = ("probe", bench / "model", "--data", bench / "data", "--max-new-tokens", 8)
    found = json.loads((probe / "probe.json").read_text())
    known = {one["question"]: one for one in found["questions"]}
    assert known["side"]["unknown"] == known["side"]["failed"] == 0
    assert known["size"]["unknown"] == known["size"]["claims"] == found["images"]
    lines = (probe / "probe.jsonl").read_bytes().splitlines(keepends=True)
    assert all(len(json.loads(line)["answers"]) == 10 for line in lines)
    part = bench / "stopped" / "probe.jsonl.part"
    part.parent.mkdir()
    part.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # a line that was cut off
    (bench / "stopped" / "asked.json").write_bytes((probe / "asked.json").read_bytes())
    assert call_residency(*asked, "--out", bench / "stopped") == 0
    assert sorted((bench / "stopped" / "probe.jsonl").read_bytes().splitlines(keepends=True)) == sorted(lines)
    other = run_residency(*asked, "--out", probe, "--seed", 1)
    assert (other.code, "holds another probe" in other.err) == (2, True)


def test_an_adapted_dataset_says_less_names_every_cut_and_trains(bench: Path, probe: Path) -> None:
    asked = ("adapt-captions", bench / "data", "--probe", probe, "--out")
    made = {}
    for name, words in {"known": (), "random": ("--random-control",), "full": ("--full",)}.items():
        done = run_residency(*asked, bench / name, *words)
        assert done.code == 0, done.err
        made[name] = load_dataset(bench / name)
    known, facts = made["known"], json.loads((bench / "known" / "knowledge.json").read_text())
    cuts = {name: read_lines(bench / name / "cuts.jsonl", Cut) for name in made}
    assert len(cuts["known"]) == len(cuts["random"]) == facts["claims_before"] - facts["claims_after"]
    assert (bench / "known" / facts["parent"]).resolve() == (bench / "data").resolve()
    assert (bool(cuts["known"]), bool(cuts["full"])) == (True, False)
    assert {cut.question for cut in cuts["known"]} == {"size"}
    assert {cut.because for cut in cuts["random"]} == {"random"}
    assert all(cut.wrong == cut.judged == 10 and cut.because == "unknown" for cut in cuts["known"])
    learned = {sample.id for name in ("train", "val") for sample in known.split(name)}
    for whole, sample in zip(made["full"].samples, known.samples, strict=True):
        assert (whole.id, sample.prefix, sample.question) == (sample.id, "<DETAILED_CAPTION>", None)
        assert known.image_path(sample).is_file()
        side, size = str(whole.suffix).splitlines()
        assert (side[:6], size[:6]) == ("side: ", "size: ")
        assert sample.suffix == (side if sample.id in learned else whole.suffix)
    recipe = yaml.safe_load((bench / "recipe.yaml").read_text()) | {"name": "reports", "data": str(bench / "known")}
    (bench / "reports.yaml").write_text(yaml.safe_dump(recipe))
    assert call_residency("train", bench / "reports.yaml") == 0
    table = json.loads(run_residency("judge", bench / "runs" / "reports", "--json").out)["tables"][0]
    assert table["true"] == 2 * table["images"]  # a report's lines are claims, each about its question
    again = run_residency(*asked, bench / "known")
    assert (again.code, "there already" in again.err) == (2, True)
    other = run_residency("adapt-captions", bench / "known", "--probe", probe, "--out", bench / "x")
    assert (other.code, "another dataset" in other.err) == (2, True)


def test_a_sweep_shows_what_each_threshold_would_cut_and_is_worth(bench: Path, probe: Path) -> None:
    done = run_residency("adapt-captions", bench / "data", "--probe", probe, "--out", bench / "swept", "--sweep")
    assert done.code == 0, done.err
    assert "nothing cut" in (bench / "swept" / "sweep.md").read_text()
    rows = json.loads((bench / "swept" / "sweep.json").read_text())["rows"]
    values = {row["threshold"]: [score["value"] for score in row["scores"]] for row in rows}
    claims = {row["threshold"]: (row["cut"], row["claims"], row["said"]) for row in rows}
    assert claims[None] == (0, 2, 2)
    assert values[None] == [0.5, 0.5, 0.5, 0.5]  # the side is right, the size is wrong
    assert claims[0.8] == (0.5, 1, 1)
    assert values[0.8] == [1, 0.5, 0, 0]


def test_a_question_that_is_cut_singly_becomes_an_abstention(bench: Path, probe: Path) -> None:
    out = bench / "each"
    done = run_residency("adapt-captions", bench / "data", "--probe", probe, "--out", out, "--form", "each")
    assert done.code == 0, done.err
    parent = {sample.id: sample for sample in load_dataset(bench / "data").samples}
    cuts = {cut.sample for cut in read_lines(out / "cuts.jsonl", Cut)}
    for sample in load_dataset(out).samples:
        before = parent[sample.id]
        assert (sample.prefix, sample.question) == (before.prefix, before.question)
        told = (ABSTENTION, None) if sample.id in cuts else (before.suffix, before.answer)
        assert (sample.suffix, sample.answer) == told
    recipe = yaml.safe_load((bench / "recipe.yaml").read_text()) | {"name": "each", "data": str(out)}
    recipe["train"] |= {"epochs": 30, "learning_rate": 3e-3, "balance": "none"}
    fold = load_dataset(out).require_fold(0)
    whole = fold.model_copy(
        update={"train": (*fold.train, *fold.val), "val": ()}
    )  # no one to stop by: the last weights
    write_dataset(replace(load_dataset(out), splits=Splits(seed=0, method="by hand", folds=(whole,))))
    (bench / "each.yaml").write_text(yaml.safe_dump(recipe))
    assert call_residency("train", bench / "each.yaml") == 0
    assert call_residency("evaluate", bench / "runs" / "each") == 0
    scores = json.loads((bench / "runs" / "each" / "scores" / "scores.json").read_text())["scores"]
    assert call_residency("report", bench / "runs" / "each") == 0
    page = (bench / "runs" / "each" / "report.html").read_text(encoding="utf-8")
    assert "judged unable to know" in page
    assert '<th scope="row">size</th><td class="number">5</td><td class="number">5 (100%)</td>' in page
    size = next(s for s in scores if (s["of"], s["question"], s["subset"]) == ("own", "size", "all"))
    assert size["abstained"] == size["unparsed"] == size["n"] > 0
    table = json.loads(run_residency("judge", bench / "runs" / "each", "--json").out)["tables"][0]
    assert (table["true"], table["said"]) == (2 * table["images"], table["images"])  # nothing is claimed of the size
