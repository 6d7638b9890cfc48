"""Soft prompts: a model in, the same model with learned vectors that its prompts may begin with, out.

Prompt tuning (Lester 2021, arXiv 2104.08691) in PEFT's own files and model. PEFT puts its vectors before whatever is
embedded, which shared and packed rows cannot follow; here they have ids of their own behind the vocabulary, so that
every family writes them into its prompts (`Loaded.soft_ids`) and embeds them like words.
"""

from typing import Any

import torch
from peft import PeftModel, PromptTuningConfig

from residency.models.family import Loaded, first_soft_id


def add_soft_prompt(loaded: Loaded, tokens: int) -> None:
    """Wrap the model with `tokens` vectors, each begun at the embedding of a word drawn at random."""
    core = loaded.core
    words = core.get_input_embeddings()
    text = core.config.get_text_config()
    config = PromptTuningConfig(
        num_virtual_tokens=tokens,
        token_dim=words.embedding_dim,
        num_layers=text.num_hidden_layers,
        num_attention_heads=text.num_attention_heads,
        num_transformer_submodules=1,
    )
    drawn_T = torch.randint(0, words.num_embeddings, (tokens,), device=loaded.device)
    with torch.no_grad():
        begun_TD = words(drawn_T).float()
    loaded.model = PeftModel(core, config)
    with torch.no_grad():
        learned_of(loaded).weight.copy_(begun_TD)
    embed_soft_ids(loaded)


def embed_soft_ids(loaded: Loaded) -> None:
    """Let the model's word embeddings turn ids behind the vocabulary into the learned vectors."""
    words, learned, first = loaded.core.get_input_embeddings(), learned_of(loaded), first_soft_id(loaded.core)
    embed_words = words.forward

    def embed(ids: torch.Tensor) -> torch.Tensor:
        soft = ids >= first
        said = embed_words(ids.masked_fill(soft, 0))
        return torch.where(soft.unsqueeze(-1), learned((ids - first).clamp(min=0)).to(said.dtype), said)

    words.forward = embed


def learned_of(loaded: Loaded) -> Any:
    """Return the table of learned vectors (tokens, D)."""
    return loaded.model.prompt_encoder["default"].embedding
