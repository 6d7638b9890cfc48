"""Our metrics against the libraries that papers use: sacrebleu, rouge-score, scikit-learn."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, mean_absolute_error
from sklearn.preprocessing import MultiLabelBinarizer

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.evaluate.ngrams import rouge_l, tally_bleu, tally_chrf
from residency.evaluate.text import fold_wide, split_tokens
from residency.files import read_lines, write_lines
from residency.types import Prediction, Sample
from tests.run_command import run_residency

SENTENCE = "the fetal head lies to left right with a clear midline echo and no effusion of 3.5 mm in both lungs"
WORDS = SENTENCE.split()
CHINESE = "舌质淡红苔薄白边有齿痕未见裂纹"


def make_texts(seed: int, count: int, chinese: bool) -> list[tuple[str, str]]:
    """Return pairs of sentences that share some words."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        true = list(rng.choice(list(CHINESE) if chinese else WORDS, int(rng.integers(1, 25))))
        given = [w for w in true if rng.random() < 0.7] + list(rng.choice(true, int(rng.integers(0, 5))))
        pairs.append((("" if chinese else " ").join(true), ("" if chinese else " ").join(given)))
    return pairs


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("count", [1, 3, 60])
def test_bleu_and_chrf_are_sacrebleus(chinese: bool, count: int) -> None:
    for seed in range(8):
        pairs = make_texts(seed, count, chinese)
        tokens = [(split_tokens(true), split_tokens(given)) for true, given in pairs]
        bleu = tally_bleu(tokens)
        said, true = [" ".join(given) for _, given in tokens], [" ".join(true) for true, _ in tokens]
        wanted = BLEU(tokenize="none").corpus_score(said, [true]).score / 100
        assert bleu.value(bleu.rows_ND.sum(axis=0, keepdims=True))[0] == pytest.approx(wanted, abs=1e-9)
        chrf = tally_chrf([(fold_wide(true), fold_wide(given)) for true, given in pairs])
        wanted = CHRF().corpus_score([given for _, given in pairs], [[true for true, _ in pairs]]).score / 100
        assert chrf.value(chrf.rows_ND.sum(axis=0, keepdims=True))[0] == pytest.approx(wanted, abs=1e-9)


def test_rouge_l_is_rouge_scores() -> None:
    scorer = RougeScorer(["rougeL"], tokenizer=type("Ours", (), {"tokenize": staticmethod(split_tokens)})())
    for true, given in make_texts(1, 200, False) + make_texts(2, 200, True):
        if split_tokens(given):
            wanted = scorer.score(true, given)["rougeL"].fmeasure
            assert rouge_l(split_tokens(true), split_tokens(given)) == pytest.approx(wanted)


def test_empty_answers_cost_and_empty_truths_are_not_scored() -> None:
    for tally in (tally_bleu([(("a", "b"), ())]), tally_chrf([("ab", "")])):
        assert tally.value(tally.rows_ND)[0] == 0
    assert np.isnan(tally_bleu([((), ("a",))]).value(np.array([[1.0, *[0] * 9]]))[0])


def test_evaluate_agrees_with_scikit_learn_on_a_whole_run(made_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made_run, tmp_path / "run"))
    code, out, _ = run_residency("evaluate", run, "--json")
    assert code == 0
    scores = {
        (s["question"], s["of"], s["metric"]): s["value"] for s in json.loads(out)["scores"] if s["subset"] == "all"
    }
    dataset = load_dataset(made_run.parents[1] / "dataset")
    truth = {sample.id: sample for sample in dataset.samples}
    for of in ("own", "base"):
        made = read_lines(run / "predictions" / f"test.{of}.jsonl", Prediction)
        for id in ("q2", "q3", "q7"):
            asked = [one for one in made if truth[one.id].question == id]
            true, given = [str(truth[one.id].answer) for one in asked], [str(one.parsed or "unparsed") for one in asked]
            with warnings.catch_warnings():  # that an answer is none of the true ones is meant
                warnings.simplefilter("ignore")
                wanted = balanced_accuracy_score(true, given)
            assert scores[id, of, "balanced accuracy"] == pytest.approx(wanted)
            assert scores[id, of, "accuracy"] == pytest.approx(accuracy_score(true, given))
            present = sorted(set(true))
            wanted = f1_score(true, given, labels=present, average="macro", zero_division=0)
            assert scores[id, of, "macro F1"] == pytest.approx(wanted)
        asked = [one for one in made if truth[one.id].question == "q1"]
        names = MultiLabelBinarizer().fit([truth[o.id].answer or () for o in asked] + [o.parsed or () for o in asked])
        hot = [
            names.transform([get(one) or () for one in asked])
            for get in (lambda o: truth[o.id].answer, lambda o: o.parsed)
        ]
        assert scores["q1", of, "F1 a sample"] == pytest.approx(f1_score(*hot, average="samples", zero_division=0))
    ranks = dataset.questionnaire.question("q6").names if dataset.questionnaire else ()
    asked = [
        one for one in read_lines(run / "predictions" / "test.own.jsonl", Prediction) if truth[one.id].question == "q6"
    ]
    places = [
        [ranks.index(str(get(one))) for one in asked] for get in (lambda o: truth[o.id].answer, lambda o: o.parsed)
    ]
    assert scores["q6", "own", "mean absolute error"] == pytest.approx(mean_absolute_error(*places))


def test_reports_in_english_and_chinese_are_scored_by_the_command(tmp_path: Path) -> None:
    """Corpus scores, nothing averaged by batch: the whole file's counts, in whatever order it lies."""
    pairs = make_texts(3, 40, False) + make_texts(4, 40, True)
    samples = [
        Sample(id=str(n), image="a.png", prefix="<CAPTION>", suffix=true, group=str(n // 2))
        for n, (true, _) in enumerate(pairs)
    ]
    write_dataset(Dataset(tmp_path / "data", tuple(samples), None, None))
    made = [
        Prediction(id=str(n), model="m", mode="own", split="all", prompt_sha256="0", prediction=given)
        for n, (_, given) in enumerate(pairs)
    ]
    found = []
    for order in (made, made[::-1]):
        write_lines(tmp_path / "all.own.jsonl", order)
        code, out, _ = run_residency("evaluate", tmp_path / "all.own.jsonl", "--data", tmp_path / "data", "--json")
        assert code == 0
        found.append(
            {s["metric"]: (s["value"], s["low"], s["high"]) for s in json.loads(out)["scores"] if s["of"] == "own"}
        )
    assert found[0] == found[1]
    assert set(found[0]) == {"token F1", "exact match", "normalized match", "ROUGE-L", "BLEU-4", "chrF"}
    value, low, high = found[0]["chrF"]
    wanted = CHRF().corpus_score([given for _, given in pairs], [[true for true, _ in pairs]]).score / 100
    assert value == pytest.approx(wanted)
    assert low < value < high
