"""A dataset of free texts, a probe of it and a language model in; the texts without what the model cannot know out."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from os.path import relpath
from pathlib import Path
from zlib import crc32

import numpy as np

from residency.data.dataset import hash_dataset, load_dataset
from residency.evaluate.claims.atoms import split_claims
from residency.files import sha256_file
from residency.judges.server import Speaker
from residency.knowledge.adapt import Adapted, Cut, What, require_new, write_adapted
from residency.knowledge.freetext import Shortened, shorten_texts
from residency.knowledge.trials import Trial, find_unknown, read_probe, tabulate_trials
from residency.types import Sample


def adapt_text(
    data: Path,
    probe_folder: Path,
    out: Path,
    speaker: Speaker,
    *,
    threshold: float,
    what: What = "unknown",
    seed: int = 0,
    say: Callable[[str], None],
) -> Adapted:
    """Write the adapted dataset to a new folder. A text that could not be shortened stays its own, and is counted.

    Raises:
        UserError: `out` exists, or there is no probe of this dataset.
    """
    dataset = load_dataset(data)
    probe, trials = read_probe(probe_folder, hash_dataset(data))
    require_new(out)
    of_sample: dict[str, list[Trial]] = {}
    for trial in trials:
        of_sample.setdefault(trial.sample, []).append(trial)
    probed = [sample for sample in dataset.samples if sample.id in of_sample]
    lost = {sample.id: _choose(sample, of_sample[sample.id], threshold, what, seed) for sample in probed}
    shown = sum(bool(questions) for questions in lost.values())
    say(f"to {speaker.place}: {shown} texts and the questions whose answers are to go; no image")
    asked = [(sample.suffix or "", [(t.asked, t.reference) for t in lost[sample.id]]) for sample in probed]
    shortened = dict(zip((sample.id for sample in probed), shorten_texts(speaker, asked), strict=True))
    made = [_take(sample, shortened.get(sample.id)) for sample in dataset.samples]
    cuts = [cut for s in probed if not shortened[s.id].failed for cut in _tell_cuts(s, lost[s.id], what)]
    before, after = [s.suffix or "" for s in probed], [shortened[s.id].text or "" for s in probed]
    adapted = Adapted(
        parent=relpath(data, out), parent_sha256=hash_dataset(data), probe=relpath(probe_folder, out),
        probe_sha256=sha256_file(probe_folder / "probe.jsonl"), model=probe.asked.model, what=what, form="free",
        threshold=threshold, texts=len(probed), emptied=sum(one.text is None for one in shortened.values()),
        claims_before=sum(len(split_claims(text)) for text in before),
        claims_after=sum(len(split_claims(text)) for text in after),
        words_before=sum(len(text.split()) for text in before), words_after=sum(len(text.split()) for text in after),
        cut_by_question=dict(sorted(Counter(cut.question for cut in cuts).items())),
        questions=tabulate_trials(trials, threshold), rewriter=speaker.name,
        not_shortened=tuple(id for id, one in shortened.items() if one.failed),
    )  # fmt: skip
    write_adapted(replace(dataset, samples=tuple(sample for sample in made if sample)), out, cuts, adapted)
    return adapted


def _choose(sample: Sample, trials: Sequence[Trial], threshold: float, what: What, seed: int) -> list[Trial]:
    """Return the questions whose answers are to go: the unknown ones, as many at random, or none."""
    unknown = find_unknown(trials, threshold).get(sample.id, frozenset())
    if what == "unknown":
        return [trial for trial in trials if unknown & set(trial.verdicts)]
    rng = np.random.default_rng([seed, crc32(sample.id.encode())])
    drawn = rng.permutation(len(trials))[: len(unknown) if what == "random" else 0]
    return [trials[int(place)] for place in sorted(drawn)]


def _take(sample: Sample, shortened: Shortened | None) -> Sample | None:
    """Return a sample with its shortened text (None: nothing is left of it); one that was not cut is as it was."""
    if shortened is None or shortened.text == sample.suffix:
        return sample
    if shortened.text is None:
        return None
    answer = sample.answer and shortened.text
    return sample.model_copy(update={"suffix": shortened.text, "answer": answer, "parts": {}})


def _tell_cuts(sample: Sample, trials: Sequence[Trial], what: What) -> list[Cut]:
    cuts = []
    for trial in trials:
        ((key, verdicts),) = trial.verdicts.items()
        judged = [verdict for verdict in verdicts if verdict is not None]
        cuts.append(
            Cut(
                sample=sample.id, image=sample.image, group=sample.group, question=trial.question, key=key,
                claim=f"{trial.asked} {trial.reference}", because="random" if what == "random" else "unknown",
                wrong=judged.count("wrong"), judged=len(judged),
            )
        )  # fmt: skip
    return cuts
