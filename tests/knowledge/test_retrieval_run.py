"""The installed command, from an index to answers that were told of similar cases."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from residency.data.dataset import load_dataset
from residency.files import read_lines
from residency.types import Prediction
from tests.knowledge.bench import build_bench, training_samples
from tests.run_command import run_residency


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench on which an index was made and a run trained that learned from prompts with two neighbours."""
    folder = build_bench(tmp_path_factory.mktemp("told"))
    documents = ["--text", folder / "documents"]
    done = run_residency("index", folder / "data", "--model", folder / "model", *documents, "--json")
    assert done.code == 0, done.err
    (folder / "told.json").write_text(done.out)
    done = run_residency("train", folder / "recipe.yaml", "retrieval.train=true")
    assert done.code == 0, done.err
    return folder


def test_the_index_holds_the_training_split_alone_and_passages_beside_it(bench: Path) -> None:
    told = json.loads((bench / "told.json").read_text())
    assert (told["cases"], told["pictures"], told["groups"]) == (28, 14, 7)
    assert told["passages"] == 5
    train = {sample.group for sample in training_samples(bench)}
    done = run_residency("search", bench / "data/index", "--words", "bright left side disc", "--k", 50, "--json")
    hits = json.loads(done.out)
    assert {hit["group"] for hit in hits if hit["kind"] == "case"} == train
    assert {hit["kind"] for hit in hits} == {"case", "passage"}


def test_words_and_picture_are_searched_together_without_a_group(bench: Path) -> None:
    sample = training_samples(bench)[0]
    asked = ["--image", sample.image, "--words", "followed up", "--k", 5, "--json"]
    hits = json.loads(run_residency("search", bench / "data/index", *asked).out)
    assert sample.image in {hit["image"] for hit in hits}
    by_words = json.loads(run_residency("search", bench / "data/index", *asked[2:]).out)
    assert by_words[0]["id"] == "guideline.md 1"
    assert by_words[0]["kind"] == "passage"
    without = json.loads(run_residency("search", bench / "data/index", *asked, "--without", sample.group).out)
    assert sample.group in {hit["group"] for hit in hits}
    assert sample.group not in {hit["group"] for hit in without}
    assert run_residency("search", bench / "data/index").code == 2


def test_training_prompts_tell_of_other_groups_alone(bench: Path) -> None:
    preflight = json.loads((bench / "runs/told/preflight.json").read_text())
    assert all("Similar cases: " in label["prompt"] for label in preflight["labels"])
    assert {check["name"]: check["passed"] for check in preflight["checks"]}["prompt-leak"]
    own = read_lines(bench / "runs/told/predictions/test.own.jsonl", Prediction)
    samples = {sample.id: sample for sample in load_dataset(bench / "data").samples}
    assert len(own) == len(load_dataset(bench / "data").split("test"))
    for made in own:
        assert len(made.neighbours) == 2
        for neighbour in made.neighbours:
            assert neighbour.group == samples[neighbour.id].group != samples[made.id].group
            assert samples[neighbour.id].question == samples[made.id].question
            assert neighbour.answer == samples[neighbour.id].answer


def test_every_way_of_answering_keeps_the_neighbours_of_the_own_image(bench: Path) -> None:
    ways = {
        way: read_lines(bench / f"runs/told/predictions/test.{way}.jsonl", Prediction)
        for way in ("own", "base", "blind", "shuffled", "mute")
    }
    told = {way: {made.id: made.neighbours for made in made_all} for way, made_all in ways.items()}
    assert all(told[way] == told["own"] for way in told)


def test_a_run_answers_again_with_another_number_and_copying_is_told(bench: Path) -> None:
    done = run_residency("predict", bench / "runs/told", "retrieval.k=3", "--as", "own")
    assert done.code == 0, done.err
    file = bench / "runs/told/predictions/retrieval.k=3/test.own.jsonl"
    assert f"next: residency evaluate {file} --data {bench / 'data'}" in done.out
    assert all(len(made.neighbours) == 3 for made in read_lines(file, Prediction))
    done = run_residency("evaluate", file, "--data", bench / "data", "--json")
    (copying,) = [one for one in json.loads(done.out)["copying"] if not one["question"]]
    parts = ("copied_right", "copied_wrong", "own_right", "own_wrong")
    assert sum(copying[part] for part in parts) == copying["n"] == 12
    assert "are a neighbour's" in run_residency("evaluate", file, "--data", bench / "data").out
    plain = run_residency("predict", bench / "runs/told", "retrieval.k=0", "--as", "own")
    assert plain.code == 0
    without = read_lines(bench / "runs/told/predictions/retrieval.k=0/test.own.jsonl", Prediction)
    assert not any(made.neighbours for made in without)


def test_the_number_is_chosen_on_validation(bench: Path) -> None:
    keys = ["retrieval.k=auto", f"retrieval.index={bench / 'data/index'}"]
    done = run_residency("predict", bench / "runs/told", *keys, "--as", "own", "--out", bench / "auto")
    assert done.code == 0, done.err
    (file,) = (bench / "auto").rglob("retrieval.json")
    chosen = json.loads(file.read_text())
    assert set(chosen["scores"]) == {"0", "1", "3", "5"}
    best = max(chosen["scores"].values())
    assert chosen["k"] == min(int(k) for k, score in chosen["scores"].items() if score == best)
    made = read_lines(file.with_name("test.own.jsonl"), Prediction)
    assert {len(one.neighbours) for one in made} == {chosen["k"]}


def test_passages_and_words_take_part(bench: Path) -> None:
    keys = [
        f"retrieval.index={bench / 'data/index'}", "retrieval.passages=1", "retrieval.by=hybrid", "retrieval.k=1",
        "retrieval.template={prefix} Seen: {cases}. Read: {passages}",
    ]  # fmt: skip
    done = run_residency("predict", bench / "runs/told", *keys, "--as", "own", "--out", bench / "read")
    assert done.code == 0, done.err
    made = read_lines(bench / "read/test.own.jsonl", Prediction)
    assert {len([one for one in line.neighbours if one.answer is None]) for line in made} == {1}
    assert {len([one for one in line.neighbours if one.answer is not None]) for line in made} == {1}


def test_a_stale_index_is_refused_with_what_to_do(bench: Path, tmp_path: Path) -> None:
    shutil.copytree(bench / "data", tmp_path / "data")
    index = tmp_path / "data/index"
    keys = [f"retrieval.index={index}", "--as", "own", "--out", tmp_path / "answers"]
    assert run_residency("predict", bench / "runs/told", *keys).code == 0
    card = json.loads((index / "index.json").read_text())
    for change, words in (
        ({"dataset_sha256": card["dataset_sha256"] | {"samples.jsonl": "0"}}, "samples.jsonl has changed since"),
        ({"encoder_sha256": "0"}, "has changed since"),
        ({"fold": 1}, "holds the training split of fold 1, not of fold 0"),
        ({"images": 5}, "it holds 5 images, the recipe learns from all images"),
    ):
        (index / "index.json").write_text(json.dumps(card | change))
        done = run_residency("predict", bench / "runs/told", *keys)
        assert done.code == 1
        assert words in done.err
        assert f"make it anew: residency index {bench / 'data'} --model {bench / 'model'}" in done.err
    (index / "index.json").write_text(json.dumps(card))
    guideline = bench / "documents/guideline.md"
    before = guideline.read_text()
    guideline.write_text("Another edition.")
    assert "guideline.md has changed since" in run_residency("predict", bench / "runs/told", *keys).err
    guideline.write_text(before)


def test_an_untuned_model_is_told_of_cases_too(bench: Path, tmp_path: Path) -> None:
    keys = ["retrieval.k=1", f"retrieval.index={bench / 'data/index'}"]
    done = run_residency("predict", bench / "model", *keys, "--data", bench / "data", "--as", "base", "--out", tmp_path)
    assert done.code == 0, done.err
    (file,) = tmp_path.rglob("test.base.jsonl")
    assert all(len(made.neighbours) == 1 for made in read_lines(file, Prediction))


def test_what_cannot_be_is_told(bench: Path, tmp_path: Path) -> None:
    missing = run_residency("predict", bench / "runs/told", f"retrieval.index={tmp_path}", "--as", "own")
    assert missing.code == 2
    assert "residency index DATASET --model MODEL" in missing.err
    less = run_residency("predict", bench / "runs/told", "retrieval.k=-1", "--as", "own")
    assert less.code == 2 and "`retrieval.k`: Input should be greater" in less.err
    assert "keeps its recipe" in run_residency("predict", bench / "runs/told", "train.epochs=2").err
    wrong = run_residency("train", bench / "recipe.yaml", "retrieval.template=Similar {cases}")
    assert "{prefix} once" in wrong.err
    together = run_residency("train", bench / "recipe.yaml", "ask=together")
    assert "does not go with" in together.err
    there = run_residency("index", bench / "data", "--model", bench / "model", "--out", bench / "images")
    assert "is there, and is no index" in there.err
    (tmp_path / "text.png").write_text("no picture")
    blind = run_residency("search", bench / "data/index", "--image", tmp_path / "text.png")
    assert blind.code == 2 and "is no picture that can be read" in blind.err
    lost = ("--text", tmp_path / "nowhere.md", "--out", tmp_path / "index")
    unread = run_residency("index", bench / "data", "--model", bench / "model", *lost)
    assert unread.code == 2 and "documents that are not there" in unread.err and not (tmp_path / "index").exists()


def test_the_report_shows_what_was_copied_and_how_many_validation_chose(bench: Path) -> None:
    run = bench / "runs/told"
    assert run_residency("evaluate", run).code == 0
    assert run_residency("report", run).code == 0
    page = (run / "report.html").read_text()
    examined = json.loads((run / "scores/scores.json").read_text())
    (whole,) = [one for one in examined["copying"] if one["of"] == "own" and not one["question"]]
    counts = [whole[name] for name in ("copied_right", "copied_wrong", "own_right", "own_wrong", "told_right")]
    cells = "".join(f'<td class="number">{count}</td>' for count in counts)
    assert "<td>all</td>" in page and cells in page
    assert "Similar cases told in the prompt" in page
    assert "chosen on validation" not in page  # the recipe says how many
    auto = bench / "runs/auto"
    shutil.copytree(run, auto, ignore=shutil.ignore_patterns("predictions", "scores"))
    recipe = yaml.safe_load((auto / "config.yaml").read_text())
    recipe["retrieval"]["k"] = "auto"
    (auto / "config.yaml").write_text(yaml.safe_dump(recipe))
    for command in (("predict", auto, "--as", "own"), ("evaluate", auto), ("report", auto)):
        assert run_residency(*command).code == 0
    chosen = json.loads((auto / "predictions/retrieval.json").read_text())
    page = (auto / "report.html").read_text()
    told = [0, chosen["samples"], *(f"{score:.3f}" for score in chosen["scores"].values()), chosen["k"]]
    assert "".join(f'<td class="number">{cell}</td>' for cell in told) in page


def test_answers_are_explained_under_the_prompts_that_they_were_given_to(bench: Path) -> None:
    """Held against the same answers under prompts that tell of nothing: other words, another loss by deletion."""
    lost = []
    for k in (2, 0):
        run = shutil.copytree(bench / "runs/told", bench / f"runs/explained-{k}")
        recipe = yaml.safe_load((run / "config.yaml").read_text())
        recipe["retrieval"]["k"] = k
        (run / "config.yaml").write_text(yaml.safe_dump(recipe))
        done = run_residency("explain", run, "--images", 2, "--questions", "side", "--json")
        assert done.code == 0, done.err
        (outcome,) = json.loads(done.out)["outcomes"]
        assert outcome["answers"] == 2
        lines = [json.loads(line) for line in (run / "explained/test.jsonl").read_text().splitlines()]
        lost.append([(line["prediction"], line["deletion"]) for line in lines])
    assert [answer for answer, _ in lost[0]] == [answer for answer, _ in lost[1]]
    assert lost[0] != lost[1]
