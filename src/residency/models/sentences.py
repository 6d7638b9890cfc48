"""Texts in, one vector each out: a sentence encoder of transformers, mean over its words."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from residency.errors import UserError
from residency.models.teacher import UNREADABLE
from residency.progress import track

BATCH = 32


@dataclass(frozen=True)
class TextEncoder:
    """What turns texts into vectors (N, D) of length 1: its name, the SHA-256 of its weights, and the function."""

    name: str
    sha256: str
    embed: Callable[[Sequence[str]], NDArray[np.float32]]


def open_text_encoder(name: str) -> TextEncoder:
    """Load a sentence encoder by folder or hub name (BERT and its kin: MiniLM, BGE, PubMedBERT ...).

    Texts longer than it reads are cut. Raises:
        UserError: it cannot be read, or gives no states of words.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        model: Any = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(name)
    except UNREADABLE as error:
        do = "name a folder with config.json, safetensors weights and a tokenizer; or leave --words out: BM25"
        raise UserError(f"the text encoder {name} cannot be read", found=_first_line(error), do=do) from error
    digest = hashlib.sha256()
    for key, weight in sorted(model.state_dict().items()):
        digest.update(key.encode() + weight.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    longest = int(min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512)))
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        made = []
        for first in track(range(0, len(texts), BATCH), f"texts seen by {name}"):
            some = list(texts[first : first + BATCH])
            batch = tokenizer(some, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            batch = batch.to(model.device)
            states_BTD = model(**batch).last_hidden_state.float()
            mask_BT1 = batch["attention_mask"].unsqueeze(-1)
            mean_BD = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)
            made.append(torch.nn.functional.normalize(mean_BD, dim=-1).cpu().numpy())
        return np.concatenate(made) if made else np.zeros((0, int(model.config.hidden_size)), np.float32)

    return TextEncoder(name, digest.hexdigest(), embed)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
