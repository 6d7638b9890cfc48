"""The Florence-2 family (Xiao 2024, arXiv 2311.06242): an image and a prompt in, text and location tokens out."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from residency.config import Part
from residency.errors import UserError
from residency.losses import IGNORED
from residency.models.answers import read_generated
from residency.models.family import Answered, Batch, Images, Loaded, ModelSpec, Output, Prefix, read_images
from residency.models.prompts import word_whole
from residency.models.sampling import Sampling
from residency.models.seq2seq import cross_decoder
from residency.models.twigs import count_places, group_alike
from residency.models.weights import load_weights
from residency.types import Problem, Sample

# The words that a task token stands for; they are Florence-2's own, with ours for a free question.
VQA = "<VQA>"
STRIDE = 32
"""Pixels of a region's side."""
TASK = re.compile(r"^\s*(<[A-Za-z_]+>)\s*(.*)$", re.DOTALL)


class Florence2:
    """`Florence2ForConditionalGeneration` of transformers: DaViT tower, projector, BART."""

    name = "florence2"
    model_class: type[Florence2ForConditionalGeneration] = Florence2ForConditionalGeneration
    parts: Mapping[Part, str] = {
        "vision": "model.vision_tower",
        "projector": "model.multi_modal_projector",
        "language": "model.language_model",
    }
    image_prefix: Prefix = "separate"
    several_images = False
    looks: tuple[Part, ...] = ("vision",)
    lora_targets: Mapping[Part, tuple[str, ...]] = {
        "vision": ("qkv", "proj", "fc1", "fc2"),
        "projector": ("image_projection",),
        "language": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    }

    def load(self, spec: ModelSpec) -> Loaded:
        """Read weights (safetensors) and processor.

        Raises:
            UserError: weights are missing, or an image side was asked for that the image tokens do not fit.
        """
        model = load_weights(self.model_class, spec, self.parts)
        processor = Florence2Processor.from_pretrained(spec.source)
        if spec.image_size is not None:
            processor.image_processor.size = {"height": spec.image_size, "width": spec.image_size}
            processor.num_image_tokens = count_image_tokens(spec.image_size)
            processor.image_processor.image_seq_length = processor.num_image_tokens
        _require_room(processor, spec.source)
        return Loaded(spec, model, processor)

    def encode(
        self, loaded: Loaded, samples: Sequence[Sample], *, with_answers: bool, images: Images | None = None
    ) -> Batch:
        """Encode as Florence-2 was trained: image tokens, `<s>words</s>`; the answer is `<s>answer</s>`."""
        pictures, image_of = read_images(samples, images)
        pixels_MCHW = loaded.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        return self.encode_texts(loaded, samples, pixels_MCHW, image_of, with_answers=with_answers)

    def encode_texts(
        self,
        loaded: Loaded,
        samples: Sequence[Sample],
        pixels_MCHW: torch.Tensor,
        image_of: Sequence[int],
        *,
        with_answers: bool,
    ) -> Batch:
        """Encode prompts and answers beside pixels that are ready.

        Raises:
            UserError: a prompt is longer than the model reads.
        """
        tokenizer = loaded.processor.tokenizer
        prompts = [word_prompt(loaded, sample) for sample in samples]
        begin = [tokenizer.image_token_id] * loaded.processor.num_image_tokens + loaded.soft_ids
        prompt_BS, mask_BS = _padded([begin + ids for ids in _token_ids(tokenizer, prompts)], tokenizer.pad_token_id)
        limit = loaded.core.config.text_config.max_position_embeddings
        if prompt_BS.shape[1] > limit:
            raise UserError(
                f"a prompt is {prompt_BS.shape[1]} tokens long", allowed=f"{limit}", do="shorten the prompt"
            )
        labels_BT = None
        if with_answers:
            labels_BT, _ = _padded(_token_ids(tokenizer, [sample.suffix or "" for sample in samples]), IGNORED)
            if labels_BT.shape[1] > limit:
                raise UserError(f"an answer is {labels_BT.shape[1]} tokens long", allowed=f"{limit}", do="shorten it")
        return Batch(
            pixels_MCHW=pixels_MCHW,
            image_of_B=torch.tensor(image_of),
            prompt_BS=prompt_BS,
            prompt_mask_BS=mask_BS,
            labels_BT=labels_BT,
        )

    def find_overlong(self, loaded: Loaded, samples: Sequence[Sample]) -> list[Problem]:
        """Return a problem for each sample whose prompt (with the image's tokens) or answer the model cannot hold."""
        tokenizer, limit = loaded.processor.tokenizer, loaded.core.config.text_config.max_position_embeddings
        prompts = [word_prompt(loaded, sample) for sample in samples]
        image = loaded.processor.num_image_tokens + len(loaded.soft_ids)
        lengths = {
            "prompt": [image + len(ids) for ids in _token_ids(tokenizer, prompts)],
            "answer": [len(ids) for ids in _token_ids(tokenizer, [sample.suffix or "" for sample in samples])],
        }
        return [
            Problem(
                kind="too-long",
                message=f"the {what} of {sample.id} is {length} tokens long, the model holds {limit}",
                source=sample.source,
            )
            for what, found in lengths.items()
            for sample, length in zip(samples, found, strict=True)
            if length > limit
        ]

    def see(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's projected regions (M, N, D); the first is the mean over the map."""
        regions_MND: torch.Tensor = loaded.core.model.multi_modal_projector(loaded.look(self, pixels_MCHW))
        return regions_MND

    def look(self, loaded: Loaded, pixels_MCHW: torch.Tensor) -> torch.Tensor:
        """Return the tower's map (M, C, h, w)."""
        pixels = pixels_MCHW.to(loaded.spec.dtype).contiguous(memory_format=torch.channels_last)
        map_MCHW: torch.Tensor = loaded.core.model.vision_tower(pixels).last_hidden_state
        return map_MCHW

    def forward(self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor) -> Output:
        """Return states at the labels' positions (teacher forcing)."""
        if batch.labels_BT is None:
            raise ValueError("forward needs a batch encoded with answers")
        states_BSD = self._read_prompt(loaded, batch, regions_MND)
        decoder_BT = self._shifted(loaded, batch.labels_BT)
        hidden_BTD = loaded.core.model.language_model.decoder(
            input_ids=decoder_BT, encoder_hidden_states=states_BSD, encoder_attention_mask=batch.prompt_mask_BS
        ).last_hidden_state
        return Output(hidden_BTD, regions_MND.mean(1)[batch.image_of_B], loaded.core.lm_head)

    def embed_text(self, loaded: Loaded, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the text encoder's states (B, T, D) and their masked mean (B, D)."""
        tokenizer = loaded.processor.tokenizer
        ids_BT, mask_BT = (x.to(loaded.device) for x in _padded(_token_ids(tokenizer, texts), tokenizer.pad_token_id))
        words_BTD = loaded.core.model.language_model.encoder(
            input_ids=None, inputs_embeds=loaded.core.get_input_embeddings()(ids_BT), attention_mask=mask_BT
        ).last_hidden_state
        weights_BT1 = mask_BT.unsqueeze(-1).to(words_BTD.dtype)
        return words_BTD, (words_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)

    def score(
        self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor, candidates: Sequence[Sequence[str]]
    ) -> list[torch.Tensor]:
        """Return each sample's log-likelihoods (K,): a prompt's keys and values serve all its candidates.

        Samples whose candidates take about as many places are read together, so that few places stay empty.
        """
        texts = list(dict.fromkeys(text for texts in candidates for text in texts))
        ids = dict(zip(texts, _token_ids(loaded.processor.tokenizer, texts), strict=True))
        twigs = {texts: [ids[text] for text in texts] for texts in map(tuple, candidates)}
        offered = [twigs[tuple(texts)] for texts in candidates]
        places = {texts: count_places(answers) for texts, answers in twigs.items()}
        scores: dict[int, torch.Tensor] = {}
        for rows in group_alike([places[tuple(texts)] for texts in candidates]):
            part = batch.take(rows)
            decoder = cross_decoder(loaded.core, self._read_prompt(loaded, part, regions_MND), part.prompt_mask_BS)
            packed, hidden_B1D, cache = decoder.begin(loaded.core)
            some = [offered[row] for row in rows]
            told = decoder.weigh(loaded.core, packed, hidden_B1D, [1] * len(some), cache, some)
            scores |= zip(rows, told, strict=True)
        return [scores[row] for row in range(len(offered))]

    def generate(
        self,
        loaded: Loaded,
        batch: Batch,
        regions_MND: torch.Tensor,
        *,
        max_new_tokens: int,
        sampling: Sampling | None = None,
    ) -> list[Answered]:
        """Answer, greedily without sampling, whatever beams or penalties the checkpoint's own settings name."""
        core, tokenizer = loaded.core, loaded.processor.tokenizer
        decoder = cross_decoder(core, self._read_prompt(loaded, batch, regions_MND), batch.prompt_mask_BS)
        packed, hidden_B1D, cache = decoder.begin(core)
        end = torch.tensor([tokenizer.eos_token_id], device=loaded.device)
        forced, held = core.generation_config.forced_bos_token_id, core.config.text_config.max_position_embeddings
        token_BT, log_BT = decoder.go_on(
            core, packed, hidden_B1D, torch.ones_like(packed.row_B), cache, end, min(max_new_tokens, held),
            forced=forced, sampling=sampling,
        )  # fmt: skip
        silent = (tokenizer.bos_token_id, tokenizer.pad_token_id)
        return read_generated(tokenizer, token_BT, log_BT, [tokenizer.eos_token_id], silent)

    def read_answer(self, text: str) -> str:
        """Return what the model said as it is: samples tell places as this family does."""
        return text

    def _read_prompt(self, loaded: Loaded, batch: Batch, regions_MND: torch.Tensor) -> torch.Tensor:
        """Return the encoder's states (B, S, D) over the image's regions and the prompt's words."""
        regions_BND = regions_MND[batch.image_of_B]
        words_BSD = loaded.core.get_input_embeddings()(batch.prompt_BS[:, regions_BND.shape[1] :])
        states_BSD: torch.Tensor = loaded.core.model.language_model.encoder(
            inputs_embeds=torch.cat([regions_BND.to(words_BSD.dtype), words_BSD], 1),
            attention_mask=batch.prompt_mask_BS,
        ).last_hidden_state
        return states_BSD

    def _shifted(self, loaded: Loaded, labels_BT: torch.Tensor) -> torch.Tensor:
        """Return the decoder's input: the start token, then the labels without their last."""
        config = loaded.core.config.text_config
        start_B1 = torch.full_like(labels_BT[:, :1], config.decoder_start_token_id)
        shifted = torch.cat([start_B1, labels_BT[:, :-1]], 1)
        return shifted.masked_fill(shifted == IGNORED, config.pad_token_id)


def count_image_tokens(side: int, stride: int = STRIDE) -> int:
    """Return how many regions a square image of this side gives: the map's cells and their mean."""
    cells = -(-side // stride)
    return cells * cells + 1


def _require_room(processor: Florence2Processor, source: str) -> None:
    """Make sure that a prompt has a place for each region: fewer would cut the question, more be read as words."""
    size = processor.image_processor.size
    regions = -(-size["height"] // STRIDE) * -(-size["width"] // STRIDE) + 1
    if processor.num_image_tokens != regions:
        raise UserError(
            f"processor and model of {source} do not belong together",
            found=f"the tower gives {regions} regions, the processor leaves room for {processor.num_image_tokens}",
            do="fetch both again",
        )


def word_prompt(loaded: Loaded, sample: Sample) -> str:
    """Return a prompt in Florence-2's words, task tokens put into them."""
    return word_whole(loaded.spec, sample, partial(expand_task, loaded.processor))


def expand_task(processor: Florence2Processor, prompt: str) -> str:
    """Return the words a task token stands for, followed by the context that stands behind it.

    `<OD>` (also `<od>`) becomes `Locate the objects ...`; `<CAPTION> left kidney` the caption's words and
    `left kidney`; `<VQA> question` the question; other text, the user's own prefixes too, stays as it is.
    """
    match = TASK.match(prompt)
    if match is None:
        return prompt
    token, context = match[1].upper(), match[2].strip()
    if token == VQA:
        return context
    if words := processor.task_prompts_without_inputs.get(token):
        return f"{words} {context}".strip()
    if template := processor.task_prompts_with_input.get(token):
        return str(template.format(input=context))
    return prompt


def _token_ids(tokenizer: object, texts: Sequence[str]) -> list[list[int]]:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id  # type: ignore[attr-defined]
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return [[bos, *row, eos] for row in ids]


def _padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, both (B, longest)."""
    tensors = [torch.tensor(row) for row in rows]
    masks = [torch.ones(len(row), dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=padding), pad_sequence(masks, batch_first=True)
