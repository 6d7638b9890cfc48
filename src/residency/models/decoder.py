"""Run a model's decoder over packed rows: token ids, regions and places in, states and logits out.

An image's places hold negative codes among the token ids: -1 is the model's learned line break (LLaVA-NeXT), -2 - k
the image's region k. So a prompt says by itself which regions it reads, and one that lost some cannot go unnoticed.
"""

from dataclasses import dataclass
from typing import Any

import torch

from residency.models.packed import Places, allow_attention, to_bias

LINE_BREAK, FIRST_REGION = -1, -2


@dataclass(frozen=True)
class Decoder:
    """How a decoder reads rows: what its first position is called, and whether the trunk is seen whole (prefix-LM)."""

    first_position: int = 0
    whole_trunk: bool = False

    def read(
        self, core: Any, embeds_GLD: torch.Tensor, queries: Places, keys: Places, cache: Any = None
    ) -> torch.Tensor:
        """Return states (G, L, D); with a cache, `keys` are the places of all that it holds and the queries'."""
        states_GLD: torch.Tensor = core.model.language_model(
            inputs_embeds=embeds_GLD,
            attention_mask=self._masks(core.config.text_config, queries, keys, embeds_GLD.dtype),
            position_ids=queries.position_GL + self.first_position,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states_GLD

    def _masks(self, config: Any, queries: Places, keys: Places, dtype: torch.dtype) -> Any:
        """Return the mask to add to attention scores, by kind of layer where some have a sliding window (Gemma 2)."""

        def mask(window: int | None) -> torch.Tensor:
            return to_bias(allow_attention(queries, keys, whole_trunk=self.whole_trunk, window=window), dtype)

        kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
        if not kinds:
            return mask(window)  # one kind: all its layers have the window, if there is one (Mistral)
        if "sliding_attention" not in kinds:
            return mask(None)
        return {"full_attention": mask(None), "sliding_attention": mask(window)}


def embed_rows(core: Any, ids_GL: torch.Tensor, regions_GND: torch.Tensor) -> torch.Tensor:
    """Return embeddings (G, L, D): words, and at the codes' places regions and line breaks."""
    words_GLD = core.get_input_embeddings()(ids_GL.clamp(min=0))
    index_GL1 = (FIRST_REGION - ids_GL).clamp(min=0).unsqueeze(-1)
    seen_GLD = regions_GND.to(words_GLD.dtype).gather(1, index_GL1.expand(-1, -1, words_GLD.shape[-1]))
    embeds_GLD = torch.where((ids_GL <= FIRST_REGION).unsqueeze(-1), seen_GLD, words_GLD)
    if not hasattr(core.model, "image_newline"):
        return embeds_GLD
    return torch.where((ids_GL == LINE_BREAK).unsqueeze(-1), core.model.image_newline.to(words_GLD.dtype), embeds_GLD)


def project_states(core: Any, states: torch.Tensor) -> torch.Tensor:
    """Return logits over the vocabulary, capped where the model caps them (Gemma 2)."""
    logits: torch.Tensor = core.lm_head(states)
    cap = getattr(core.config.text_config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap
