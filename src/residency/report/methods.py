"""An examination in, the paragraph that a paper's methods section needs out: what was done, with its sources."""

from residency.config import Recipe
from residency.evaluate.claims.measure import ClaimReport
from residency.evaluate.confidence import FEWEST_FOR_ECE
from residency.evaluate.measure import METRIC_VERSION
from residency.evaluate.records import Examination

COMPARED = {
    "majority": "the most frequent answer of the training split",
    "base": "the base model before fine-tuning, choosing among the same answers",
    "blind": "the tuned model with the training split's mean image",
    "shuffled": "the tuned model with another patient's image",
    "mute": "the tuned model with another question",
    "probe": "a linear probe on the frozen vision tower",
    "textprobe": "the same probe leaning on the answers' text embeddings (LP++, arXiv 2404.02285)",
    "knn": "five nearest neighbours on it",
    "words": "a bag of the prompt's words alone",
    "detector": "a classic detector trained on the same split",
}
PRIMARY = {
    "choice": "balanced accuracy",
    "set": "F1 a sample",
    "ordinal": "mean absolute error in ranks",
    "number": "mean absolute error",
    "text": "token F1",
    "boxes": "F1 at an intersection over union of 0.5, boxes matched by pycocotools",
    "outlines": "Dice of the regions in the original's pixels",
}


def tell_methods(examination: Examination, recipe: Recipe | None, claims: ClaimReport | None = None) -> str:
    """Return the paragraph; it holds nothing that was not done."""
    images = {count.split: count for count in examination.counts}
    trained = next((count for name, count in images.items() if name.startswith("train")), None)
    groups = max((score.groups for score in examination.scores), default=0)
    primary = {shown.id: shown.metric for shown in examination.questions if not shown.is_part}
    own = [score for score in examination.scores if score.of == "own" and score.subset == "all"]
    answers = sum(score.n for score in own if primary.get(score.question) == score.metric)
    split = f"{examination.folds}-fold cross-validation" if examination.folds > 1 else "a single split"
    said = [f"Patients (groups) were divided by {split} so that none stood in two parts."]
    if recipe:
        learned = f" on {trained.images} images of {trained.groups} patients" if trained else ""
        said.append(f"The model {recipe.model} was fine-tuned{learned} (seed {recipe.train.seed}).")
        if recipe.system:
            said.append(f"It was told before each question: {recipe.system!r}.")
        if recipe.shots.count:
            said.append(
                f"Each question was preceded by {recipe.shots.count} solved examples of the training split, never of "
                "the same patient."
            )
    said.append(f"It was examined on {answers} answers of {groups} patients of the {examination.split} split.")
    kinds = sorted({question.type for question in examination.questions})
    said.append("Primary scores were " + "; ".join(f"{PRIMARY[kind]} ({kind})" for kind in kinds) + ".")
    said.append(
        f"All 95% intervals come from {examination.draws:,} bootstrap resamples of whole patients (seed "
        f"{examination.seed}), with percentile ends widened for few groups (Hesterberg, Am Stat 2015;69:371); below 15 "
        "groups an exact binomial interval on groups (Clopper and Pearson, Biometrika 1934;26:404) stands beside them. "
        "Differences are paired; a difference counts where its interval excludes 0, without adjustment for the number "
        "of questions."
    )
    if compared := [words for mode, words in COMPARED.items() if mode in examination.ran]:
        said.append(f"Comparisons were {'; '.join(compared)}.")
    said += _tell_confidence(examination)
    if examination.subgroups:
        named = ", ".join(one.attribute for one in examination.subgroups)
        said.append(
            f"Mean credit is given by {named}; the largest gap's interval is adjusted for the choice (Bonferroni); "
            "by question its p is adjusted besides for all questions and attributes (Holm)."
        )
    if claims:
        said.append(
            f"Reports were split into atomic claims, each judged alone against the whole reference (judge: "
            f"{claims.judge}); failed judgements were left out and counted."
        )
    said.append(
        f"Residency {examination.hashes.version}, metric version {METRIC_VERSION}; data "
        f"{examination.hashes.samples[:12]}, splits {(examination.hashes.splits or 'none')[:12]}, prompts "
        f"{examination.hashes.prompts[:12]}, code {examination.hashes.code[:12]} (SHA-256)."
    )
    return " ".join(said)


def _tell_confidence(examination: Examination) -> list[str]:
    found = examination.confidence
    if not found:
        return []
    said = ["Confidence was the normalized likelihood among the candidates, or the mean token likelihood of text."]
    if found.temperature_chosen is not None:
        said.append(
            f"It was scaled by temperature (Guo 2017) on {found.validation_answers} validation answers (T "
            f"{found.temperature_chosen:.2f} for chosen, {found.temperature_generated:.2f} for generated answers)."
        )
    ece = ", expected calibration error (ten bins)" if found.answers >= FEWEST_FOR_ECE else ""
    said.append(f"Brier score{ece} and the area under the risk-coverage curve are given.")
    return said
