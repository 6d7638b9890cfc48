"""Hierarchical contrastive learning: a batch's samples and regions in, a summed loss for each level out (methods.md).

Which pairs are right is read from the answers, not from the place in the batch: a text is true of every image with
the same canonical answers, false of one with another answer, and says nothing of one that was not asked. So equal
answers are positives, and pairs of which nothing is known are left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from residency.config import Contrastive, Train
from residency.data.facts import MISSING, Facts
from residency.losses import Summed, class_loss, match_loss, region_scores
from residency.models.family import Batch
from residency.models.registry import Opened
from residency.types import Sample

STATE = "contrastive.safetensors"


@dataclass(frozen=True)
class Views:
    """What the levels compare, over M images: regions and their pooling, K answers and whose they are, M reports.

    `seen_MW` are all facts of an image, `told_MW` those that its report tells; -1 fills.
    """

    regions_MND: torch.Tensor
    pooled_MD: torch.Tensor
    answers_KD: torch.Tensor | None
    member_MK: torch.Tensor
    reports_MD: torch.Tensor | None
    seen_MW: torch.Tensor
    told_MW: torch.Tensor


class ContrastiveHeads(nn.Module):
    """Projections, trained beside the model and left behind when it ships, and queues of earlier projections.

    A queue (cross-batch memory, Wang 2020, arXiv 1912.06798) holds them detached, newest first, each with its facts;
    an empty place has no facts and is compared with nothing. The class level has one projection, masked by question
    (Veit 2017, arXiv 1603.07810): images alike in plane need not be alike in quality. All is computed in fp32.
    """

    question_of_F: torch.Tensor

    def __init__(self, settings: Contrastive, facts: Facts, width: int, seed: int) -> None:
        super().__init__()
        self.settings = settings
        levels = {"image": ("image", "report"), "region": ("region", "answer"), "classes": ("classes",)}
        self.levels = {level: names for level, names in levels.items() if getattr(settings, level)}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.projections = nn.ModuleDict(
                {name: nn.Linear(width, settings.dim) for names in self.levels.values() for name in names}
            )
        self.mask_QE = nn.Parameter(torch.ones(len(facts.questions), settings.dim), requires_grad=settings.classes)
        self.register_buffer("question_of_F", torch.from_numpy(facts.question_of), persistent=False)
        for name in (name for level, names in self.levels.items() if level != "region" for name in names):
            self.register_buffer(f"{name}_queue", torch.zeros(settings.queue, settings.dim))
            self.register_buffer(f"{name}_facts", torch.full((settings.queue, facts.width), MISSING))

    def forward(self, views: Views) -> dict[str, Summed]:
        """Return the loss of each level that is on, by name."""
        matchers = {"image": self._match_images, "region": self._match_regions, "classes": self._match_classes}
        with torch.autocast(views.regions_MND.device.type, enabled=False):
            return {level: matchers[level](views) for level in self.levels}

    @torch.no_grad()
    def remember(self, views: Views) -> None:
        """Put a batch's projections at the head of the queues."""
        for name, facts_MW in (("image", views.seen_MW), ("report", views.told_MW), ("classes", views.seen_MW)):
            if hasattr(self, f"{name}_queue"):
                with torch.autocast(views.regions_MND.device.type, enabled=False):
                    kept_CE, kept_CW = self._recall(name, self._project(name, views), facts_MW)
                setattr(self, f"{name}_queue", kept_CE[: self.settings.queue].detach().clone())
                setattr(self, f"{name}_facts", kept_CW[: self.settings.queue].clone())

    def _match_images(self, views: Views) -> Summed:
        """Compare images with their answers, both ways (CLIP, Radford 2021, arXiv 2103.00020), the queues' too."""
        image_ME, report_ME = self._project("image", views), self._project("report", views)
        images_CE, seen_CW = self._recall("image", image_ME, views.seen_MW)
        reports_CE, told_CW = self._recall("report", report_ME, views.told_MW)
        by_report = match_loss(
            self._compare(report_ME, images_CE), *match_facts(views.told_MW, seen_CW, self.question_of_F)
        )
        right_CM, known_CM = match_facts(told_CW, views.seen_MW, self.question_of_F)
        return _both(match_loss(self._compare(image_ME, reports_CE), right_CM.T, known_CM.T), by_report)

    def _match_regions(self, views: Views) -> Summed:
        """Compare answers with the regions they attend to, both ways; no queue holds regions."""
        regions_MNE, answers_KE = (
            nn.functional.normalize(self._project(name, views), dim=-1) for name in self.levels["region"]
        )
        scores_TM = region_scores(answers_KE, regions_MNE, views.member_MK)
        right_TM, known_TM = match_facts(views.told_MW, views.seen_MW, self.question_of_F)
        return _both(match_loss(scores_TM, right_TM, known_TM), match_loss(scores_TM.T, right_TM.T, known_TM.T))

    def _match_classes(self, views: Views) -> Summed:
        """Compare images by question: those with one answer (or category) are alike, those with another are not."""
        images_CE, facts_CW = self._recall("classes", self._project("classes", views), views.seen_MW)
        image_I, place_I = (facts_CW != MISSING).nonzero(as_tuple=True)
        fact_I = facts_CW[image_I, place_I]
        question_I = self.question_of_F[fact_I]
        items_IE = images_CE[image_I] * self.mask_QE[question_I]
        A = int((image_I < len(views.seen_MW)).sum())  # the batch's own come first; they are the anchors
        compared_AI = (question_I[:A, None] == question_I) & (image_I[:A, None] != image_I)
        right_AI = compared_AI & (fact_I[:A, None] == fact_I)
        return class_loss(self._compare(items_IE[:A], items_IE), right_AI, compared_AI)

    def _project(self, name: str, views: Views) -> torch.Tensor:
        source = {"report": views.reports_MD, "answer": views.answers_KD, "region": views.regions_MND}
        states = source.get(name, views.pooled_MD)
        assert states is not None
        projected: torch.Tensor = self.projections[name](states.float())
        return projected

    def _recall(self, name: str, own_ME: torch.Tensor, facts_MW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the batch's projections and facts, followed by the queue's."""
        queue = getattr(self, f"{name}_queue"), getattr(self, f"{name}_facts")
        return torch.cat([own_ME, queue[0]]), torch.cat([facts_MW, queue[1]])

    def _compare(self, some_AE: torch.Tensor, others_CE: torch.Tensor) -> torch.Tensor:
        """Return cosines over the temperature."""
        normalize = nn.functional.normalize
        return normalize(some_AE, dim=-1) @ normalize(others_CE, dim=-1).T / self.settings.temperature


def match_facts(
    told_TW: torch.Tensor, seen_MW: torch.Tensor, question_of_F: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which of T texts are true of which of M images, and of which pairs that is known, both (T, M).

    True: every fact told was seen in the image. Known: true, or an image's other answer to a question contradicts it.
    """
    asked_T1W = (told_TW != MISSING).unsqueeze(1)
    told_T1W1, seen_1M1W = told_TW[:, None, :, None], seen_MW[None, :, None, :]
    agreed_TMW = (told_T1W1 == seen_1M1W).any(-1) & asked_T1W
    same = (question_of_F[told_T1W1] == question_of_F[seen_1M1W]) & (seen_1M1W != MISSING)
    denied_TM = (same.any(-1) & asked_T1W & ~agreed_TMW).any(-1)
    right_TM = (agreed_TMW | ~asked_T1W).all(-1) & asked_T1W.any(-1)
    return right_TM, right_TM | denied_TM


def _both(one: Summed, other: Summed) -> Summed:
    return Summed(one.total + other.total, one.count + other.count)


class Contrast:
    """The contrastive loss of one run: heads beside the model, facts of its training samples."""

    def __init__(self, settings: Contrastive, opened: Opened, samples: Sequence[Sample], seed: int) -> None:
        self.settings, self.opened, self.facts = settings, opened, Facts(samples)
        width = opened.loaded.core.get_input_embeddings().weight.shape[1]
        self.heads = ContrastiveHeads(settings, self.facts, width, seed).to(opened.loaded.device)

    def losses(self, samples: Sequence[Sample], regions_MND: torch.Tensor, image_BD: torch.Tensor) -> dict[str, Summed]:
        """Return each level's loss over a batch, and keep its projections for the next.

        `regions_MND` are those of the samples' different images, in order of first use; `image_BD` each sample's.
        """
        views = self.view(samples, regions_MND, image_BD)
        losses = self.heads(views)
        self.heads.remember(views)
        return losses

    def view(self, samples: Sequence[Sample], regions_MND: torch.Tensor, image_BD: torch.Tensor) -> Views:
        """Embed a batch's answers, and put beside each image what is known of it."""
        rows_of: dict[str, list[int]] = {}
        for row, sample in enumerate(samples):
            rows_of.setdefault(sample.image, []).append(row)
        groups = [[samples[row] for row in rows] for rows in rows_of.values()]
        facts, device = self.facts, regions_MND.device
        answers = sorted({facts.words_of(sample) for sample in samples})
        words = [{facts.words_of(sample) for sample in group} for group in groups]
        told = [sorted({facts.fact_of(sample) for sample in group}) for group in groups]
        return Views(
            regions_MND=regions_MND,
            pooled_MD=image_BD[[rows[0] for rows in rows_of.values()]],
            answers_KD=self._embed(answers) if self.settings.region else None,
            member_MK=torch.tensor([[answer in own for answer in answers] for own in words], device=device),
            reports_MD=self._embed(map(facts.report_of, groups)) if self.settings.image else None,
            seen_MW=torch.from_numpy(facts.pad([facts.of_image[image] for image in rows_of])).to(device),
            told_MW=torch.from_numpy(facts.pad(told)).to(device),
        )

    def save(self, folder: Path) -> None:
        """Write projections and queues to a checkpoint."""
        save_file(self.heads.state_dict(), str(folder / STATE))

    def load(self, folder: Path) -> None:
        """Read projections and queues from a checkpoint."""
        self.heads.load_state_dict(load_file(str(folder / STATE), device=str(self.opened.loaded.device)))

    def _embed(self, texts: Iterable[str]) -> torch.Tensor:
        return self.opened.family.embed_text(self.opened.loaded, list(texts))[1]


def find_contrast_faults(opened: Opened, settings: Train, samples: Sequence[Sample], batch: Batch) -> list[str]:
    """Say what would make the contrastive loss wrong or idle on these training samples, and what to do about it.

    `batch` is any encoded batch of theirs, to see whether what trains lies before what is compared.
    """
    assert settings.contrastive is not None
    levels, faults = settings.contrastive, []
    if settings.accumulate > 1:
        whole = settings.batch_size * settings.accumulate
        faults.append(
            f"train.accumulate is {settings.accumulate}, but negatives must come from the whole batch: "
            f"set train.accumulate: 1 and train.batch_size: {whole}, or train.contrastive: null"
        )
    per_image = min(settings.questions_per_image, settings.batch_size)
    if settings.batch_size < 2 * per_image:
        faults.append(
            f"a batch of {settings.batch_size} samples with {per_image} questions an image shows one image, which has "
            f"nothing to be told from: set train.batch_size: {2 * per_image} or more, or fewer questions_per_image"
        )
    faults += _find_idle_levels(levels, Facts(samples))
    faults += _find_overlong_reports(opened, samples) if levels.image else []
    seen = opened.family.see(opened.loaded, batch.pixels_MCHW)
    told = opened.family.embed_text(opened.loaded, ["image"])[0] if levels.image or levels.region else seen
    if not (seen.requires_grad or told.requires_grad):
        faults.append("it moves no weight that trains: name vision, projector or language in tune")
    return faults


def _find_idle_levels(levels: Contrastive, facts: Facts) -> list[str]:
    """Name levels that have nothing to tell apart, or nothing to bring together."""
    faults = []
    tally = facts.tally()
    answers_by_question = np.bincount(facts.question_of)
    if (levels.image or levels.region) and answers_by_question[1:].max() < 2:
        faults.append("every image has the same answers: set train.contrastive.image and .region: false")
    if levels.classes and max(tally.values()) < 2:
        faults.append("no two images share an answer or a category: set train.contrastive.classes: false")
    return faults


def _find_overlong_reports(opened: Opened, samples: Sequence[Sample]) -> list[str]:
    """Name the image whose answers, said together, the model cannot read."""
    facts = Facts(samples)
    by_image: dict[str, list[Sample]] = {}
    for sample in samples:
        by_image.setdefault(sample.image, []).append(sample)
    reports = [
        group[0].model_copy(update={"prefix": "", "suffix": facts.report_of(group)}) for group in by_image.values()
    ]
    overlong = opened.family.find_overlong(opened.loaded, reports)
    if not overlong:
        return []
    return [f"{overlong[0].message}: ask fewer questions at a time, or set train.contrastive.image: false"]
