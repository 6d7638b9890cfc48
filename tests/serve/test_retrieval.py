"""A run that tells of similar cases, served: told of the same cases as in its exam, it answers the same."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from residency.data.dataset import load_dataset
from residency.dicom.veil import open_veil
from residency.files import read_lines
from residency.serve.interpret import Interpreter, Picture, open_interpreter
from residency.types import Prediction, Sample
from tests.dicom.files import made_header, save_as, with_pixels, write_dicom
from tests.knowledge.bench import build_bench
from tests.run_command import call_residency, run_residency
from tests.serve.browser import LACKING, Browser, browsing
from tests.serve.server import Server, running


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run whose prompts tell of two cases; its patients are called as DICOM files' are under `salt.txt`."""
    folder = build_bench(tmp_path_factory.mktemp("told"))
    veil = open_veil(folder / "salt.txt")
    for file in (folder / "data" / "samples.jsonl", folder / "data" / "splits.json"):
        named = re.sub(r"O'Neil (\d+)", lambda found: veil.name("P", f"QX{found[1]}"), file.read_text())
        file.write_text(named)
    assert call_residency("train", folder / "recipe.yaml", "retrieval.train=true") == 0
    return folder / "runs" / "told"


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    options = ["--salt", str(run.parents[1] / "salt.txt"), "--mask-text", "none"]
    with running(run.parent, ["serve", "--model", str(run), *options], run / "reviews") as server:
        yield server


def samples_of(run: Path, split: str) -> dict[str, Sample]:
    dataset = load_dataset(run.parents[1] / "data")
    return {one.id: one for one in dataset.split("test" if split == "test" else "train")}


def read_exam(path: Path, samples: dict[str, Sample]) -> dict[str, dict[str, Prediction]]:
    """Return what was answered in the exam, by image and question."""
    exam: dict[str, dict[str, Prediction]] = {}
    for line in read_lines(path, Prediction):
        sample = samples[line.id]
        exam.setdefault(sample.image, {})[str(sample.question)] = line
    return exam


def require_same(case: dict[str, Any], examined: dict[str, Prediction], told: int) -> None:
    """Hold a served case against its exam: the cases told of, in their order, and what was answered how surely."""
    answers = {answer["question"]: answer for answer in case["answers"]}
    assert set(answers) == set(examined)
    for question, line in examined.items():
        assert list(answers[question]["neighbours"].items()) == [(n.id, n.answer) for n in line.neighbours]
        assert len(line.neighbours) == told
        assert answers[question]["text"] == line.prediction
        assert answers[question]["confidence"] == pytest.approx(line.confidence, abs=1e-4)


def count_seen(reader: Interpreter) -> list[int]:
    """Return a list that grows by how many images the tower sees each time."""
    seen: list[int] = []
    tower = reader.opened.loaded.core.get_submodule(reader.opened.family.parts["vision"])
    tower.register_forward_hook(lambda module, inputs, output: seen.append(len(output.last_hidden_state)))
    return seen


def read_images(reader: Interpreter, images: list[str]) -> list[dict[str, Any]]:
    """Return what the server would tell of pictures that came together."""
    pictures = [Picture(Image.open(image).convert("RGB"), f"{place}", "new") for place, image in enumerate(images)]
    cases: list[dict[str, Any]] = [{"answers": []} for _ in images]
    reader.read(pictures, lambda place, told: cases[place]["answers"].append(told.model_dump(mode="json")))
    return cases


@pytest.mark.parametrize(("trained", "passes"), [("language", 1), ("vision", 2)])
def test_the_tower_sees_a_picture_once_unless_there_are_two_towers(run: Path, trained: str, passes: int) -> None:
    """Neighbours are looked up by the base model's tower; where another one answers, both must see the picture."""
    if trained == "vision":
        keys = ["name=vision", "tune.train=[projector,vision]", "retrieval.train=true"]
        assert call_residency("train", run.parents[1] / "recipe.yaml", *keys) == 0
        run = run.with_name("vision")
    exam = read_exam(run / "predictions" / "test.own.jsonl", samples_of(run, "test"))
    reader = open_interpreter(str(run))
    seen = count_seen(reader)
    images = sorted(exam)[:3]
    for image, case in zip(images, read_images(reader, images), strict=True):
        require_same(case, exam[image], told=2)
    assert sum(seen) == passes * len(images)
    assert reader.opened.loaded.kept is None  # nothing is kept of a picture that was answered


def ask_why(server: Server, case: str, question: str) -> float:
    """Return the log-likelihood of an answer's own text that is explained."""
    reply = server.client.post(f"/v1/cases/{case}/why", json={"questions": [question]})
    assert reply.status_code == 200, reply.text
    return math.log(reply.json()["answers"][0]["likelihood"])


def test_a_served_run_is_told_of_the_cases_of_its_exam_and_answers_the_same(run: Path, server: Server) -> None:
    samples = samples_of(run, "test")
    exam = read_exam(run / "predictions" / "test.own.jsonl", samples)
    for image in sorted(exam):
        require_same(server.interpret(Path(image)), exam[image], told=2)
    assert call_residency("predict", run, "retrieval.k=0", "--as", "own") == 0
    plain = read_exam(run / "predictions" / "retrieval.k=0" / "test.own.jsonl", samples)
    moved = [
        abs(float(plain[image][question].confidence or 0) - float(line.confidence or 0))
        for image in exam
        for question, line in exam[image].items()
    ]
    assert max(moved) > 1e-3  # so that what is told can be seen in the answers


def test_a_picture_of_a_known_group_is_told_of_no_case_of_it(run: Path, server: Server, tmp_path: Path) -> None:
    """By the dataset's name of it, by the patient's own number, by a DICOM file, by the training picture itself."""
    training = samples_of(run, "train")
    group_of = {sample.id: sample.group for sample in training.values()}
    veil, turned = open_veil(run.parents[1] / "salt.txt"), tmp_path / "turned.png"
    pairs: list[tuple[Any, ...]] = []
    patient_of = {veil.name("P", f"QX{number}"): f"QX{number}" for number in range(12)}
    for sample in list({one.image: one for one in training.values()}.values())[:3]:
        with Image.open(sample.image) as file:
            file.rotate(1).save(turned)
            header = with_pixels(made_header(patient=patient_of[sample.group]), np.array(file.convert("L")))
        cases = [
            server.interpret(turned, group=sample.group),
            server.interpret(turned, group=patient_of[sample.group].lower()),
            server.interpret(write_dicom(tmp_path / "study.dcm", save_as(header))),
            server.interpret(Path(sample.image)),
            server.interpret(Path(sample.image), group="somebody else"),
        ]
        for answer in (answer for case in cases for answer in case["answers"]):
            assert len(answer["neighbours"]) == 2
            assert sample.group not in {group_of[id] for id in answer["neighbours"]}
        unsaid = server.interpret(turned)
        assert sample.group in {group_of[id] for answer in unsaid["answers"] for id in answer["neighbours"]}
        pairs += [(cases[0], unsaid, *both) for both in zip(cases[0]["answers"], unsaid["answers"], strict=True)]
    apart = [pair for pair in pairs if list(pair[2]["neighbours"].values()) != list(pair[3]["neighbours"].values())]
    said, unsaid, answer, _ = apart[0]  # where other answers were told
    likely = [ask_why(server, case["case"], answer["question"]) for case in (said, unsaid)]
    assert likely[0] != pytest.approx(likely[1], abs=1e-3)  # why is asked without the group's cases, too


def test_why_is_asked_in_the_words_that_were_answered_to(run: Path, server: Server) -> None:
    """The likelihood of the answer's own text, among all answers, is what the exam had for it under the same prompt."""
    image, lines = next(iter(read_exam(run / "predictions" / "test.own.jsonl", samples_of(run, "test")).items()))
    case = server.interpret(Path(image))
    line = lines["side"]
    assert ask_why(server, case["case"], "side") == pytest.approx(line.candidates[str(line.parsed)], abs=1e-3)
    kept = server.client.get(f"/v1/cases/{case['case']}").json()["case"]["answers"]
    assert kept == case["answers"]


def ask_why_on(page: Browser, image: Path) -> None:
    """Open the page anew, bring a picture, and ask why it was answered so."""
    page.open()
    page.choose_files(image)
    page.wait(lambda: page.all(".card[data-question=side] button[data-act=why]"))
    page.one(".card[data-question=side] button[data-act=why]").click()
    page.wait(lambda: page.all("#why .quiet"))


@pytest.mark.skipif(bool(LACKING), reason=f"not here: {', '.join(LACKING)} (apt-get, pip install)")
def test_the_page_names_the_cases_in_both_languages(run: Path, server: Server, tmp_path: Path) -> None:
    exam = read_exam(run / "predictions" / "test.own.jsonl", samples_of(run, "test"))
    image, lines = next(iter(exam.items()))
    told = [(one.id, str(one.answer)) for one in lines["side"].neighbours]
    with browsing(server.address, tmp_path) as page:
        ask_why_on(page, Path(image))
        english = "; ".join(f"{id} ({answer})" for id, answer in told)
        assert page.text("#why .told") == f"The model was told of these annotated cases: {english}."
        page.run("localStorage.setItem('language', 'zh')")
        ask_why_on(page, Path(image))
        chinese = "；".join(f"{id}（{answer}）" for id, answer in told)
        assert page.text("#why .told") == f"模型在提示中被告知以下已标注病例：{chinese}。"
        assert page.complaints() == []


def test_as_many_are_told_as_validation_chose(run: Path, tmp_path: Path) -> None:
    auto = run.with_name("auto")
    shutil.copytree(run, auto, ignore=shutil.ignore_patterns("predictions", "reviews"))
    recipe = yaml.safe_load((auto / "config.yaml").read_text())
    recipe["retrieval"]["k"] = "auto"
    (auto / "config.yaml").write_text(yaml.safe_dump(recipe))
    strange = run_residency("serve", "--model", run, "--salt", tmp_path / "none.txt")
    assert strange.code == 2 and "no such salt" in strange.err
    refused = run_residency("serve", "--model", auto, "--store", tmp_path / "s", "--port", 0)
    assert refused.code == 2 and "has not been chosen" in refused.err
    assert f"residency predict {auto} --as own" in refused.err
    assert call_residency("predict", auto, "--as", "own") == 0
    chosen = auto / "predictions" / "retrieval.json"
    chosen.write_text(json.dumps(json.loads(chosen.read_text()) | {"k": 3}))
    (auto / "predictions" / "test.own.jsonl").unlink()
    assert call_residency("predict", auto, "--as", "own") == 0
    exam = read_exam(auto / "predictions" / "test.own.jsonl", samples_of(auto, "test"))
    with running(auto.parent, ["serve", "--model", str(auto)], auto / "reviews") as server:
        for image in sorted(exam)[:2]:
            require_same(server.interpret(Path(image)), exam[image], told=3)
