"""Reports on a folder of lines, with Florence-2's class: captions, long captions and boxes, from lines to a page."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from residency.data.ingest import ingest
from residency.evaluate.examine import evaluate_run
from residency.exam import examine_fold
from residency.losses import caption_loss
from residency.models.registry import open_model
from residency.recipe import load_recipe
from residency.report.page import write_report
from tests.contract.tiny import build_tiny_florence2, draw_discs

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data" / "chest_xray"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "florence2"
    build_tiny_florence2(folder, positions=512)
    return folder


def test_boxes_in_words_are_learned_and_come_back_whole(model: Path, tmp_path: Path) -> None:
    """Location tokens survive encoding, training, greedy generation and decoding."""
    boxes = ["left lung<loc_595><loc_2><loc_999><loc_717>", "right lung<loc_0><loc_13><loc_587><loc_693>"]
    discs = [sample for sample in draw_discs(tmp_path) if sample.prefix.startswith("Which")][:2]
    samples = [
        sample.model_copy(update={"prefix": "<od>", "suffix": box, "question": "od"})
        for sample, box in zip(discs, boxes, strict=True)
    ]
    opened = open_model(str(model))
    family, loaded = opened.family, opened.loaded
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=3e-3, weight_decay=0.0)
    loaded.model.eval()
    batch = family.encode(loaded, samples, with_answers=True)
    assert batch.labels_BT is not None
    tokens = batch.labels_BT[0].tolist()
    assert loaded.processor.tokenizer.convert_tokens_to_ids("<loc_595>") in tokens
    for _ in range(80):
        output = family.forward(loaded, batch, family.see(loaded, batch.pixels_MCHW))
        summed = caption_loss(output.logits_BTV, batch.labels_BT)
        optimizer.zero_grad()
        (summed.total / summed.count).backward()
        optimizer.step()
    with torch.no_grad():
        asked = family.encode(loaded, samples, with_answers=False)
        answers = family.generate(loaded, asked, family.see(loaded, asked.pixels_MCHW), max_new_tokens=48)
    assert [answer.text for answer in answers] == boxes


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/chest_xray is not on this machine")
def test_chest_xray_reports_train_evaluate_and_report(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acceptance: the recipe for reports, on a report folder, with Florence-2's real class at a tiny size."""
    spec = importlib.util.spec_from_file_location("converter", ROOT / "benchmarks" / "chest_xray_reports.py")
    assert spec
    assert spec.loader
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    counts = converter.write_reports(SHARED, tmp_path / "reports")
    assert sum(counts.values()) == 48
    summary = ingest(None, tmp_path / "reports", None, tmp_path / "dataset", "column:patient")
    assert (summary.samples, summary.images) == (144, 48)
    recipe = load_recipe(
        ROOT / "recipes" / "reports-florence2.yaml",
        [
            *(f"data={tmp_path / 'dataset'}", f"out={tmp_path / 'runs'}", f"model={model}"),
            *("train.epochs=1", "train.location_spread=4", "predict.max_new_tokens=24", "evaluate.draws=200"),
        ],
    )
    told: list[str] = []
    run = tmp_path / "runs" / "reports-florence2"
    examine_fold(recipe, run, 0, say=told.append)
    learned = [row["learned"] for row in json.loads((run / "preflight.json").read_text())["labels"]]
    assert any("left lung<loc_" in text for text in learned)
    made = [json.loads(line) for line in (run / "predictions" / "test.own.jsonl").read_text().splitlines()]
    assert len(made) == 3 * counts["test"]
    examination = evaluate_run(run)
    asked = {question.id: question.metric for question in examination.questions}
    assert asked["od"] == "F1 at IoU 0.5" and asked["caption"] == "token F1"
    every = [score for score in examination.scores if score.subset == "all"]
    primary = {(s.of, s.question): s for s in every if s.metric == asked[s.question]}
    for question in ("caption", "detailed_caption", "od"):
        for of in ("own", "base", "majority", "blind", "shuffled", "mute", "probe", "knn"):
            score = primary[of, question]
            assert score.n == counts["test"]
            assert score.value is not None
    assert "left lung" in write_report(run).read_text(encoding="utf-8")
