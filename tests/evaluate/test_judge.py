"""Claims, judged by rules, by a local cross-encoder and by a server, through the installed command on real files."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.negation_pairs import make_pairs, write_pairs
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import cohen_kappa_score

from residency.data.dataset import Dataset, write_dataset
from residency.evaluate.claims.atoms import split_claims
from residency.evaluate.claims.claim import Claim, Judged, Label
from residency.evaluate.claims.rules import judge_by_rules
from residency.evaluate.ngrams import rouge_l
from residency.evaluate.text import split_tokens
from residency.files import read_lines, write_lines
from residency.types import Prediction, Quantity, Sample
from tests.loopback import Talker, talking
from tests.run_command import run_residency

UNSEEN = 20261122
"""A seed that no rule was written after."""


def test_the_rules_tell_true_reports_from_their_negated_twins(tmp_path: Path) -> None:
    write_pairs(tmp_path, seed=UNSEEN)
    labels: dict[str, dict[str, list[Label | None]]] = {}
    for kind in ("true", "negated"):
        code, out, _ = run_residency("judge", tmp_path / kind / "reports.jsonl", "--data", tmp_path / "data", "--json")
        table = json.loads(out)["tables"][0]
        assert code == 0 and (table["images"], table["groups"], table["failed"]) == (200, 200, 0)
        for one in read_lines(tmp_path / kind / "scores" / "all.claims.jsonl", Judged):
            if not one.from_reference:
                labels.setdefault(one.image, {}).setdefault(kind, []).append(one.label)
        scores = {score["metric"]: score["value"] for score in table["scores"]}
        assert scores["contradiction precision"] == pytest.approx(0.0 if kind == "true" else 0.2, abs=0.01)
        assert scores["descriptiveness recall"] == pytest.approx(1.0 if kind == "true" else 0.8, abs=0.02)
    told = ["contradicted" not in said["true"] and "contradicted" in said["negated"] for said in labels.values()]
    assert len(told) == 200 and np.mean(told) >= 0.98


def test_rouge_and_embedding_similarity_do_not() -> None:
    """The best threshold that hindsight can choose is little better than a coin; half of the pairs are turned round."""
    pairs = make_pairs(200, UNSEEN)
    texts = [text for pair in pairs for text in pair]
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)).fit_transform(texts)
    embedded = TruncatedSVD(100, random_state=0).fit_transform(TfidfVectorizer(ngram_range=(1, 2)).fit_transform(texts))
    rouge = np.array([[rouge_l(split_tokens(r), split_tokens(said)) for said in (t, n)] for r, t, n in pairs])
    grams = np.array(
        [[(characters[3 * n] @ characters[3 * n + k].T).toarray()[0, 0] for k in (1, 2)] for n in range(200)]
    )
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    dense = np.array([[unit[3 * n] @ unit[3 * n + k] for k in (1, 2)] for n in range(200)])
    for similarity in (rouge, grams, dense):
        cuts = np.unique(similarity)
        best = max(((similarity[:, 0] >= cut).mean() + (similarity[:, 1] < cut).mean()) / 2 for cut in cuts)
        assert best < 0.65
        assert (similarity[:, 1] >= similarity[:, 0]).mean() > 0.25
        assert similarity[:, 1].mean() > 0.9 * similarity[:, 0].mean()


@pytest.mark.parametrize(
    ("reference", "claim", "label"),
    [
        ("No effusion, consolidation or pneumothorax.", "There is a pneumothorax", "contradicted"),
        ("No effusion, consolidation or pneumothorax.", "No large effusion", "entailed"),
        ("The ventricles are normal.", "The ventricles are not dilated", "entailed"),
        ("The heart is enlarged.", "The heart is normal", "contradicted"),
        ("Small left effusion.", "Right effusion", "contradicted"),
        ("Bilateral effusion.", "Left effusion", "entailed"),
        ("Left effusion.", "No right effusion", "neutral"),
        ("The femur measures 32 mm.", "The femur measures 3.2 cm", "entailed"),
        ("The femur measures 32 mm.", "The femur measures 45 mm", "contradicted"),
        ("The femur is seen.", "The aorta is seen", "neutral"),
        ("The femur is seen.", "Possibly no femur", "neutral"),
        ("未见积液、气胸。", "见气胸", "contradicted"),
    ],
)
def test_words_are_compared_as_facts(reference: str, claim: str, label: Label) -> None:
    assert judge_by_rules([Claim(text=reference)], [Claim(text=claim)]) == [label]


def test_a_sheets_answers_are_compared_in_their_own_question() -> None:
    length = Claim(text="femur length: 32 mm", slot="q4.fl", kind="number", value=Quantity(value=32, unit="mm"))
    seen = [Claim(text="structures: liver", slot="q1", kind="set", value="liver"), length]
    plane = Claim(text="plane: axial", slot="q3", kind="choice", value="axial")
    asked = [
        seen[0],
        Claim(text="structures: spleen", slot="q1", kind="set", value="spleen"),
        Claim(text="structures: none", slot="q1", kind="set", value="none"),
        length.model_copy(update={"value": Quantity(value=33, unit="mm")}),
        length.model_copy(update={"value": Quantity(value=40, unit="mm")}),
        plane.model_copy(update={"value": "coronal"}),
        plane.model_copy(update={"slot": "q9"}),
    ]
    wanted = ["entailed", "neutral", "contradicted", "entailed", "contradicted", "contradicted", "neutral"]
    assert judge_by_rules([*seen, plane], asked) == wanted


def test_claims_are_atomic() -> None:
    assert split_claims("The heart and lungs are normal, and there is no effusion or mass.") == (
        "The heart are normal", "lungs are normal", "no effusion", "no mass",
    )  # fmt: skip
    assert split_claims("Liver of 12.5 cm without lesions.") == ("Liver of 12.5 cm", "no lesions")


def test_a_run_is_judged_with_intervals_by_patient(made_run: Path) -> None:
    code, out, _ = run_residency("judge", made_run)
    assert code == 0 and "contradiction precision" in out and "own" in out and "base" in out
    report = json.loads((made_run / "scores" / "claims.json").read_text())
    own, base = (next(t for t in report["tables"] if t["of"] == of) for of in ("own", "base"))
    value = {t["of"]: {s["metric"]: s for s in t["scores"]} for t in (own, base)}
    precision = value["own"]["descriptiveness precision"]
    assert value["base"]["descriptiveness precision"]["value"] < precision["low"] < precision["high"] <= 1
    assert precision["groups"] == 20 and report["hashes"]["metric"] and report["judge"] == "rules"


def test_silence_and_unread_texts_are_counted(tmp_path: Path) -> None:
    samples = [
        Sample(id=str(n), image=f"{n}.png", prefix="<CAPTION>", suffix="No effusion.", group=str(n)) for n in range(4)
    ]
    write_dataset(Dataset(tmp_path / "data", tuple(samples), None, None))
    said = ["No effusion.", "", "There is an effusion.", "The liver is normal."]
    made = [
        Prediction(id=str(n), model="m", mode="own", split="all", prompt_sha256="0", prediction=said[n])
        for n in range(4)
    ]
    write_lines(tmp_path / "all.own.jsonl", made)
    code, out, _ = run_residency("judge", tmp_path / "all.own.jsonl", "--data", tmp_path / "data", "--json")
    table = json.loads(out)["tables"][0]
    assert code == 0 and table["silent"] == 1
    values = [score["value"] for score in table["scores"]]
    assert values == pytest.approx([1 / 3, 1 / 4, 1 / 3, 1 / 4])
    assert [score["n"] for score in table["scores"]] == [3, 4, 3, 4]


def judge(_: str, told: str) -> str | None:
    """Know one trick, and now and then talk nonsense, or fail."""
    reference, _, claim = told.partition("\n\nClaim: ")
    claim = claim.partition("\n")[0]
    if "liver" in claim:
        return None
    return "I think it may be so." if "spleen" in claim else "Entailed." if claim in reference else "contradicted"


@pytest.fixture
def server() -> Iterator[Talker]:
    with talking(judge, "little-judge") as made:
        yield made


def test_a_server_judges_and_its_failures_are_left_out_and_counted(tmp_path: Path, server: Talker) -> None:
    reference = "The heart is normal. No effusion."
    samples = [
        Sample(id=str(n), image=f"{n}.png", prefix="<CAPTION>", suffix=reference, group=str(n)) for n in range(2)
    ]
    write_dataset(Dataset(tmp_path / "data", tuple(samples), None, None))
    said = ["The heart is normal. The liver is normal.", "A mass. The spleen is large. No effusion."]
    made = [
        Prediction(id=str(n), model="m", mode="own", split="all", prompt_sha256="0", prediction=said[n])
        for n in range(2)
    ]
    write_lines(tmp_path / "all.own.jsonl", made)
    asked = ("judge", tmp_path / "all.own.jsonl", "--data", tmp_path / "data", "--judge", server.url)
    code, out, _ = run_residency(*asked)
    assert code == 0 and "2 of 9 judgements failed" in out
    table = json.loads((tmp_path / "scores" / "all.claims.json").read_text())["tables"][0]
    assert table["failed"] == 2 and table["labels"] == {"entailed": 2, "contradicted": 1, "neutral": 0}
    assert table["scores"][0]["value"] == pytest.approx((1 + 1 / 2) / 2)
    assert server.asked[-1]["model"] == "little-judge" and server.asked[-1]["temperature"] == 0
    assert "no such model" in run_residency(*asked[:-1], f"{server.url}#other")[2]


def test_patients_words_do_not_leave_the_house(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"premise": "a", "claim": "b", "label": "neutral"}\n')
    code, _, err = run_residency("judge", "--validate", tmp_path / "pairs.jsonl", "--judge", "http://8.8.8.8/v1")
    assert code == 2 and "--remote" in err
    code, _, err = run_residency("judge", "--validate", tmp_path / "pairs.jsonl", "--judge", "http://127.0.0.1:9/v1")
    assert code == 2 and "does not answer" in err


def make_encoder(folder: Path, pairs: list[tuple[str, str, int]], labels: tuple[str, ...], steps: int = 120) -> None:
    """Train a tiny BERT on a handful of pairs until it knows them, and save it as any hub model is."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = sorted({word for premise, claim, _ in pairs for word in f"{premise} {claim}".replace(".", " .").split()})
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=48,
    )
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=48, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.1,
        num_labels=3, id2label=dict(enumerate(labels)), label2id={label: at for at, label in enumerate(labels)},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    batch = tokenizer([p for p, _, _ in pairs], [c for _, c, _ in pairs], padding=True, return_tensors="pt")
    target = torch.tensor([label for _, _, label in pairs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        loss = model(**batch, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not steps or loss.item() < 0.1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_a_local_cross_encoder_judges_and_is_validated(tmp_path: Path) -> None:
    things = ("effusion", "mass", "cyst", "fracture", "nodule", "ascites")
    pairs = [
        pair
        for thing, other in zip(things, things[1:] + things[:1], strict=True)
        for pair in (
            (f"no {thing}.", f"no {thing}", 1),
            (f"no {thing}.", f"a {thing}", 0),
            (f"a {thing}.", f"no {thing}", 0),
            (f"no {thing}.", f"a {other}", 2),
        )
    ]
    labels = ("CONTRADICTION", "ENTAILMENT", "NEUTRAL")
    make_encoder(tmp_path / "nli", pairs, labels)
    file = tmp_path / "labelled.csv"
    human = [labels[label].lower() for _, _, label in pairs]
    human[0], human[5] = "neutral", "entailment"  # where people saw it otherwise
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("premise", "claim", "label", "group"))
        for n, ((premise, claim, _), label) in enumerate(zip(pairs, human, strict=True)):
            writer.writerow((premise, claim, label, f"report {n // 2}"))
        writer.writerow(("no effusion. " * 60, "a mass", "neutral", "too long"))
    code, told, _ = run_residency("judge", "--validate", file, "--judge", f"nli:{tmp_path / 'nli'}", "--json")
    found = json.loads(told)
    assert code == 0 and (found["pairs"], found["groups"], found["failed"]) == (25, 13, 1)
    wanted = cohen_kappa_score(human, [labels[label].lower() for _, _, label in pairs])
    assert found["kappa"]["value"] == pytest.approx(wanted)
    assert found["kappa"]["low"] < wanted < found["kappa"]["high"]
    assert [row[3] for row in found["counts"]] == [0, 0, 1]
    make_encoder(tmp_path / "other", pairs, ("A", "B", "C"), steps=0)
    code, _, err = run_residency("judge", "--validate", file, "--judge", f"nli:{tmp_path / 'other'}")
    assert code == 2 and "no judge of claims" in err


def test_one_label_alone_has_no_kappa(tmp_path: Path) -> None:
    lines = [{"premise": "No mass.", "claim": "no mass", "label": "entailed", "group": str(n)} for n in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, _ = run_residency("judge", "--validate", tmp_path / "pairs.jsonl", "--json")
    found = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert code == 0 and found["kappa"]["value"] is None and found["agreement"]["value"] == 1
    assert "not defined" in found["note"]


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    assert run_residency("judge")[0] == 2
    assert "rules" in run_residency("judge", tmp_path / "x.jsonl", "--judge", "gpt")[2]
    assert run_residency("judge", "--validate", tmp_path / "none.jsonl")[0] == 2
    bad = tmp_path / "bad.csv"
    bad.write_text("premise,claim,label\na,b,maybe\n,b,neutral\n")
    code, _, err = run_residency("judge", "--validate", bad)
    assert code == 1 and "`maybe` is no label" in err and "premise is empty" in err
