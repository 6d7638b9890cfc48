import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from residency import NOT_FOR_DIAGNOSIS
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.errors import UserError
from residency.evaluate.examine import evaluate_run, load_examination
from residency.evaluate.records import Mark
from residency.files import read_lines, write_lines, write_text
from residency.recipe import dump_recipe, load_recipe
from residency.report.card import write_card
from residency.report.caution import gather_cautions
from residency.report.page import write_report
from residency.report.plain import answer_plainly
from residency.types import Prediction, Sample
from tests.made_run import make_run

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order, and gathers what is referred to and said."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("reported"))
    evaluate_run(run, draws=200)
    return run


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, with its own dataset."""
    shutil.copytree(run.parents[1], tmp_path / "all")
    recipe = load_recipe(run / "config.yaml").model_copy(update={"data": tmp_path / "all" / "dataset"})
    write_text(tmp_path / "all" / "runs" / "made" / "config.yaml", dump_recipe(recipe))
    return tmp_path / "all" / "runs" / "made"


def test_page_is_one_sound_file(run: Path) -> None:
    file = write_report(run)
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(https?:", text)
    assert file.stat().st_size < 5_000_000
    assert 8 < text.count("data:image/jpeg") <= 24


def test_page_says_what_it_must(run: Path) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    said = " ".join("".join(Page(text).said).split())
    examination = load_examination(run)
    assert examination
    assert NOT_FOR_DIAGNOSIS in said
    assert said.index("Warnings") < said.index("Can it answer these questions")
    for warned in examination.warnings:
        assert warned.message in said
    for sentence in (*answer_plainly(examination), examination.tallied.sentence()):
        assert sentence in said
    for shown in examination.questions:
        assert shown.heading in said
    for name in ("majority", "base model", "blind", "shuffled", "mute", "probe", "nearest neighbours"):
        assert name in said
    own = next(score for score in examination.scores if score.of == "own" and score.question == "q3")
    assert f"{own.value:.2f} [{own.low:.2f}, {own.high:.2f}]" in said
    assert "336,384" in said and "loss 5.1 -> 0.3" in said and "residency train" in said
    assert examination.hashes.samples in said


def test_words_of_the_sheet_are_escaped_and_any_language_stays(copied: Path) -> None:
    file = copied / "predictions" / "test.own.jsonl"
    odd = "<script>alert(1)</script> 建议4周后复查"
    made = read_lines(file, Prediction)
    write_lines(file, [m.model_copy(update={"parsed": odd}) if m.id.endswith("q8") else m for m in made])
    evaluate_run(copied, draws=100)
    text = write_report(copied).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 建议4周后复查" in text


def test_an_image_that_cannot_be_read_is_said_so(copied: Path) -> None:
    for image in (copied.parents[1] / "dataset" / "images").rglob("*.png"):
        image.write_bytes(b"not a picture")
    text = write_report(copied).read_text(encoding="utf-8")
    assert "image not readable" in text and "data:image" not in text


def test_thumbnails_are_small(run: Path, tmp_path: Path) -> None:
    from residency.report.gallery import draw_thumbnail

    Image.new("RGB", (2000, 1000), "white").save(tmp_path / "big.png")
    sample = Sample(id="big", image="big.png", prefix="?", group="g")
    mark = Mark(id="big", question="q", of="own", group="g", truth="?")
    uri = draw_thumbnail(Dataset(tmp_path, (), None, None), sample, mark)
    assert uri and len(uri) < 4000


def test_missing_modes_and_files_are_said_not_guessed(copied: Path) -> None:
    for name in ("test.blind.jsonl", "test.base.jsonl"):
        (copied / "predictions" / name).unlink()
    for name in ("preflight.json", "metrics.jsonl"):
        (copied / name).unlink()
    evaluate_run(copied, draws=100)
    said = " ".join("".join(Page(write_report(copied).read_text(encoding="utf-8")).said).split())
    assert "Not run: base (the model before fine-tuning); blind" in said
    assert "This cannot be said yet" in said
    assert "No preflight was kept" in said and "Nothing was logged" in said


def test_an_unevaluated_run_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "scores")
    with pytest.raises(UserError, match="residency evaluate"):
        write_report(copied)


def test_grave_warnings_come_first(copied: Path) -> None:
    recipe = load_recipe(copied / "config.yaml").model_copy(
        update={"accept": ("group-by-image",), "prompt": "{prefix} {columns[machine]}"}
    )
    preflight = {"checks": [{"name": "overfit", "passed": False, "detail": "loss 5 -> 6"}]}
    examination = load_examination(copied)
    assert examination
    cautions = gather_cautions(recipe, [preflight], {"leaks": ["P001"]}, examination, changed=True)
    assert [caution.gravity for caution in cautions[:4]] == ["grave", "grave", "grave", "serious"]
    text = " ".join(caution.message for caution in cautions)
    assert "overfit: loss 5 -> 6" in text and "columns[machine]" in text and "group-by-image" in text


def test_a_changed_dataset_is_noticed(copied: Path) -> None:
    data = copied.parents[1] / "dataset"
    dataset = load_dataset(data)
    write_dataset(Dataset(data, dataset.samples[1:], dataset.questionnaire, dataset.splits))
    assert "no longer the one that was examined" in write_report(copied).read_text(encoding="utf-8")


def test_audit_and_cut_off_metrics_are_shown_as_they_are(copied: Path) -> None:
    write_text(copied.parents[1] / "dataset" / "audit.json", json.dumps({"problems": [{"message": "odd cell C14"}]}))
    file = copied / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 121, "lo')
    text = write_report(copied).read_text(encoding="utf-8")
    assert "odd cell C14" in text and "<svg" in text


def test_folds_share_one_page(tmp_path: Path) -> None:
    run = make_run(tmp_path, folds=3, groups=30, modes={"own": 0.8, "blind": 0.3})
    evaluate_run(run, draws=100)
    said = "".join(Page(write_report(run).read_text(encoding="utf-8")).said)
    assert "3 folds pooled" in said and "test (all folds)" in said and "fold=all" in said


def test_card_says_what_it_is_not_for(run: Path) -> None:
    text = write_card(run).read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: peft\n")
    assert NOT_FOR_DIAGNOSIS in text
    assert len(re.findall(r"\n\| q\d", text)) == 8


def describe_rounds(shipped: int, scores: tuple[float | None, ...]) -> str:
    rounds = [
        {"pseudo_answers": 210 * k, "pseudo_images": 120 * k, "score": score, "true_answers": 320, "true_images": 40}
        for k, score in enumerate(scores)
    ]
    return json.dumps({"unanswered_images": 156, "rounds": rounds, "shipped": shipped})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (describe_rounds(1, (0.5, 0.6)), "Besides, it learned from 210 answers of the model&#39;s own on 120 images"),
        (
            describe_rounds(0, (0.5, 0.4)),
            "not better than without them (0.400, 0.500), so this model learned from none",
        ),
        (describe_rounds(1, (None, None)), "nothing was there to validate whether they help"),
        (describe_rounds(0, (0.5,)), "no confident and consistent answer"),
    ],
)
def test_page_and_card_count_the_models_own_answers_it_learned_from(copied: Path, told: str, words: str) -> None:
    assert "answers of the model" not in write_report(copied).read_text()
    (copied / "selftraining.json").write_text(told)
    assert words in write_report(copied).read_text()
    (copied / "adapter").mkdir(exist_ok=True)
    assert words.replace("&#39;", "'") in write_card(copied).read_text()
