"""Run a model's decoder over packed rows: token ids, regions and places in, states and logits out.

An image's places hold negative codes among the token ids: -1 is the model's learned line break (LLaVA-NeXT), -2 - k
the image's region k. So a prompt says by itself which regions it reads, and one that lost some cannot go unnoticed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from residency.losses import IGNORED
from residency.models.packed import PADDING, Packed, Places, allow_attention, to_bias
from residency.models.sampling import Choose, Sampling, choose_likeliest
from residency.models.twigs import lay_twigs

LINE_BREAK, FIRST_REGION = -1, -2
SCORED_AT_ONCE = 1024
"""How many positions get logits over the vocabulary at a time where candidates are scored."""


@dataclass(frozen=True)
class Decoder:
    """How a decoder reads rows: what its first position is called, whether the trunk is seen whole (prefix-LM),
    about how many tokens of candidates a row reads in one pass, and the most columns that a row may have."""

    first_position: int = 0
    whole_trunk: bool = False
    columns: int = 512
    longest: int | None = None

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

    def go_on(
        self,
        core: Any,
        packed: Packed,
        hidden_GLD: torch.Tensor,
        lengths_B: torch.Tensor,
        cache: Any,
        ends: torch.Tensor,
        max_new_tokens: int,
        *,
        forced: int | None = None,
        sampling: Sampling | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next tokens (N, T), -100 behind an end token, and their log-likelihoods.

        N is B, or with `sampling` B x count, a sequence's answers one behind another. All of a row's branches, and all
        answers to each, go on side by side over the one cache that read the prompts, of `lengths_B` tokens; answers in
        several passes where a row would grow too long. `forced` is said first, where the checkpoint wants it.
        """
        B, count = len(lengths_B), sampling.count if sampling else 1
        whole = int(packed.branch_B.max()) * max_new_tokens
        step = count if self.longest is None else max(1, (self.longest - packed.ids_GL.shape[1]) // whole)
        tokens, logs, read = [], [], cache.get_seq_length()
        for first in range(0, count, step):
            last = min(first + step, count)
            choose = sampling.chooser(max_new_tokens, first, last) if sampling else choose_likeliest
            if first:  # nothing of what an earlier pass said
                cache.crop(read - cache.get_seq_length())
            token_NT, log_NT = self._go_on_once(
                core, packed, hidden_GLD, lengths_B, cache, ends, max_new_tokens, forced, choose, last - first
            )
            tokens.append(token_NT.view(B, last - first, -1))
            logs.append(log_NT.view(B, last - first, -1))
        return join_answers(tokens, IGNORED), join_answers(logs, 0.0)

    def _go_on_once(
        self,
        core: Any,
        packed: Packed,
        hidden_GLD: torch.Tensor,
        lengths_B: torch.Tensor,
        cache: Any,
        ends: torch.Tensor,
        max_new_tokens: int,
        forced: int | None,
        choose: Choose,
        count: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Say `count` answers to each sequence: twigs on its branch, which see the branch and themselves alone.

        What has come to its end takes no column any more.
        """
        B, places = len(lengths_B), packed.places
        at_B = packed.column_BP.gather(1, lengths_B.unsqueeze(1) - 1).squeeze(1)
        row_N, branch_N, length_N = (x.repeat_interleave(count) for x in (packed.row_B, packed.branch_B, lengths_B))
        twig_N = (branch_N - 1) * count + torch.arange(count, device=row_N.device).repeat(B) + 1
        state_ND = hidden_GLD[packed.row_B, at_B].repeat_interleave(count, 0)
        going = torch.arange(len(row_N), device=row_N.device)
        tokens, logs = [], []
        for step in range(max_new_tokens):
            logits = project_states(core, state_ND).float()
            token = choose(step, logits, going) if step or forced is None else torch.full_like(going, forced)
            log = logits.gather(1, token.unsqueeze(1)).squeeze(1) - logits.logsumexp(-1)
            tokens.append(torch.full_like(row_N, IGNORED).index_copy(0, going, token))
            logs.append(log.new_zeros(len(row_N)).index_copy(0, going, log))
            left = ~torch.isin(token, ends)
            if step + 1 == max_new_tokens or not bool(left.any()):
                break
            going, token = going[left], token[left]
            row, column = row_N[going], count_columns(row_N[going])
            shape = len(packed.ids_GL), int(column.max()) + 1
            ids_GQ, position_GQ, twig_GQ = (row_N.new_zeros(shape) for _ in range(3))
            branch_GQ = row_N.new_full(shape, PADDING)
            ids_GQ[row, column], position_GQ[row, column] = token, length_N[going] + step
            branch_GQ[row, column], twig_GQ[row, column] = branch_N[going], twig_N[going]
            new = Places(branch_GQ, position_GQ, twig_GQ, twig_GQ + 1)
            places = places.join(new)
            state_ND = self.read(core, core.get_input_embeddings()(ids_GQ), new, places, cache)[row, column]
        return torch.stack(tokens, 1), torch.stack(logs, 1)

    def weigh(
        self,
        core: Any,
        packed: Packed,
        hidden_GLD: torch.Tensor,
        lengths: Sequence[int],
        cache: Any,
        offered: Sequence[Sequence[Sequence[int]]],
    ) -> list[torch.Tensor]:
        """Return the log-likelihoods (K,) in nats of the answers offered to each sequence.

        All are read behind the one cache that read the prompts, of `lengths` tokens; it is left as it was.
        """
        owners = [b for b, answers in enumerate(offered) for _ in answers]
        twigs = [answer for answers in offered for answer in answers]
        ends_B = torch.tensor(lengths, device=hidden_GLD.device).unsqueeze(1) - 1
        state_BD = hidden_GLD[packed.row_B, packed.column_BP.gather(1, ends_B).squeeze(1)]
        log_BV = project_states(core, state_BD).float().log_softmax(-1)
        told_C = log_BV[owners, [answer[0] for answer in twigs]]
        for laid in lay_twigs(packed, twigs, owners, lengths, self.columns):
            embeds_GQD = core.get_input_embeddings()(laid.ids_GQ)
            hidden_GQD = self.read(core, embeds_GQD, laid.places, packed.places.join(laid.places), cache)
            log_N = score_tokens(core, hidden_GQD[laid.row_N, laid.column_N], laid.next_N)
            told_C = told_C.index_add(0, laid.twig_M, log_N[laid.step_M])
            cache.crop(-laid.ids_GQ.shape[1])
        return list(torch.split(told_C, [len(answers) for answers in offered]))

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


def score_tokens(core: Any, states_ND: torch.Tensor, token_N: torch.Tensor) -> torch.Tensor:
    """Return each token's log-likelihood (N,) in nats, given the state before it; a part of the positions at a time."""
    told = []
    for n in range(0, len(token_N), SCORED_AT_ONCE):
        log_SV = project_states(core, states_ND[n : n + SCORED_AT_ONCE]).float().log_softmax(-1)
        told.append(log_SV.gather(1, token_N[n : n + SCORED_AT_ONCE].unsqueeze(1)).squeeze(1))
    return torch.cat(told)


def count_columns(row_N: torch.Tensor) -> torch.Tensor:
    """Return the column (N,) of each sequence in its row: how many stand before it there."""
    seen_NG = nn.functional.one_hot(row_N).cumsum(0)
    return seen_NG.gather(1, row_N.unsqueeze(1)).squeeze(1) - 1


def join_answers(parts: Sequence[torch.Tensor], padding: float) -> torch.Tensor:
    """Return the answers (B, k, T) of several passes as one table (B x all, longest)."""
    longest = max(part.shape[-1] for part in parts)
    padded = [nn.functional.pad(part, (0, longest - part.shape[-1]), value=padding) for part in parts]
    return torch.cat(padded, 1).flatten(0, 1)
