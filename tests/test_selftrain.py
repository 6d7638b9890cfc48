"""Self-training: no image near validation or test, few wrong answers, a crash changes nothing, the best one ships."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residency.config import Recipe, SelfTraining
from residency.data.batches import ImageBatches
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.ingest import ingest
from residency.data.unanswered import find_unanswered, require_unanswered
from residency.errors import UserError
from residency.exam import examine_fold
from residency.material import Material, gather_material
from residency.pseudo import PseudoAnswer, ask_images, draw_view, select_answers
from residency.recipe import load_recipe
from residency.selftrain import SelfTrained, self_train
from residency.types import Prediction, Sample
from tests.curves import read_curve
from tests.discs import QUESTIONNAIRE, build_bench, cut_groups, disc_samples

IMAGES = 36


def quiet(line: str) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench whose training half lost its answers, and two images of test and validation too."""
    folder = build_bench(tmp_path_factory.mktemp("bench"), images=IMAGES)
    samples = disc_samples(folder / "images", IMAGES)
    splits = cut_groups(samples)
    fold = splits.folds[0]
    mute = {*fold.train[8:], fold.val[0], fold.test[0]}
    kept = [sample for sample in samples if sample.group not in mute]
    bare = {
        sample.image: sample.model_copy(
            update={"id": Path(sample.image).name, "prefix": "", "suffix": None, "question": None, "answer": None}
        )
        for sample in samples
        if sample.group in mute
    }
    write_dataset(Dataset(folder / "data", (*kept, *bare.values()), QUESTIONNAIRE, splits))
    return folder


def recipe_of(bench: Path, out: Path, **settings: float) -> Recipe:
    recipe = load_recipe(bench / "recipe.yaml", [f"out={out}", "train.epochs=3"])
    told = SelfTraining.model_validate({"confidence": 0.5, "agreement": 2} | settings)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"self_training": told})})


@pytest.fixture(scope="module")
def unbroken(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    examine_fold(recipe_of(bench, out), out / "discs", 0, say=quiet)
    return out / "discs"


def pseudo_of(run: Path) -> list[PseudoAnswer]:
    path = run / "rounds" / "1" / "pseudo.jsonl"
    return [PseudoAnswer.model_validate_json(line) for line in path.read_text().splitlines()]


def test_only_training_images_are_answered_and_the_best_by_validation_ships(bench: Path, unbroken: Path) -> None:
    dataset = load_dataset(bench / "data")
    training = set(dataset.require_fold(0).train)
    bare = {s.image for s in dataset.samples if s.suffix is None and s.group in training}
    answers = pseudo_of(unbroken)
    assert answers and {answer.image for answer in answers} <= bare
    counts = Counter((answer.question, answer.answer) for answer in answers)
    asked = Counter(answer.question for answer in answers)
    assert set(asked) <= {"side", "size"}
    assert all(2 * count <= asked[question] for (question, _), count in counts.items())
    assert all(answer.confidence >= 0.5 and answer.agreement == 2 for answer in answers)
    told = SelfTrained.model_validate_json((unbroken / "selftraining.json").read_text())
    assert told.unanswered_images == len(bare) and told.left_out == {"of val or test": 2}
    assert told.rounds[1].pseudo_answers == len(answers) and told.rounds[0].pseudo_answers == 0
    scores = [one.score or 0.0 for one in told.rounds]
    assert told.shipped == scores.index(max(scores))
    weights = [
        (folder / "adapter" / "adapter_model.safetensors").read_bytes()
        for folder in (unbroken, unbroken / "rounds" / str(told.shipped))
    ]
    assert weights[0] == weights[1]
    assert (unbroken / "predictions" / "test.own.jsonl").is_file()


def test_the_student_sees_more_draws_than_the_teacher(unbroken: Path) -> None:
    teacher, student = (len(read_curve(unbroken / "rounds" / name, "loss")) for name in ("0", "1"))
    assert teacher < student <= 2 * teacher + 4


class Crash(BaseException):
    """What ends a process at once."""


def crash_at(words: str) -> Callable[[str], None]:
    def say(line: str) -> None:
        if words in line:
            raise Crash(line)

    return say


def test_a_run_that_crashes_at_any_stage_ends_with_the_same_losses(bench: Path, unbroken: Path, tmp_path: Path) -> None:
    recipe, run = recipe_of(bench, tmp_path), tmp_path / "discs"
    for words in ("epoch 2", "round 1", "epoch 3", "ships"):
        with pytest.raises(Crash, match=words):
            self_train(recipe, run, 0, crash_at(words))
        assert not (run / "adapter").exists()
        if words == "round 1":  # and once more, while the teacher answers
            views = run / "rounds" / "1" / "views.jsonl"
            whole = views.read_text()
            views.with_name("views.jsonl.part").write_text(whole[: len(whole) // 2])
            views.unlink()
            (run / "rounds" / "1" / "pseudo.jsonl").unlink()
    trained = self_train(recipe, run, 0, quiet)
    assert trained.run == str(run)
    for number in ("0", "1"):
        assert read_curve(run / "rounds" / number, "loss") == read_curve(unbroken / "rounds" / number, "loss")
    assert pseudo_of(run) == pseudo_of(unbroken)


def test_another_recipe_does_not_go_on_with_a_teacher(bench: Path, unbroken: Path) -> None:
    with pytest.raises(UserError, match="another recipe"):
        self_train(recipe_of(bench, unbroken.parent, confidence=0.6), unbroken, 0, quiet)


def test_without_images_to_use_it_says_what_to_do_before_it_trains(bench: Path, tmp_path: Path) -> None:
    dataset = load_dataset(bench / "data")
    answered = tuple(sample for sample in dataset.samples if sample.suffix is not None)
    write_dataset(Dataset(tmp_path / "data", answered, QUESTIONNAIRE, dataset.splits))
    recipe = recipe_of(bench, tmp_path).model_copy(update={"data": tmp_path / "data"})
    with pytest.raises(UserError, match="put images into the image folder") as caught:
        self_train(recipe, tmp_path / "discs", 0, quiet)
    assert "every image is answered" in str(caught.value)
    assert not (tmp_path / "discs" / "rounds").exists()


def test_copies_of_held_images_are_never_used_though_their_group_says_train(bench: Path, tmp_path: Path) -> None:
    dataset = load_dataset(bench / "data")
    fold = dataset.require_fold(0)
    held = next(sample for sample in dataset.samples if sample.group == fold.test[1])
    bare = next(sample for sample in dataset.samples if sample.suffix is None and sample.group in fold.train)
    with Image.open(held.image) as file:
        brighter = np.asarray(file).astype(float) * 0.9 + 8
    Image.fromarray(brighter.astype(np.uint8)).save(tmp_path / "near.png")
    shutil.copyfile(held.image, tmp_path / "copy.png")
    further = [
        bare.model_copy(update={"id": name, "image": str(tmp_path / name), "sha256": None})
        for name in ("near.png", "copy.png")
    ]
    found = find_unanswered(Dataset(dataset.folder, (*dataset.samples, *further), QUESTIONNAIRE, dataset.splits), 0)
    before = find_unanswered(dataset, 0)
    assert found.images == before.images
    assert found.left_out["like an image of val or test"] == 2


def ingest_discs(folder: Path, images: Path, group_by: str, rows: dict[str, str]) -> Dataset:
    with (folder / "sheet.csv").open("w", newline="") as file:
        sheet = csv.writer(file)
        sheet.writerow(["Image", "Patient", "Which side is bright?", "How large is the disc?"])
        for name, patient in rows.items():
            number = int(name.removesuffix(".png"))
            answers = ("left side" if number % 2 else "right side", "large disc" if number // 2 % 2 else "small disc")
            sheet.writerow([name, patient, *(answers if number < 20 else ("", ""))])
    questionnaire = folder / "discs.yaml"
    questionnaire.write_text(
        "name: discs\nquestions:\n"
        "- {id: side, type: choice, wording: 'Which side is bright?', options: [left side, right side]}\n"
        "- {id: size, type: ordinal, wording: 'How large is the disc?', options: [small disc, large disc]}\n"
    )
    ingest(folder / "sheet.csv", images, str(questionnaire), folder / "data", group_by)
    return load_dataset(folder / "data")


def test_an_image_of_an_unknown_patient_is_used_only_where_that_risk_is_accepted(bench: Path, tmp_path: Path) -> None:
    rows = {f"{number}.png": f"P{number % 10}" for number in range(30)}
    dataset = ingest_discs(tmp_path, bench / "images", "column:Patient", rows)
    training = set(dataset.require_fold(0).train)
    found = find_unanswered(dataset, 0)
    named = {sample.id for sample in dataset.samples if sample.source and sample.group in training}
    assert found.images and {sample.id for sample in found.images} <= named
    assert found.left_out["of an unknown group"] == IMAGES - 30
    assert found.left_out["of val or test"] > 0
    accepted = find_unanswered(dataset, 0, accept_unknown=True)
    assert len(accepted.images) == len(found.images) + IMAGES - 30
    alone = ingest_discs(tmp_path_of(tmp_path), bench / "images", "column:Patient", dict(list(rows.items())[:20]))
    with pytest.raises(UserError, match="unknown-group"):
        require_unanswered(alone, 0)


def tmp_path_of(folder: Path) -> Path:
    (folder / "again").mkdir()
    return folder / "again"


def predicted(image: str, answer: str, confidence: float) -> Prediction:
    return Prediction.model_validate(
        {"id": image, "model": "m", "as": "own", "split": "train", "prompt_sha256": "", "prediction": answer}
        | {"parsed": answer, "confidence": confidence}
    )


def test_an_answer_is_kept_if_views_agree_with_confidence_and_no_class_takes_more_than_its_share() -> None:
    asked = [Sample(id=f"{k}:q", image=str(k), prefix="?", group="g", question="q") for k in range(9)]
    views = {}
    for k, sample in enumerate(asked):
        answer = "b" if k == 6 else "a"
        views[sample.id, 0] = predicted(sample.id, answer, 0.99 - k / 100)
        views[sample.id, 1] = predicted(sample.id, "b" if k == 7 else answer, 0.5 if k == 8 else 0.99)
    truths = [sample.model_copy(update={"suffix": a, "answer": a}) for sample, a in zip(asked, "abaa", strict=False)]
    kept = select_answers(asked, views, truths, SelfTraining(agreement=2))
    assert [(answer.image, answer.answer) for answer in kept] == [("0", "a"), ("6", "b")]  # no more `a` than others
    three = {**views, ("7:q", 1): predicted("7:q", "a", 0.99), ("1:q", 0): predicted("1:q", "c", 0.99)}
    three["1:q", 1], three["2:q", 0], three["2:q", 1] = three["1:q", 0], three["1:q", 0], three["1:q", 0]
    truths.append(truths[0].model_copy(update={"answer": "c"}))
    kept = select_answers(asked, three, truths, SelfTraining(agreement=2))
    assert Counter(answer.answer for answer in kept) == {"a": 3, "c": 2, "b": 1}  # 8 of 3 classes: at most 3 each


def test_nothing_is_asked_of_a_category_that_training_has_not_nor_what_is_no_standard_question(bench: Path) -> None:
    dataset = load_dataset(bench / "data")
    material = gather_material(load_recipe(bench / "recipe.yaml"), dataset, 0)
    bare = next(s for s in dataset.samples if s.suffix is None)
    images = [bare.model_copy(update={"image": name, "category": name}) for name in ("large", "other")]
    assert {(s.image, s.question) for s in ask_images(images, material, "{prefix}")} == {
        ("large", "side"),
        ("large", "size"),
    }
    assert not ask_images(images, material, "{prefix} {columns[age]}")
    rare = Material(
        tuple(s for k, s in enumerate(material.train) if s.question == "side" or k < 2), material.val, (), QUESTIONNAIRE
    )
    unknown = [bare.model_copy(update={"category": None})]
    assert [s.question for s in ask_images(unknown, rare, "{prefix}")] == ["side"]


@pytest.mark.parametrize("augmentation", ["ultrasound", "grey"])
def test_a_view_differs_but_never_changes_sides(augmentation: str) -> None:
    depth, width = np.mgrid[0:160, 0:200]
    inside = (np.abs(width - 100) < 20 + 0.5 * depth) & (depth > 5)
    picture = np.random.default_rng(0).integers(40, 90, (160, 200)) * inside * np.where(width < 100, 2, 1)
    image = Image.fromarray(picture.astype(np.uint8))
    asked = [Sample(id="a", image="a.png", prefix="Which side is bright?", group="g", question="side")]
    views = [
        np.asarray(draw_view(image, asked, augmentation, np.random.default_rng(seed)))  # type: ignore[arg-type]
        for seed in range(12)
    ]
    assert len({view.tobytes() for view in views}) == 12
    assert all(view[:, :100].mean() > 1.3 * view[:, 100:].mean() for view in views)


@pytest.mark.parametrize("balance", ["category", "none"])
def test_pseudo_samples_are_at_most_their_share_of_an_epoch(bench: Path, balance: str) -> None:
    samples = [s for s in load_dataset(bench / "data").samples if s.suffix is not None]
    true, pseudo = samples[:12], samples[12:]
    settings = {"batch_size": 4, "questions_per_image": 2, "balance": balance, "seed": 3}
    batches = ImageBatches(true, **settings, pseudo=pseudo, share=0.25)  # type: ignore[arg-type]
    drawn = [draw.row for batch in batches for draw in batch]
    assert sum(row >= 12 for row in drawn) == 4 and len(drawn) == 16 and len(list(batches)) == len(batches)
    first = {row for row in drawn if row >= 12}
    batches.set_epoch(1)
    assert {draw.row for batch in batches for draw in batch if draw.row >= 12} != first
    alone = ImageBatches(true, **settings)  # type: ignore[arg-type]
    assert [row for row in drawn if row < 12] != [] and len(alone) == 3
