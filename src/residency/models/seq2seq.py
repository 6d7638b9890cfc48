"""An encoder-decoder's decoder as packed rows are read: one row a prompt, behind the encoder's states of that prompt.

What is said to a prompt are twigs and branches of one row (see packed.py), so the keys and values of its image and
words are made once, whatever is scored or generated.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from residency.models.decoder import Decoder
from residency.models.packed import Packed, Places, allow_attention, pack_sequences, to_bias


@dataclass(frozen=True, kw_only=True)
class CrossDecoder(Decoder):
    """BART's decoder over the encoder's states (B, S, D) of B prompts and their mask."""

    states_BSD: torch.Tensor
    mask_BS: torch.Tensor

    def read(
        self, core: Any, embeds_GLD: torch.Tensor, queries: Places, keys: Places, cache: Any = None
    ) -> torch.Tensor:
        """Return states (B, L, D).

        BART counts positions by column; the difference to where a token stands is put into its embedding.
        """
        decoder = core.model.language_model.decoder
        past = cache.get_seq_length() if cache is not None else 0
        column_L = torch.arange(past, past + embeds_GLD.shape[1], device=embeds_GLD.device)
        place = decoder.embed_positions
        told_GLD = place(None, position_ids=queries.position_GL)[0] - place(None, position_ids=column_L)
        hidden_GLD: torch.Tensor = decoder(
            inputs_embeds=embeds_GLD + told_GLD,
            attention_mask=to_bias(allow_attention(queries, keys), embeds_GLD.dtype),
            encoder_hidden_states=self.states_BSD,
            encoder_attention_mask=self.mask_BS,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return hidden_GLD

    def begin(self, core: Any) -> tuple[Packed, torch.Tensor, EncoderDecoderCache]:
        """Return rows that hold the start token alone, its states (B, 1, D), and the cache that read it."""
        start, rows = core.config.text_config.decoder_start_token_id, range(len(self.states_BSD))
        packed = pack_sequences([[start]] * len(rows), [1] * len(rows), rows, self.states_BSD.device)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        embeds_B1D = core.get_input_embeddings()(packed.ids_GL)
        return packed, self.read(core, embeds_B1D, packed.places, packed.places, cache), cache


def cross_decoder(core: Any, states_BSD: torch.Tensor, mask_BS: torch.Tensor) -> CrossDecoder:
    """Return the decoder behind B prompts; its rows stay within the columns that BART has positions for."""
    longest = int(core.config.text_config.max_position_embeddings)
    columns = min(Decoder.columns, longest - 1)
    return CrossDecoder(columns=columns, longest=longest, states_BSD=states_BSD, mask_BS=mask_BS)
