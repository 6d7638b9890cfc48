"""A local NLI cross-encoder in (transformers, sequence classification over premise and claim), a judge out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from residency.errors import UserError
from residency.evaluate.claims.claim import Claim, Label

BATCH = 16
_STEMS: dict[str, Label] = {"entail": "entailed", "contradict": "contradicted", "neutral": "neutral"}


@dataclass(frozen=True)
class Encoder:
    """A loaded cross-encoder; `labels` maps the places of its output to ours."""

    name: str
    model: Any
    tokenizer: Any
    labels: dict[int, Label]
    longest: int

    def judge(self, reference: Sequence[Claim], asked: Sequence[Claim]) -> list[Label | None]:
        """Return a label for each claim; a pair too long for the model is a failure, not a cut one."""
        import torch

        premise = " ".join(f"{claim.text.rstrip('. ')}." for claim in reference)
        found: list[Label | None] = []
        for start in range(0, len(asked), BATCH):
            texts = [claim.text for claim in asked[start : start + BATCH]]
            lengths = [len(ids) for ids in self.tokenizer([premise] * len(texts), texts)["input_ids"]]
            batch = self.tokenizer(
                [premise] * len(texts), texts, padding=True, truncation=True, max_length=self.longest,
                return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode():
                best = self.model(**batch.to(self.model.device)).logits.argmax(dim=1).tolist()
            found += [self.labels[b] if n <= self.longest else None for b, n in zip(best, lengths, strict=True)]
        return found


def open_encoder(name: str) -> Encoder:
    """Load a cross-encoder by folder or hub name.

    Raises:
        UserError: it cannot be loaded, or its labels are not entailment, contradiction and neutral.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model = AutoModelForSequenceClassification.from_pretrained(name, use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(f"the judge {name} cannot be loaded", found=str(error).splitlines()[0]) from None
    told = {int(place): str(label) for place, label in model.config.id2label.items()}
    labels = {p: ours for p, label in told.items() for stem, ours in _STEMS.items() if stem in label.casefold()}
    if sorted(labels.values()) != sorted(_STEMS.values()):
        allowed = "a model of entailment, neutral and contradiction"
        raise UserError(f"{name} is no judge of claims", found=list(told.values()), allowed=allowed)
    longest = int(min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(name, model.to(device), tokenizer, labels, longest)
