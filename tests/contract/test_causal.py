"""PaliGemma and LLaVA against transformers' own forward and processor, and the faults that others fell into."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image

from residency.config import Lora, Tune
from residency.errors import UserError
from residency.losses import IGNORED, caption_loss
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.decoder import FIRST_REGION
from residency.models.family import Batch, Loaded, ModelSpec
from residency.models.llava import Llava, LlavaNext, expand_task, pad_square
from residency.models.packed import pack_sequences
from residency.models.paligemma import PaliGemma, read_places, tell_places, word_task
from residency.types import Sample
from tests.contract.tiny import draw_discs
from tests.contract.tiny_causal import CAUSAL_BUILDERS, build_tiny_llava_next

FAMILIES = {"llava": Llava, "llava_next": LlavaNext, "paligemma": PaliGemma, "paligemma2": PaliGemma}
PALIGEMMAS = ("paligemma", "paligemma2")


@dataclass
class Case:
    name: str
    family: Any
    loaded: Loaded
    samples: list[Sample]

    def encode(self, samples: list[Sample] | None = None, with_answers: bool = True) -> Batch:
        return self.family.encode(self.loaded, samples or self.samples, with_answers=with_answers)

    def see(self, batch: Batch) -> torch.Tensor:
        return self.family.see(self.loaded, batch.pixels_MCHW)

    def logits(self, batch: Batch) -> torch.Tensor:
        return self.family.forward(self.loaded, batch, self.see(batch)).logits_BTV[batch.labels_BT != IGNORED]

    def theirs(self, samples: list[Sample], with_answers: bool = True) -> dict[str, torch.Tensor]:
        """Return what transformers' own processor makes of the samples."""
        processor = self.loaded.processor
        processor.tokenizer.padding_side = "left"  # so that answers stand last
        pictures = [Image.open(sample.image).convert("RGB") for sample in samples]
        asked = [self.family.word_prompt(self.loaded, sample) for sample in samples]
        if self.name in PALIGEMMAS:
            texts = [f"<image>answer en {sample.prefix}" for sample in samples]
            more = {"suffix": [sample.suffix for sample in samples]} if with_answers else {}
            return dict(processor(images=pictures, text=texts, padding=True, return_tensors="pt", **more))
        end = processor.tokenizer.eos_token
        told = [f"{prompt} {sample.suffix}{end}" for prompt, sample in zip(asked, samples, strict=True)]
        return dict(processor(images=pictures, text=told if with_answers else asked, padding=True, return_tensors="pt"))


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return open_case(request.param, tmp_path_factory.mktemp(request.param))


def open_case(name: str, folder: Path) -> Case:
    CAUSAL_BUILDERS[name](folder / "model")
    family = FAMILIES[name]()
    loaded = family.load(ModelSpec(str(folder / "model")))
    loaded.model.eval()
    return Case(name, family, loaded, draw_discs(folder / "images"))


def test_tokens_are_those_of_transformers_processor(case: Case) -> None:
    image = case.loaded.processor.image_token_id
    batch, theirs = case.encode(), case.theirs(case.samples)
    for row, sample in enumerate(case.samples):
        prompt = batch.prompt_BS[row][batch.prompt_mask_BS[row] == 1]
        answer = batch.labels_BT[row][batch.labels_BT[row] != IGNORED]
        ours = torch.cat([prompt.where(prompt >= 0, image), answer])
        assert ours.tolist() == theirs["input_ids"][row][theirs["attention_mask"][row] == 1].tolist(), sample.id


@torch.no_grad()
def test_logits_are_those_of_transformers_forward(case: Case) -> None:
    theirs = case.theirs(case.samples)
    labels = theirs.pop("labels", None)
    logits = case.loaded.model(**theirs).logits
    batch = case.encode()
    if labels is None:
        lengths = (batch.labels_BT != IGNORED).sum(1)
        labels = torch.full_like(theirs["input_ids"], IGNORED)
        for row, length in enumerate(lengths.tolist()):
            labels[row, -length:] = theirs["input_ids"][row, -length:]
    assert torch.allclose(case.logits(batch), logits[:, :-1][labels[:, 1:] != IGNORED], atol=1e-4)


@torch.no_grad()
def test_greedy_answers_are_those_of_transformers_generate(case: Case) -> None:
    theirs = case.theirs(case.samples[:3], with_answers=False)
    theirs.pop("labels", None)
    made = case.loaded.model.generate(**theirs, max_new_tokens=6, do_sample=False)
    expected = case.loaded.processor.batch_decode(made[:, theirs["input_ids"].shape[1] :], skip_special_tokens=True)
    batch = case.encode(case.samples[:3], with_answers=False)
    ours = case.family.generate(case.loaded, batch, case.see(batch), max_new_tokens=6)
    assert [answer.text for answer in ours] == [text.strip() for text in expected]
    assert all(0 < answer.likelihood <= 1 for answer in ours)


@torch.no_grad()
def test_sharing_an_image_changes_neither_logits_nor_answers_nor_scores(case: Case) -> None:
    batch, separate = case.encode(), FAMILIES[case.name](share=False)
    regions = case.see(batch)
    shared_rows = case.family._pack(case.loaded, batch.take([0, 1]), [[FIRST_REGION, 7], [FIRST_REGION, 8]], [[1], [1]])
    assert case.family.image_prefix == ("separate" if case.name in PALIGEMMAS else "shared")
    assert len(shared_rows.ids_GL) == (2 if case.name in PALIGEMMAS else 1)  # an image that sees its question cannot
    apart = separate.forward(case.loaded, batch, regions).logits_BTV[batch.labels_BT != IGNORED]
    assert torch.allclose(case.logits(batch), apart, atol=1e-4)
    answers = [f.generate(case.loaded, batch, regions, max_new_tokens=8) for f in (case.family, separate)]
    assert [answer.text for answer in answers[0]] == [answer.text for answer in answers[1]]
    offered = [["left side", "a long answer", ""][: 1 + row % 3] for row in range(len(case.samples))]
    scores = [f.score(case.loaded, batch, regions, offered) for f in (case.family, separate)]
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(*scores, strict=True))


def test_bfloat16_computes_nearly_the_same(case: Case) -> None:
    batch = case.encode()
    with torch.no_grad():
        exact = caption_loss(case.family.forward(case.loaded, batch, case.see(batch)).logits_BTV, batch.labels_BT)
    with torch.autocast("cpu", torch.bfloat16):
        rough = caption_loss(case.family.forward(case.loaded, batch, case.see(batch)).logits_BTV, batch.labels_BT)
    rough.mean().backward()
    gradients = [p.grad for p in case.loaded.model.parameters() if p.grad is not None]
    case.loaded.model.zero_grad(set_to_none=True)
    assert float(rough.mean().detach()) == pytest.approx(float(exact.mean()), rel=0.02)
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", PALIGEMMAS)
@torch.no_grad()
def test_only_the_answer_is_marked_as_answer(name: str, tmp_path: Path) -> None:
    """A collator that marks the prompt as answer too hides the question from the image: the logits are others."""
    case = open_case(name, tmp_path)
    theirs = case.theirs(case.samples[:2])
    labels, types = theirs.pop("labels"), theirs["token_type_ids"]
    answer = labels != IGNORED
    assert torch.equal(types[theirs["attention_mask"] == 1] == 1, answer[theirs["attention_mask"] == 1])
    ours = case.logits(case.encode(case.samples[:2]))
    for marked, right in ((types, True), (torch.ones_like(types), False), (torch.zeros_like(types), False)):
        logits = case.loaded.model(**{**theirs, "token_type_ids": marked}).logits[:, :-1][answer[:, 1:]]
        assert torch.allclose(ours, logits, atol=1e-3) is right


def test_nothing_is_ever_cut(case: Case) -> None:
    loaded, whole = case.loaded, case.encode()
    tokenizer = loaded.processor.tokenizer
    tokenizer.backend_tokenizer.enable_truncation(4)
    before, tokenizer.model_max_length = tokenizer.model_max_length, 4
    try:
        assert torch.equal(case.encode().prompt_BS, whole.prompt_BS)
    finally:
        tokenizer.model_max_length = before
    config = loaded.core.config.text_config
    held, config.max_position_embeddings = config.max_position_embeddings, 12
    try:
        with pytest.raises(UserError, match="tokens long"):
            case.encode()
        problems = case.family.find_overlong(loaded, case.samples)
    finally:
        config.max_position_embeddings = held
    assert len(problems) == len(case.samples)
    assert "the model holds 12" in problems[0].message
    assert not case.family.find_overlong(loaded, case.samples)


def test_lost_image_tokens_are_an_error(case: Case) -> None:
    batch = case.encode(case.samples[:1])
    regions = case.see(batch)
    with pytest.raises(ValueError, match="regions"):
        case.family.forward(case.loaded, batch, regions[:, :-3])
    if not case.family.tiled:
        kept = batch.prompt_BS != batch.prompt_BS.min()
        cut = Batch(**{**batch.tensors(), "prompt_mask_BS": kept.long(), "prompt_BS": batch.prompt_BS * kept})
        with pytest.raises(ValueError, match="regions"):
            case.family.forward(case.loaded, cut, regions)


def test_an_image_token_in_a_question_is_an_error(case: Case) -> None:
    with pytest.raises(UserError, match="places for the image"):
        case.encode([case.samples[0].model_copy(update={"prefix": "What is <image>?"})])


@torch.no_grad()
def test_lora_on_every_part_is_saved_and_comes_back(case: Case, tmp_path: Path) -> None:
    """A server that knows no adapter in the tower drops it without a word; ours must change what the tower sees."""
    family, source = case.family, case.loaded.spec.source
    loaded = family.load(ModelSpec(source))
    tune = Tune(lora=Lora(parts=("vision", "projector", "language")), train=())
    apply_plan(loaded, plan_tuning(family, loaded.model, tune), tune, seed=0)
    for name, parameter in loaded.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    batch = case.encode()
    loaded.model.eval()
    seen, base = family.see(loaded, batch.pixels_MCHW), case.see(batch)
    assert not torch.allclose(seen, base, atol=1e-2)
    loaded.model.save_pretrained(str(tmp_path))
    again = family.load(ModelSpec(source))
    again.model = PeftModel.from_pretrained(again.model, str(tmp_path)).eval()
    assert torch.allclose(family.see(again, batch.pixels_MCHW), seen, atol=1e-5)
    again.model = again.model.merge_and_unload()
    assert torch.allclose(family.see(again, batch.pixels_MCHW), seen, atol=1e-4)


def test_the_output_layer_cannot_be_tuned_apart_from_the_words(case: Case) -> None:
    """LoRA on a tied `lm_head` changes the word embeddings too once it is merged."""
    with pytest.raises(UserError, match="lm_head"):
        plan_tuning(case.family, case.loaded.model, Tune(lora=Lora(targets=("lm_head",))))
    tied = case.loaded.model.config.tie_word_embeddings
    for name in ("lm_head", "language"):
        module = case.family.parts["language"] if name == "language" else name
        if tied:
            with pytest.raises(UserError, match="come loose"):
                plan_tuning(case.family, case.loaded.model, Tune(lora=None, train=(module,)))
        else:
            assert plan_tuning(case.family, case.loaded.model, Tune(lora=None, train=(module,))).trained == (module,)


def test_another_image_side_is_read_or_refused(case: Case) -> None:
    source = case.loaded.spec.source
    if case.family.tiled:
        with pytest.raises(UserError, match="image_size"):
            case.family.load(ModelSpec(source, image_size=56))
        return
    with pytest.raises(UserError, match="multiples of 14"):
        case.family.load(ModelSpec(source, image_size=30))
    larger = Case(case.name, case.family, case.family.load(ModelSpec(source, image_size=56)), case.samples)
    assert case.see(case.encode()).shape[1] == 4
    assert larger.see(larger.encode()).shape[1] == 16
    assert larger.logits(larger.encode()).isfinite().all()


@torch.no_grad()
def test_tiles_are_packed_as_transformers_packs_them(tmp_path: Path) -> None:
    build_tiny_llava_next(tmp_path / "model", grid=([28, 56], [56, 28], [56, 56]))
    family = LlavaNext()
    loaded = family.load(ModelSpec(str(tmp_path / "model")))
    loaded.model.eval()
    rng, samples = np.random.default_rng(0), []
    for number, (width, height) in enumerate([(90, 40), (40, 90), (64, 64), (70, 60)]):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        for question in ("Which side is bright?", "How large is the disc?"):
            image, group = str(tmp_path / f"{number}.png"), str(number)
            samples.append(Sample(id=group, image=image, prefix=question, suffix="left side", group=group))
    case = Case("llava_next", family, loaded, samples)
    test_logits_are_those_of_transformers_forward(case)
    together = case.see(case.encode())
    assert together.shape[:2] == (4, 5 * 4)
    alone = case.see(case.encode(samples[:2]))  # three tiles; beside the square image's five they are filled up
    assert alone.shape[:2] == (1, 3 * 4)
    assert torch.allclose(together[0, :12], alone[0], atol=1e-5)
    assert torch.allclose(together[0].mean(0), alone[0].mean(0), atol=1e-5)


def test_a_wide_picture_loses_no_edge(tmp_path: Path) -> None:
    """The processor that ships with LLaVA-1.5 cuts a wide picture to its middle."""
    case = open_case("llava", tmp_path)
    pixels = np.full((40, 120, 3), 90, dtype=np.uint8)
    plain = Image.fromarray(pixels)
    pixels[:, :20] = 255
    marked = Image.fromarray(pixels)
    cut = [case.loaded.processor.image_processor([p], return_tensors="pt")["pixel_values"] for p in (plain, marked)]
    assert torch.equal(cut[0], cut[1])
    ours = [case.family.prepare_pixels(case.loaded, [picture]) for picture in (plain, marked)]
    assert not torch.equal(ours[0], ours[1])
    assert pad_square(marked, (1, 2, 3)).size == (120, 120)
    assert pad_square(marked, (1, 2, 3)).getpixel((60, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("prefix", "prompt"),
    [
        ("Which plane?", "answer en Which plane?"),
        ("answer de Welche Ebene?", "answer de Welche Ebene?"),
        ("caption en", "caption en"),
        ("<CAPTION>", "caption en"),
        ("<DETAILED_CAPTION>", "describe en"),
        ("<vqa> Which plane?", "answer en Which plane?"),
        ("<OD> femur ; cyst", "detect femur ; cyst"),
        ("detect femur ; cyst", "detect femur ; cyst"),
        ("Describe the femur.", "answer en Describe the femur."),
        ("<PLANE> which?", "answer en <PLANE> which?"),
        ("What is at <loc_500><loc_0>?", "answer en What is at <loc0000><loc0512>?"),
    ],
)
def test_prompts_are_in_paligemmas_words(prefix: str, prompt: str) -> None:
    assert word_task(prefix) == prompt


def test_paligemma_is_told_what_to_find() -> None:
    with pytest.raises(UserError, match="named"):
        word_task("<OD>")


def test_places_are_told_in_paligemmas_order_and_read_back(tmp_path: Path) -> None:
    boxes = "femur<loc_0><loc_500><loc_999><loc_750>bladder wall<loc_1><loc_2><loc_3><loc_4>"
    told = "<loc0512><loc0000><loc0768><loc1023> femur ; <loc0002><loc0001><loc0004><loc0003> bladder wall"
    assert tell_places(boxes) == told
    assert read_places(told) == boxes
    for bin in range(0, 1000, 2):
        run = f"<loc_{bin}><loc_{bin + 1}>"
        assert read_places(tell_places(f"head{run}")) == f"head{run}"
    assert tell_places("no places; none at all") == read_places("no places; none at all") == "no places; none at all"
    case = open_case("paligemma", tmp_path)
    ids = case.family.answer_ids(case.loaded, "a<loc_0><loc_500><loc_999><loc_750>")
    assert case.loaded.processor.tokenizer.convert_ids_to_tokens(ids)[:4] == [
        "<loc0512>",
        "<loc0000>",
        "<loc0768>",
        "<loc1023>",
    ]


def test_prompts_are_in_llavas_words(tmp_path: Path) -> None:
    case = open_case("llava", tmp_path)
    assert case.family.word_prompt(case.loaded, case.samples[0]) == "USER: <image>\nWhich side is bright? ASSISTANT:"
    assert expand_task("<VQA> Which plane?") == "Which plane?"
    assert expand_task("<CAPTION>") == "What does the image describe?"
    assert expand_task("<PLANE> which?") == "<PLANE> which?"


def test_sequences_with_one_beginning_share_a_row() -> None:
    packed = pack_sequences([[5, 6, 7, 8], [5, 6, 9], [4, 6, 9]], [2, 2, 2], ["a", "a", "a"], torch.device("cpu"))
    assert packed.ids_GL.tolist() == [[5, 6, 7, 8, 9], [4, 6, 9, 0, 0]]
    assert packed.places.branch_GL.tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, -1, -1]]
    assert packed.places.position_GL.tolist() == [[0, 1, 2, 3, 2], [0, 1, 2, 0, 0]]
    assert packed.column_BP.tolist() == [[0, 1, 2, 3], [0, 1, 4, 0], [0, 1, 2, 0]]
