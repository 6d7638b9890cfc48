"""Free text: true and answered sentences in, matches, token F1, ROUGE-L, BLEU and chrF out.

Compared after case folding and Unicode NFKC. Words are tokens; in scripts written without spaces (Chinese, Japanese
kana, Thai, Lao, Khmer, Burmese) every character is one. An unparsed (empty) answer scores 0.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from residency.evaluate.metric import Answers, Metric, Tally, Truths, mean_tally
from residency.evaluate.ngrams import rouge_l, tally_bleu, tally_chrf
from residency.questionnaire import render_value
from residency.types import Answer, AnswerSpec

TOKEN_F1 = Metric("token F1")
EXACT_MATCH = Metric("exact match")
NORMALIZED_MATCH = Metric("normalized match")
ROUGE_L = Metric("ROUGE-L")
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_ARTICLES = frozenset(("a", "an", "the"))
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS)}
_LOCATION = re.compile(r"<loc_?(\d+)>")
_TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|[{UNSPACED}]|[^\s\d{UNSPACED}]+")


def tally_text(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return token F1 (primary; Rajpurkar 2016, arXiv 1606.05250, without its English article rule) and the others.

    Exact and normalized match and ROUGE-L are means over samples; BLEU-4 and chrF are of all samples' counts.
    """
    texts = [(render_value(truth), "" if answer is None else render_value(answer)) for truth, answer in zip(
        truths, answers, strict=True)]  # fmt: skip
    tokens = [(split_tokens(true), split_tokens(given)) for true, given in texts]

    def mean(metric: Metric, marks: Iterable[float]) -> Tally:
        return mean_tally(metric, np.array(list(marks), dtype=np.float64))

    pairs = list(zip(truths, answers, strict=True))
    return [
        mean(TOKEN_F1, (token_f1(truth, answer) for truth, answer in pairs)),
        mean(EXACT_MATCH, (float(answer is not None and true == given) for (true, given), answer in zip(
            texts, answers, strict=True))),
        mean(NORMALIZED_MATCH, (float(same_text(truth, answer)) for truth, answer in pairs)),
        mean(ROUGE_L, (rouge_l(true, given) for true, given in tokens)),
        tally_bleu(tokens),
        tally_chrf([(fold_wide(true), fold_wide(given)) for true, given in texts]),
    ]  # fmt: skip


def token_f1(truth: Answer, answer: Answer | None) -> float:
    """Return the F1 of the tokens that truth and answer share, counted with repetition, in [0, 1]."""
    if answer is None:
        return 0.0
    true, given = Counter(split_tokens(render_value(truth))), Counter(split_tokens(render_value(answer)))
    total = true.total() + given.total()
    return 2 * (true & given).total() / total if total else 1.0


def same_text(truth: Answer, answer: Answer | None) -> bool:
    """Return whether two texts are the same but for case, punctuation, articles, and numbers up to ten as words."""
    return answer is not None and _normalized(render_value(truth)) == _normalized(render_value(answer))


def fold_wide(text: str) -> str:
    """Return text in one width (Unicode NFKC) and case."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(maxsize=65536)
def split_tokens(text: str) -> tuple[str, ...]:
    """Return the tokens of a text, punctuation dropped; numbers stay whole (`3.5`), `<loc_12>` is the token `12`."""
    text = _LOCATION.sub(r" \1 ", text)
    kept = "".join(
        character if unicodedata.category(character)[0] in "LNM" or character in ".," else " "
        for character in fold_wide(text)
    )
    return tuple(token for raw in _TOKEN.findall(kept) if (token := raw.strip(".,")))


def _normalized(text: str) -> tuple[str, ...]:
    words = [_NUMBERS.get(token, token) for token in split_tokens(text) if token not in _ARTICLES]
    return tuple(words) or split_tokens(text)
