"""Free text: true and answered sentences in, token F1 and exact match out.

Compared after case folding and Unicode NFKC. Words are tokens; in scripts written without spaces (Chinese, Japanese
kana, Thai, Lao, Khmer, Burmese) every character is one. An unparsed (empty) answer scores 0.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

import numpy as np

from residency.evaluate.metric import Answers, Metric, Tally, Truths, mean_tally
from residency.questionnaire import fold_text, render_value
from residency.types import Answer, AnswerSpec

TOKEN_F1 = Metric("token F1")
EXACT_MATCH = Metric("exact match")
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_LOCATION = re.compile(r"<loc_?(\d+)>")
_TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|[{UNSPACED}]|[^\s\d{UNSPACED}]+")


def tally_text(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return token F1 (primary; Rajpurkar 2016, arXiv 1606.05250, without its English article rule) and exact match."""
    f1_N = np.array([token_f1(truth, answer) for truth, answer in zip(truths, answers, strict=True)])
    exact_N = np.array([float(same_text(truth, answer)) for truth, answer in zip(truths, answers, strict=True)])
    return [mean_tally(TOKEN_F1, f1_N), mean_tally(EXACT_MATCH, exact_N)]


def token_f1(truth: Answer, answer: Answer | None) -> float:
    """Return the F1 of the tokens that truth and answer share, counted with repetition, in [0, 1]."""
    if answer is None:
        return 0.0
    true, given = Counter(split_tokens(render_value(truth))), Counter(split_tokens(render_value(answer)))
    total = true.total() + given.total()
    return 2 * (true & given).total() / total if total else 1.0


def same_text(truth: Answer, answer: Answer | None) -> bool:
    """Return whether two texts are the same but for case, spacing and the closing full stop."""
    return answer is not None and _folded(render_value(truth)) == _folded(render_value(answer))


@lru_cache(maxsize=65536)
def split_tokens(text: str) -> tuple[str, ...]:
    """Return the tokens of a text, punctuation dropped; numbers stay whole (`3.5`), `<loc_12>` is the token `12`."""
    text = _LOCATION.sub(r" \1 ", text)
    kept = "".join(
        character if unicodedata.category(character)[0] in "LNM" or character in ".," else " "
        for character in unicodedata.normalize("NFKC", text).casefold()
    )
    return tuple(token for raw in _TOKEN.findall(kept) if (token := raw.strip(".,")))


def _folded(text: str) -> str:
    return fold_text(unicodedata.normalize("NFKC", text))
