"""Neighbours, ranks, words and counts, each by itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTImageProcessorPil, ViTModel

from residency.asking import Retrieval
from residency.data.dataset import load_dataset
from residency.errors import CheckFailed, UserError
from residency.evaluate.copying import measure_copying
from residency.evaluate.gather import gather_answers
from residency.knowledge.index import IndexCard, build_index, case_entries, open_index, write_index
from residency.knowledge.passages import WORDS, cut_text, read_passages
from residency.knowledge.recall import Recall
from residency.knowledge.retrieve import compose_context, find_neighbours
from residency.knowledge.store import EXACT_UP_TO, Entry, Found, fuse_ranks
from residency.models.embed import ImageEncoder, hash_base, open_image_encoder
from residency.models.registry import open_model
from residency.models.sentences import open_text_encoder
from residency.neighbours import calibrate_count
from residency.types import Neighbour, Prediction, Sample
from tests.discs import build_bench
from tests.knowledge.bench import write_documents

GROUPS = ("P1", "P2", "O'Neil; DROP", '"P" 4', "病人 5")


def make_samples(count: int, questions: int = 2) -> list[Sample]:
    return [
        Sample(
            id=f"{number}-q{q}", image=f"{number}.png", prefix=f"What of q{q}?", suffix=f"answer {number % 3}",
            group=GROUPS[number % len(GROUPS)], question=f"q{q}", answer=f"answer {number % 3}",
        )
        for number in range(count)
        for q in range(questions)
    ]  # fmt: skip


def make_card(samples: Sequence[Sample], dimension: int) -> IndexCard:
    return IndexCard(
        dataset="data", dataset_sha256={}, encoder="made", encoder_sha256="0", dimension=dimension,
        cases=len(samples), pictures=1, groups=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample], dict[str, np.ndarray]]:
    """An index of 40 pictures whose nearest neighbours are those of their own group."""
    folder, samples = tmp_path_factory.mktemp("index") / "index", make_samples(40)
    rng = np.random.default_rng(0)
    of_group = {group: 4 * rng.normal(size=8) for group in GROUPS}
    vectors = {s.image: (of_group[s.group] + rng.normal(size=8)).astype(np.float32) for s in samples}
    write_index(folder, make_card(samples, 8), list(case_entries(samples, vectors)))
    return folder, samples, vectors


def test_neighbours_are_the_nearest_of_other_groups(made: tuple[Path, list[Sample], dict[str, np.ndarray]]) -> None:
    folder, samples, vectors = made
    index = open_index(folder)
    for sample in samples[::5]:
        found = find_neighbours(index, sample, vectors[sample.image], 5)
        others = {s.image: s for s in samples if s.group != sample.group}
        unit = {image: vector / np.linalg.norm(vector) for image, vector in vectors.items()}
        expected = sorted(others, key=lambda image: 1 - float(unit[image] @ unit[sample.image]))[:5]
        assert [one.sample.image for one in found if one.sample] == expected
        assert {one.sample.question for one in found if one.sample} == {sample.question}


@given(
    group=st.sampled_from([*GROUPS, "unknown", "'", "' OR 1=1 --"]),
    k=st.integers(1, 6),
    by=st.sampled_from(["image", "text", "hybrid"]),
    words=st.text(max_size=40),
    vector=st.lists(st.floats(-5, 5, width=32), min_size=8, max_size=8).filter(lambda v: np.linalg.norm(v) > 0.1),
)
@settings(max_examples=40, deadline=None)
def test_a_case_of_the_same_group_is_never_retrieved(
    made: tuple[Path, list[Sample], dict[str, np.ndarray]], group: str, k: int, by: str, words: str, vector: list[float]
) -> None:
    index = open_index(made[0])
    asked = made[1][0].model_copy(update={"group": group})
    found = find_neighbours(index, asked, np.array(vector, np.float32), k, by, words)
    assert group not in {one.sample.group for one in found if one.sample}
    assert len({one.sample.image for one in found if one.sample}) == len(found) <= k


def test_filters_hold_where_lists_are_read_in_part(tmp_path: Path) -> None:
    """Beyond EXACT_UP_TO rows an inverted index answers; a filter that leaves few rows still finds them."""
    count = EXACT_UP_TO + 500
    rng = np.random.default_rng(0)
    vectors_ND = rng.normal(size=(count, 16)).astype(np.float32)
    bare = Sample(id="", image="", prefix="Which?", suffix="one", group="many", question="q")
    entries = [
        Entry(
            id=str(n), kind="case", text="Which? one", image_vector=vectors_ND[n],
            sample=bare.model_copy(update={"id": str(n), "image": str(n), "group": "few" if n < 3 else "many"}),
        )
        for n in range(count)
    ]  # fmt: skip
    write_index(tmp_path / "index", make_card([], 16), entries)
    index = open_index(tmp_path / "index")
    found = find_neighbours(index, bare, -vectors_ND[0], 3)
    assert {one.id for one in found} == {"0", "1", "2"}
    (nearest,) = find_neighbours(index, bare.model_copy(update={"group": "x"}), vectors_ND[77], 1)
    assert nearest.id == "77"
    assert nearest.distance == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("words", "found"), [("股骨", "a"), ("the femur", "b"), ("kopfes", "c"), ('" AND (', None)])
def test_words_are_found_in_any_language(words: str, found: str | None, tmp_path: Path) -> None:
    samples = [
        Sample(id=id, image=id, prefix=text, suffix="", group=id)
        for id, text in (("a", "胎儿股骨长度正常"), ("b", "fetal femurs"), ("c", "Größe des Kopfes"))
    ]
    vectors = {sample.image: np.ones(4, np.float32) for sample in samples}
    write_index(tmp_path / "index", make_card(samples, 4), list(case_entries(samples, vectors)))
    hits = open_index(tmp_path / "index").table.near_text(words, 1)
    assert [one.id for one in hits] == ([found] if found else [])


def test_ranks_are_fused_by_reciprocals() -> None:
    a, b, c, d = (Found(id, "case", "", None, None) for id in "abcd")
    assert [one.id for one in fuse_ranks([[a, b, c], [c, d]])] == ["c", "a", "b", "d"]
    assert [one.id for one in fuse_ranks([[a, b]])] == ["a", "b"]
    assert fuse_ranks([]) == []


def test_the_template_words_what_was_found() -> None:
    sample = make_samples(1)[0].model_copy(update={"suffix": "a {prefix} of {cases}"})
    found = [Found("0-q0", "case", "", sample, 0.25)]
    told = compose_context(Retrieval(template="Cases: {cases}. {prefix}", case="{question} {answer}"), found)
    assert told is not None
    assert (told.before, told.after) == ("Cases: What of q0? a {prefix} of {cases}. ", "")
    assert told.neighbours == (Neighbour(id="0-q0", group="P1", answer="answer 0", distance=0.25),)
    assert compose_context(Retrieval(), []) is None


def test_documents_are_cut_at_paragraphs_and_sentences(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents")
    passages = {one.id: one.text for one in read_passages([tmp_path / "documents"])}
    assert passages["ori_pqal.json 123"] == "Is a bright disc harmless?\nSixty discs.\nIt is."
    assert passages["notes.jsonl line 1"] == "Do rings heal?\nTen rings.\nSlowly."
    assert passages["notes.jsonl line 2"] == "Squares are rare."
    assert passages["guideline.md 1"].startswith("# Discs\nA large disc is followed up.\nSmall ones")
    assert all(len(text.split()) <= WORDS for text in passages.values())
    assert cut_text("") == []
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\nnot json\n')
    with pytest.raises(CheckFailed) as failed:
        read_passages([tmp_path / "bad.jsonl"])
    assert sorted(problem.kind for problem in failed.value.problems) == ["no-json", "no-text"]
    (tmp_path / "paper.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match="kind that is not read"):
        read_passages([tmp_path / "paper.pdf"])


def test_neighbours_that_mislead_are_left_out_and_those_that_help_are_kept(
    made: tuple[Path, list[Sample], dict[str, np.ndarray]],
) -> None:
    """The number is chosen on validation: none where told cases spoil the answer, the fewest of equals where not."""
    folder, samples, vectors = made
    encoder = ImageEncoder("made", "0", lambda asked, images=None: vectors)
    recall = Recall(open_index(folder), Retrieval(), encoder, None)

    def answer(spoiled: bool, asked: Sequence[Sample]) -> list[Prediction]:
        fields = {"model": "m", "mode": "own", "split": "val", "prompt_sha256": ""}
        return [
            Prediction(id=s.id, prediction=text, parsed=text, **fields)
            for s in asked
            for text in [str(s.answer) if (s.context is None) == spoiled else "no"]
        ]

    spoiled, scores = calibrate_count(recall, samples, None, lambda asked: answer(True, asked))
    assert (spoiled, scores) == (0, {"0": 1.0, "1": scores["1"], "3": scores["3"], "5": scores["5"]})
    helped, scores = calibrate_count(recall, samples, None, lambda asked: answer(False, asked))
    assert helped == 1
    assert scores["1"] == scores["3"] == scores["5"] == 1.0 > scores["0"]
    with pytest.raises(UserError, match="no validation answer"):
        calibrate_count(recall, [], None, lambda asked: answer(True, asked))


def test_copying_counts_what_became_of_told_answers() -> None:
    samples = make_samples(4, questions=1)
    told = {"0-q0": "answer 0", "1-q0": "answer 2", "2-q0": "answer 1", "3-q0": "answer 0"}
    said = {"0-q0": "answer 0", "1-q0": "answer 2", "2-q0": "answer 2", "3-q0": "answer 1"}
    predictions = [
        Prediction(
            id=id, model="m", mode="own", split="test", prompt_sha256="", prediction=said[id], parsed=said[id],
            neighbours=(Neighbour(id="x", group="P9", answer=told[id]), Neighbour(id="guideline.md 1")),
        )
        for id in said
    ]  # fmt: skip
    answers = gather_answers(samples, {"own": predictions}, None)
    by_question, every = measure_copying(answers, {"own": predictions}, 200, 0)
    assert (by_question.question, every.question) == ("q0", "")
    assert (every.copied_right, every.copied_wrong, every.own_right, every.own_wrong) == (1, 1, 1, 1)
    assert (every.n, every.copied, every.told_right) == (4, 0.5, 2)
    assert "0.50" in every.sentence()


def test_any_vision_encoder_and_any_sentence_encoder_can_index(tmp_path: Path) -> None:
    build_bench(tmp_path, images=12)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "disc", "side", "left"])
    )
    BertModel(BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path / "bert")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    dataset = load_dataset(tmp_path / "data")
    encoder = open_image_encoder(str(tmp_path / "vit"))
    card = build_index(tmp_path / "index", dataset, dataset.split("train"), encoder, words=str(tmp_path / "bert"))
    assert (card.dimension, card.words) == (32, str(tmp_path / "bert"))
    index = open_index(tmp_path / "index")
    sample = dataset.split("test")[0]
    (words,) = open_text_encoder(card.words).embed([sample.prefix])
    (found,) = find_neighbours(index, sample, encoder.embed([sample])[sample.image], 1, "hybrid", words)
    assert found.sample is not None
    assert found.sample.question == sample.question
    recall = Recall(index, Retrieval(), encoder, None)
    samples = dataset.split("test")[:4:2]
    expected = [one.context for one in recall.tell(samples, [3, 3])]
    assert expected[0] != expected[1]
    kept = set(recall.vectors)
    for one, context in zip(samples, expected, strict=True):  # two pictures under one name, as in memory they may be
        with Image.open(one.image) as file:
            uploaded = {"upload.png": file.convert("RGB")}
        posed = one.model_copy(update={"image": "upload.png"})
        assert recall.tell([posed], [3], uploaded)[0].context == context
    assert set(recall.vectors) == kept
    with pytest.raises(UserError, match="cannot be read"):
        open_text_encoder(str(tmp_path / "data"))


def test_a_base_is_known_under_any_adapter(tmp_path: Path) -> None:
    """What a run's index was made with is the base's tower: training it must not make the index stale."""
    from peft import LoraConfig, get_peft_model

    build_bench(tmp_path, images=4)
    opened = open_model(str(tmp_path / "model"))
    plain = hash_base(opened)
    settings = LoraConfig(target_modules=["q_proj", "qkv"], modules_to_save=["multi_modal_projector"])
    opened.loaded.model = get_peft_model(opened.loaded.model, settings)
    assert hash_base(opened) == plain
    with torch.no_grad():
        for name, weight in opened.loaded.core.named_parameters():
            if "modules_to_save" in name or "lora_" in name:
                weight.add_(1.0)
    assert hash_base(opened) == plain
    with torch.no_grad():
        next(opened.loaded.core.get_submodule("model.vision_tower").parameters()).add_(1.0)
    assert hash_base(opened) != plain
