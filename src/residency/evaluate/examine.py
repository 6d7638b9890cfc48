"""A run's predictions in; scores with intervals, verdicts and warnings out, written to `scores/`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from residency.data.take import learned_samples
from residency.evaluate.bootstrap import estimate, estimate_gain
from residency.evaluate.choice import class_rates, count_confusions
from residency.evaluate.confidence import Sure, examine_confidence, gather_sure
from residency.evaluate.copying import measure_copying
from residency.evaluate.doubt import find_doubts
from residency.evaluate.gather import Answered, gather_answers
from residency.evaluate.heading import name_question
from residency.evaluate.mark import mark_answers
from residency.evaluate.measure import primary_metric, tally_answered
from residency.evaluate.metric import Tally
from residency.evaluate.number import median_error
from residency.evaluate.overall import judge_looking
from residency.evaluate.read import OTHERS, OUTSIDE, Evidence, read_run, read_siblings
from residency.evaluate.records import ClassRate, Confusion, Examination, Mark, QuestionShown, SplitCount
from residency.evaluate.subgroups import score_questions, score_subgroups
from residency.evaluate.verdict import judge_gains, tally_verdicts
from residency.files import read_json, write_json, write_lines
from residency.types import SPLITS, Question, Sample, Score, SplitName


def evaluate_run(
    run: Path, data: Path | None = None, draws: int | None = None, split: SplitName = "test"
) -> Examination:
    """Score a run's predictions of a split (those of all folds pooled) and write `scores/`.

    `data` is the dataset folder where it is not the recipe's; `draws` resamples replace the recipe's number.
    `scores/scores.json` (`scores/val.json` for the validation split) holds the examination, `marks.jsonl` beside it
    how each sample was answered.

    Raises:
        UserError: no such run, no predictions by the tuned model, or the dataset is not found.
        CheckFailed: unreadable lines, predictions of unknown samples, or a sample predicted twice.
    """
    return write_examination(read_run(run, data, split), draws)


def evaluate_file(file: Path, data: Path | None = None, draws: int | None = None) -> Examination:
    """Score a predictions file with the files beside it; a mode without a file is `not run`.

    Raises:
        UserError: no such file, or the dataset is not found.
        CheckFailed: unreadable lines, predictions of unknown samples, or a sample predicted twice.
    """
    return write_examination(read_siblings(file, data), draws)


def write_examination(evidence: Evidence, draws: int | None = None) -> Examination:
    """Examine the evidence and write `scores/` into its folder."""
    settings = evidence.recipe.evaluate if evidence.recipe else None
    draws = draws or (settings.draws if settings else 2000)
    dataset = evidence.dataset
    answers = gather_answers(evidence.samples, evidence.predictions, dataset.questionnaire, dataset.folder)
    examination = examine(evidence, answers, draws, settings.seed if settings else 0)
    stem = "scores" if evidence.split == "test" else evidence.split
    marks: list[Mark] = []
    for of in ("own", "base"):
        texts = {made.id: made.prediction for made in evidence.predictions.get(of, [])}
        marks += [mark for answered in answers for mark in mark_answers(answered, of, texts)]
    prefix = "" if evidence.split == "test" else f"{evidence.split}."
    write_lines(evidence.folder / "scores" / f"{prefix}marks.jsonl", marks)
    write_json(evidence.folder / "scores" / f"{stem}.json", examination.model_dump(mode="json"))
    return examination


def load_examination(run: Path, split: str = "test") -> Examination | None:
    """Return what `evaluate_run` wrote (None: it has not run)."""
    file = run / "scores" / ("scores.json" if split == "test" else f"{split}.json")
    return read_json(file, Examination) if file.is_file() else None


def examine(evidence: Evidence, answers: Sequence[Answered], draws: int, seed: int) -> Examination:
    """Score every question, sub-answer and subset, judge the gains, and gather what a reader must be warned of."""
    annotated = annotated_categories(evidence)
    scores = [score for answered in answers for score in _scores(answered, annotated, draws, seed)]
    verdicts = judge_gains(answers, scores)
    tallied = tally_verdicts(verdicts)
    looking = judge_looking(answers, draws, seed)
    by_question = score_questions(answers, draws, seed)
    own = gather_sure(answers, evidence.predictions.get("own", []))
    validation = gather_validation(evidence)
    confusions = [_confuse(answered) for answered in answers if answered.spec.type in ("choice", "ordinal")]
    return Examination(
        run=evidence.name,
        split=evidence.split,
        folds=len(evidence.folds),
        draws=draws,
        seed=seed,
        hashes=evidence.hashes,
        ran={mode: len(made) for mode, made in evidence.predictions.items()},
        not_run=tuple(mode for mode in ("own", *OTHERS) if mode not in (*evidence.predictions, *OUTSIDE)),
        questions=tuple(_show(answered) for answered in answers),
        tallied=tallied,
        verdicts=tuple(verdicts),
        warnings=tuple(find_doubts(evidence, answers, verdicts, looking, by_question)),
        counts=tuple(count_splits(evidence)),
        annotated_categories=tuple(sorted(annotated)),
        scores=tuple(scores),
        confusions=tuple(confusions),
        looking=tuple(looking),
        confidence=examine_confidence(own, validation, draws, seed),
        subgroups=tuple(score_subgroups(answers, draws, seed)),
        question_subgroups=tuple(by_question),
        copying=tuple(measure_copying(answers, evidence.predictions, draws, seed)),
    )


def gather_validation(evidence: Evidence) -> Sure | None:
    """Return the tuned model's answers to the validation split (None: it was not predicted, or is what is examined)."""
    if evidence.split == "val" or not evidence.validation or not evidence.dataset.splits:
        return None
    asked = {made.id for made in evidence.validation}
    samples = [sample for sample in evidence.dataset.samples if sample.id in asked]
    dataset = evidence.dataset
    answers = gather_answers(samples, {"own": evidence.validation}, dataset.questionnaire, dataset.folder)
    return gather_sure(answers, evidence.validation)


def _scores(answered: Answered, annotated: set[str], draws: int, seed: int) -> Iterator[Score]:
    for subset, part in _subsets(answered, annotated):
        tallies = {of: tally_answered(part, of) for of in part.answers}
        whole = subset == "all" or subset.startswith("label=")
        for of, made in tallies.items():
            for tally in made if whole else made[:1]:
                found = estimate(tally, part.groups, draws, seed)
                counts = {"unparsed": part.unparsed(of), "unscored": _left_out(tally)}
                if subset == "all":
                    counts |= {"unclear": part.unclear.get(of, 0), "abstained": part.abstained.get(of, 0)}
                yield found.score(of, part.spec.id, tally.metric.name, subset, **counts)
        if "own" not in tallies or subset.startswith(("category", "label")):
            continue
        for other in OTHERS:
            if other in tallies:
                own, against = tallies["own"][0], tallies[other][0]
                gain = estimate_gain(own, against, part.groups, draws, seed)
                left_out = len(part.samples) - gain.n
                yield gain.score(f"own-{other}", part.spec.id, own.metric.gain, subset, unscored=left_out)


def _subsets(answered: Answered, annotated: set[str]) -> Iterator[tuple[str, Answered]]:
    yield "all", answered
    categories = [sample.category for sample in answered.samples]
    for category in sorted({category for category in categories if category}):
        yield f"category={category}", answered.subset([found == category for found in categories])
    if annotated and any(categories):
        for name, wanted in (("yes", True), ("no", False)):
            keep = [category is not None and (category in annotated) == wanted for category in categories]
            if any(keep):
                yield f"annotated={name}", answered.subset(keep)
    for label in answered.labels:
        yield f"label={label}", answered.of_label(label)


def _left_out(tally: Tally) -> int:
    return int((~tally.scored_N).sum())


def _show(answered: Answered) -> QuestionShown:
    spec = answered.spec
    metric = primary_metric(answered)
    number = spec.type == "number" and "own" in answered.answers
    return QuestionShown(
        id=spec.id,
        type=answered.kind,
        heading=name_question(spec),
        wording=spec.wording if isinstance(spec, Question) else "",
        unit=metric.unit,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        is_part=answered.is_part,
        median_error=median_error(answered.truths, answered.answers["own"]) if number else None,
    )


def _confuse(answered: Answered, of: str = "own") -> Confusion:
    made = answered.answers.get(of, [None] * len(answered.truths))
    labels, counts = count_confusions(answered.truths, made, answered.spec.names)
    rates = [
        ClassRate(name=name, support=s, precision=p, recall=r, f1=f)
        for name, (s, p, r, f) in zip(labels, class_rates(counts), strict=True)
    ]
    return Confusion(
        question=answered.spec.id, of=of, labels=tuple(labels), counts=tuple(map(tuple, counts)), rates=tuple(rates)
    )


def annotated_categories(evidence: Evidence) -> set[str]:
    """Return the categories that have answers in the training split of any fold."""
    if not evidence.dataset.splits:
        return set()
    learned = [learned_samples(evidence.dataset, evidence.recipe, fold) for fold in evidence.folds]
    trained = [sample for samples in learned for sample in samples]
    return {sample.category for sample in trained if sample.category}


def count_splits(evidence: Evidence) -> Iterator[SplitCount]:
    """Yield what each split holds (of several folds: the first, and the pooled test), then what has no answers."""
    if evidence.dataset.splits:
        for split in SPLITS:
            fold = evidence.folds[0] if evidence.folds else 0
            name = split if len(evidence.folds) < 2 else f"{split} (fold {fold})"
            there = evidence.dataset.split(split, fold)
            learned = learned_samples(evidence.dataset, evidence.recipe, fold)
            yield _count(name, learned if split == "train" else there)
    if len(evidence.folds) > 1 or not evidence.dataset.splits:
        yield _count(f"{evidence.split} (all folds)" if len(evidence.folds) > 1 else "examined", evidence.samples)
    yield _count("unannotated", [sample for sample in evidence.dataset.samples if sample.suffix is None])


def _count(name: str, samples: Sequence[Sample]) -> SplitCount:
    images = {sample.image: sample.category or "no category" for sample in samples}
    categories: dict[str, int] = {}
    for category in sorted(images.values()):
        categories[category] = categories.get(category, 0) + 1
    groups = {sample.group for sample in samples}
    return SplitCount(split=name, samples=len(samples), images=len(images), groups=len(groups), categories=categories)
