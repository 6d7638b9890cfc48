"""The chat family: an image and a question in, an answer out, by any model with a chat template that transformers has.

That is every architecture of transformers' image-text-to-text auto class whose `forward` takes images that were seen
before (`mm_encoder_outputs`). Only what a checkpoint itself says is used: its template, its processor, its modules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from residency.config import Part
from residency.errors import UserError
from residency.losses import IGNORED
from residency.models.answers import read_generated
from residency.models.chat_decode import Read, likelihoods, pad_ids, say_answers, score_behind, share_beginnings
from residency.models.chat_parts import PLACES, find_parts, find_targets
from residency.models.chat_reader import accepted_by, load_reader
from residency.models.chat_regions import join_depths, split_depths
from residency.models.chat_turns import NO_SHOT, images_by_sample, list_images, turns_of
from residency.models.family import Answered, Batch, Images, Loaded, ModelSpec, Output, Prefix, read_images
from residency.models.packed import pad_rows
from residency.models.sampling import Sampling, choose_likeliest
from residency.models.weights import load_weights
from residency.types import Problem, Sample

SHARED = ("qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm", "gemma3")
"""Model types for which a test holds that candidates scored behind one reading of the prompt score as each alone."""
SHARED_IMAGE = ("qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm")
"""Model types for which a test holds that questions behind one reading of their image are answered as each alone; in
Gemma 3's windows padding between image and question would count."""
SCORED_ROWS = 64
"""The most candidates that are scored at a time."""


class Chat:
    """One architecture's chat models. Its parts and LoRA targets are read from the module names of its skeleton."""

    name = "chat"
    image_prefix: Prefix
    several_images = True
    looks: tuple[Part, ...] = ("vision", "projector")

    def __init__(self, config: Any) -> None:
        with torch.device("meta"):
            skeleton = AutoModelForImageTextToText.from_config(config)
        self.accepted = accepted_by(skeleton.forward)
        self.parts: Mapping[Part, str] = find_parts(skeleton)
        lacks = [f"a {part} module of a known name" for part in PLACES if part not in self.parts]
        lacks += [] if "mm_encoder_outputs" in self.accepted else ["images seen before in its forward"]
        lacks += [] if hasattr(config, "image_token_id") else ["an image token"]
        if lacks:
            raise UserError(
                f"family chat does not cover {config.model_type}: it lacks {', '.join(lacks)}",
                allowed=f"{', '.join(SHARED)}, and others built like them",
            )
        self.lora_targets: Mapping[Part, tuple[str, ...]] = {
            part: find_targets(skeleton, self.parts, part) for part in self.parts
        }
        self.seen_by = accepted_by(skeleton.get_image_features)
        self.depth = len(getattr(config.vision_config, "deepstack_visual_indexes", None) or ())
        self.shares = config.model_type in SHARED
        self.image_prefix = "answering" if config.model_type in SHARED_IMAGE else "separate"

    def load(self, spec: ModelSpec) -> Loaded:
        """Read weights (safetensors) and processor.

        Raises:
            UserError: the checkpoint has no chat template or lacks weights, or cannot read the image side asked for.
        """
        reader = load_reader(spec.source, spec.image_size, self.seen_by)
        return Loaded(spec, load_weights(AutoModelForImageTextToText, spec, self.parts), reader)

    def encode(
        self, loaded: Loaded, samples: Sequence[Sample], *, with_answers: bool, images: Images | None = None
    ) -> Batch:
        """Encode as the template writes a turn: prompts padded at the left, answers with their end at the right.

        Raises:
            UserError: a prompt and its answer are longer than the model reads.
        """
        reader = loaded.processor
        shown = [() if loaded.spec.shots_as_text else sample.shots for sample in samples]
        every = [*samples, *(shot for shots in shown for shot in shots)]
        pictures, (*image_of,) = read_images(every, images)
        examples = iter(image_of[len(samples) :])
        prompts = [self._prompt_ids(loaded, sample) for sample in samples]
        answers = [reader.answer_ids(sample.suffix or "") if with_answers else [] for sample in samples]
        longest, limit = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True)), _limit(loaded)
        if longest > limit:
            raise UserError(f"a prompt with its answer is {longest} tokens long", allowed=limit, do="shorten it")
        prompt_BS, mask_BS = pad_ids(prompts, reader.tokenizer.pad_token_id, "left")
        return Batch(
            pixels_MCHW=reader.read_pictures(pictures),
            image_of_B=torch.tensor(image_of[: len(samples)]),
            prompt_BS=prompt_BS,
            prompt_mask_BS=mask_BS,
            labels_BT=pad_ids(answers, IGNORED, "right")[0] if with_answers else None,
            shots_BE=pad_rows([[next(examples) for _ in shots] for shots in shown], NO_SHOT) if any(shown) else None,
        )

    def find_overlong(self, loaded: Loaded, samples: Sequence[Sample]) -> list[Problem]:
        """Return a problem for each sample whose prompt (with the image's tokens) and answer the model cannot hold."""
        reader, limit, problems = loaded.processor, _limit(loaded), []
        for sample in samples:
            length = len(self._prompt_ids(loaded, sample)) + len(reader.answer_ids(sample.suffix or ""))
            if length > limit:
                told = f"prompt and answer of {sample.id} are {length} tokens long, the model holds {limit}"
                problems.append(Problem(kind="too-long", message=told, source=sample.source))
        return problems

    def see(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the projected regions (M, N, D); of several depths, the last layer's first."""
        return loaded.look(self, pixels_MCHW)

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the same: in some of these models the projector lies within the tower."""
        facts = _on(pixels_MCHW.device, loaded.processor.repeat_facts(len(pixels_MCHW)))
        seen = loaded.core.get_image_features(pixel_values=pixels_MCHW.flatten(0, 1).to(loaded.spec.dtype), **facts)
        return join_depths(seen, len(pixels_MCHW))

    def forward(self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor) -> Output:
        """Return states at the labels' positions (teacher forcing)."""
        if batch.labels_BT is None:
            raise ValueError("forward needs a batch encoded with answers")
        counted_BT = batch.labels_BT != IGNORED
        answers_BT = batch.labels_BT.masked_fill(~counted_BT, loaded.processor.tokenizer.pad_token_id)
        ids_BL = torch.cat([batch.prompt_BS, answers_BT], 1)
        mask_BL = torch.cat([batch.prompt_mask_BS, counted_BT.long()], 1)
        inputs = self._place(loaded, ids_BL, mask_BL, regions_MND[list_images(batch)])
        hidden_BLD = loaded.core.model(**inputs, use_cache=False).last_hidden_state
        last_BND = regions_MND[batch.image_of_B].chunk(self.depth + 1, 1)[0]
        return Output(
            hidden_BLD[:, -answers_BT.shape[1] - 1 : -1], last_BND.mean(1), loaded.core.get_output_embeddings()
        )

    def embed_text(self, loaded: Loaded, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the language model's states (B, T, D) over the texts alone, and their masked mean (B, D)."""
        ids_BT, mask_BT = self._answers(loaded, texts)
        words_BTD = loaded.core.get_submodule(self.parts["language"])(
            inputs_embeds=loaded.core.get_input_embeddings()(ids_BT), attention_mask=mask_BT, use_cache=False
        ).last_hidden_state
        weights_BT1 = mask_BT.unsqueeze(-1).to(words_BTD.dtype)
        return words_BTD, (words_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)

    def score(
        self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor, candidates: Sequence[Sequence[str]]
    ) -> list[torch.Tensor]:
        """Return each sample's log-likelihoods (K,): where proved, a prompt is read once for all its candidates."""
        rows_of: dict[tuple[str, ...], list[int]] = {}
        for row, texts in enumerate(candidates):
            rows_of.setdefault(tuple(texts), []).append(row)
        read = self._read_prompts(loaded, batch, regions_MND) if self.shares else None
        told: dict[int, torch.Tensor] = {}
        for texts, rows in rows_of.items():
            ids_KT, mask_KT = self._answers(loaded, texts)
            labels_KT = ids_KT.masked_fill(mask_KT == 0, IGNORED)
            step = max(1, SCORED_ROWS // len(texts))
            for first in range(0, len(rows), step):
                part = rows[first : first + step]
                if read:
                    scores_BK = score_behind(loaded.core, read, part, ids_KT, labels_KT)
                else:
                    scores_BK = self._score_apart(loaded, batch.take(part), regions_MND, labels_KT)
                told |= dict(zip(part, scores_BK, strict=True))
        return [told[row] for row in range(len(candidates))]

    def _score_apart(
        self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor, labels_KT: torch.Tensor
    ) -> torch.Tensor:
        """Read prompt and candidate together for every candidate."""
        B, K = len(batch.prompt_BS), len(labels_KT)
        every = batch.take([row for row in range(B) for _ in range(K)])
        labels_BT = labels_KT.repeat(B, 1)
        logits_BTV = self.forward(loaded, replace(every, labels_BT=labels_BT), regions_MND).logits_BTV
        return likelihoods(logits_BTV, labels_BT).view(B, K)

    def generate(
        self,
        loaded: Loaded,
        batch: Batch,
        regions_MND: torch.Tensor,
        *,
        max_new_tokens: int,
        sampling: Sampling | None = None,
    ) -> list[Answered]:
        """Answer, greedily without sampling, whatever penalties the checkpoint's own generation settings name."""
        tokenizer, own = loaded.processor.tokenizer, loaded.core.generation_config.eos_token_id
        ends = sorted({tokenizer.eos_token_id, *([own] if isinstance(own, int) else own or [])})
        read = self._read_prompts(loaded, batch, regions_MND)
        choose = sampling.chooser(max_new_tokens) if sampling else choose_likeliest
        if sampling:  # the prompts were read once for all answers to them
            read = read.take([row for row in range(len(batch.prompt_BS)) for _ in range(sampling.count)])
        token_BT, log_BT = say_answers(loaded.core, read, ends, max_new_tokens, choose)
        return read_generated(tokenizer, token_BT, log_BT, ends)

    def _read_prompts(self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor) -> Read:
        """Read the prompts of a batch, what they begin with alike once."""
        prompts = [row[kept == 1].tolist() for row, kept in zip(batch.prompt_BS, batch.prompt_mask_BS, strict=True)]
        images, token = images_by_sample(batch), loaded.core.config.image_token_id
        shared = self.image_prefix == "answering" and loaded.spec.speed.share_image
        groups = share_beginnings(prompts, images, token) if shared else None
        if groups is None:
            return self._begin(loaded, batch.prompt_BS, batch.prompt_mask_BS, regions_MND[list_images(batch)])
        end = len(prompts[0]) - prompts[0][::-1].index(token)
        begun_GS = torch.tensor([prompts[rows[0]][:end] for rows in groups], device=loaded.device)
        seen = regions_MND[[image for rows in groups for image in images[rows[0]]]]
        read = self._begin(loaded, begun_GS, torch.ones_like(begun_GS), seen)
        group_of = {row: group for group, rows in enumerate(groups) for row in rows}
        behind = read.take([group_of[row] for row in range(len(prompts))])
        rest, mask = pad_ids([prompt[end:] for prompt in prompts], loaded.processor.tokenizer.pad_token_id, "left")
        return behind.go_on(loaded.core, rest.to(loaded.device), mask.to(loaded.device), **self._keep(1))[1]

    def _begin(self, loaded: Loaded, ids_BS: torch.Tensor, mask_BS: torch.Tensor, regions_IND: torch.Tensor) -> Read:
        """Read sequences from their beginning, their images included (all sequences' in order)."""
        inputs = self._place(loaded, ids_BS, mask_BS, regions_IND)
        read = loaded.core(**inputs, **self._keep(1), use_cache=True)
        next_B1 = mask_BS.sum(1, keepdim=True) + self._skipped(loaded)
        return Read(read.logits[:, -1], read.past_key_values, mask_BS, next_B1)

    def _keep(self, last: int) -> dict[str, int]:
        """Return what asks for the logits of the last positions alone, where a model can."""
        return {"logits_to_keep": last} if "logits_to_keep" in self.accepted else {}

    def read_answer(self, text: str) -> str:
        """Return what the model said as it is."""
        return text

    def _prompt_ids(self, loaded: Loaded, sample: Sample) -> list[int]:
        """Return a sample's prompt; a task token of a dataset (`<VQA>`, `<CAPTION>` ...) is put into words."""
        return [*loaded.soft_ids, *loaded.processor.prompt_ids(turns_of(loaded, sample))]

    def _place(
        self, loaded: Loaded, ids_BL: torch.Tensor, mask_BL: torch.Tensor, regions_IND: torch.Tensor
    ) -> dict[str, Any]:
        """Return the inputs of whole sequences, with positions where the model does not find them by itself."""
        inputs = self._inputs(loaded, ids_BL, mask_BL, regions_IND)
        if not hasattr(loaded.core.model, "get_rope_index"):
            inputs["position_ids"] = (mask_BL.cumsum(1) - 1).clamp(min=0)
        return inputs

    def _inputs(
        self, loaded: Loaded, ids_BL: torch.Tensor, mask_BL: torch.Tensor, regions_IND: torch.Tensor
    ) -> dict[str, Any]:
        """Return what the model's `forward` takes of sequences and their images."""
        image_BL = (ids_BL == loaded.core.config.image_token_id).long()
        facts = _on(ids_BL.device, loaded.processor.repeat_facts(len(regions_IND)))
        given = {"mm_token_type_ids": image_BL, "token_type_ids": image_BL, **facts}
        return {
            "input_ids": ids_BL,
            "attention_mask": mask_BL,
            "mm_encoder_outputs": {"image": split_depths(regions_IND, self.depth)},
            **{name: value for name, value in given.items() if name in self.accepted},
        }

    def _skipped(self, loaded: Loaded) -> torch.Tensor | int:
        """Return by how much positions run ahead of tokens behind the prompt just read (an image's 2D positions)."""
        deltas: torch.Tensor | None = getattr(loaded.core.model, "rope_deltas", None)
        return 0 if deltas is None else deltas

    def _answers(self, loaded: Loaded, texts: Iterable[str]) -> tuple[torch.Tensor, torch.Tensor]:
        reader = loaded.processor
        ids_BT, mask_BT = pad_ids([reader.answer_ids(text) for text in texts], reader.tokenizer.pad_token_id, "right")
        return ids_BT.to(loaded.device), mask_BT.to(loaded.device)


def read_chat(source: str) -> Chat:
    """Return the family of a checkpoint.

    Raises:
        UserError: its architecture is none that the family covers.
    """
    return Chat(AutoConfig.from_pretrained(source))


def _limit(loaded: Loaded) -> int:
    return int(loaded.core.config.get_text_config().max_position_embeddings)


def _on(device: torch.device, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
