"""Free text and a language model in; questions with answers, verdicts, and shortened texts out; failures counted.

A text is split into claims by rule, so that every question has its answer in the text; a language model words the
question, judges answers to it, and shortens the text. What it says is checked before it is believed: a question ends
with its mark; a verdict is one of three words, and calls an absurd answer wrong; a shortened text only leaves words
out. What fails the check is a failure, never a wrong answer, and a text that could not be shortened stays its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from residency.evaluate.claims.atoms import split_claims
from residency.evaluate.text import split_tokens
from residency.judges.server import Speaker, Words, one_word
from residency.knowledge.verdict import VERDICTS, Verdict
from residency.types import Record

_WRITE = "Turn a statement about a medical image into one short question."
_WRITTEN = (
    ("the gallbladder is enlarged", "How large is the gallbladder?"),
    ("no stones", "Are there stones?"),
    ("two round masses in the liver", "What is seen in the liver?"),
)
_JUDGE = "Compare an answer with the true answer. Say one word: correct, minor or wrong."
_JUDGED = (
    ("Question: How large is the gallbladder?\nTrue answer: enlarged\nAnswer: small", "wrong"),
    ("Question: What is seen in the liver?\nTrue answer: two round masses\nAnswer: round masses", "minor"),
    ("Question: Are there stones?\nTrue answer: no stones\nAnswer: no", "correct"),
)
_CUT = (
    "Take out of a report what answers the questions. Change nothing else: no word is added, changed or moved. Say "
    "NOTHING if nothing is left."
)
_SHORTENED = (
    (
        "Report: The gallbladder is enlarged. No stones.\nQuestions:\n- Are there stones? (no stones)",
        "The gallbladder is enlarged.",
    ),
    ("Report: Two round masses in the liver.\nQuestions:\n- What is seen? (two round masses in the liver)", "NOTHING"),
)
_VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in VERDICTS}
ABSURD = "a red bicycle in the street"
"""An answer that is wrong to any question about a medical image."""
MOST_CLAIMS, MOST_WORDS, LONGEST = 12, 16, 512
"""Claims of a text that are asked about; tokens of a verdict or, twice, a question; tokens of a shortened text."""


class Written(Record):
    """A line of questions.jsonl: what can be asked about a sample's image, with the claims of its text that answer.

    `failed` claims got no question.
    """

    id: str
    questions: tuple[tuple[str, str], ...]
    failed: int


@dataclass(frozen=True)
class Shortened:
    """A text without what answers some questions: None where nothing is left; `failed`: it stayed as it was."""

    text: str | None
    failed: bool = False


def write_questions(speaker: Speaker, samples: Sequence[tuple[str, str]]) -> list[Written]:
    """Return questions to texts (sample id, text): one to each claim, which is its answer, word for word."""
    claims = [split_claims(text)[:MOST_CLAIMS] for _, text in samples]
    asked = [Words(_WRITE, claim, examples=_WRITTEN) for told in claims for claim in told]
    said = iter(speaker.say(asked, 2 * MOST_WORDS))
    made = []
    for (id, _), told in zip(samples, claims, strict=True):
        found = [(_read_question(next(said)), claim) for claim in told]
        questions = tuple((question, claim) for question, claim in found if question)
        made.append(Written(id=id, questions=questions, failed=len(found) - len(questions)))
    return made


def _read_question(said: str | None) -> str | None:
    """Return the one question that was written (None: another thing was)."""
    lines = (said or "").strip().splitlines()
    question = lines[0].strip() if lines else ""
    return question if question.endswith("?") and len(split_tokens(question)) > 1 else None


def judge_words(speaker: Speaker, question: str, reference: str, answers: Sequence[str]) -> list[Verdict | None]:
    """Return a verdict on each answer to one question; equal answers are judged once, any other word is a failure.

    An answer that cannot be right is judged with them: a judge that does not call it wrong is believed in nothing
    about this question.
    """
    known: dict[str, Verdict | None] = {"": None, _fold(reference): "correct"}
    waiting = list(dict.fromkeys(folded for answer in answers if (folded := _fold(answer)) not in known))
    if waiting:
        told = [f"Question: {question}\nTrue answer: {reference}\nAnswer: {one}" for one in (*waiting, ABSURD)]
        said = speaker.say([Words(_JUDGE, one, examples=_JUDGED) for one in told], MOST_WORDS)
        *verdicts, control = (_VERDICTS.get(one_word(one)) for one in said)
        known |= dict(zip(waiting, verdicts if control == "wrong" else [None] * len(waiting), strict=True))
    return [known[_fold(answer)] for answer in answers]


def _fold(answer: str) -> str:
    return answer.casefold().strip(" .")


def shorten_texts(speaker: Speaker, asked: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> list[Shortened]:
    """Return each text without what answers its questions; one without questions is never shown to anybody."""
    waiting = [row for row, (_, questions) in enumerate(asked) if questions]
    told = [_word_cut(*asked[row]) for row in waiting]
    words = [Words(_CUT, one, examples=_SHORTENED) for one in told]
    said = dict(zip(waiting, speaker.say(words, LONGEST) if words else [], strict=True))
    return [_check_cut(text, said[row]) if row in said else Shortened(text) for row, (text, _) in enumerate(asked)]


def _word_cut(text: str, questions: Sequence[tuple[str, str]]) -> str:
    lines = "\n".join(f"- {question} ({answer})" for question, answer in questions)
    return f"Report: {text}\nQuestions:\n{lines}"


def _check_cut(text: str, said: str | None) -> Shortened:
    """Return a shortened text if it holds the text's own words in their order, fewer of them; else the text itself."""
    if said is None or not split_tokens(said):
        return Shortened(text, failed=True)
    if one_word(said) == "nothing":
        return Shortened(None)
    left = iter(split_tokens(text))
    kept = split_tokens(said)
    if len(kept) >= len(split_tokens(text)) or not all(word in left for word in kept):
        return Shortened(text, failed=True)
    return Shortened(said)
