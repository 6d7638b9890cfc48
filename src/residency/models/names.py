"""Models known by a short name: nothing in, what each is, needs and allows out; no heavy import, no network."""

import re
from importlib.resources import files

from pydantic import computed_field

from residency.types import Record

GIB = 2**30
BYTES_32, BYTES_16, BYTES_4, BYTES_TRAINED = 4.0, 2.0, 0.516, 16.0
"""Bytes a parameter: fp32; bf16; nf4 with double-quantized scales, 4.127 bits (QLoRA, Dettmers 2023, arXiv
2305.14314); trained: fp32 weight, gradient, and AdamW's two moments."""
FORMULA = (
    "memory to tune, in GiB: bytes x parameters + 16 bytes x what is trained (rank-16 LoRA on the language model, and "
    "the projector); bytes: 4 at 32 bits; 2 at 16 bits (tune.weights: bf16); 0.516 at 4 bits for the language "
    "model's linear layers, 2 for the rest (tune.quantize: nf4 besides). Activations come on top."
)


class KnownModel(Record):
    """A published checkpoint under its short name.

    `parameters` counts all, `linear` those of the language model's linear layers (what 4-bit tuning quantizes),
    `trained` what the default recipe trains. A test counts the three anew from the published shapes. `terms`: the
    hub gives the files only to an account that accepted the licence.
    """

    name: str
    hub: str
    family: str
    licence: str
    terms: bool
    parameters: int
    linear: int
    trained: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tune_32_gib(self) -> float:
        """GiB for weights at 32 bits and everything trained."""
        return round((BYTES_32 * self.parameters + BYTES_TRAINED * self.trained) / GIB, 2)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tune_16_gib(self) -> float:
        """GiB for weights at 16 bits and everything trained."""
        return round((BYTES_16 * self.parameters + BYTES_TRAINED * self.trained) / GIB, 2)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tune_4_gib(self) -> float:
        """GiB for the language model's linear layers at 4 bits, the rest at 16, and everything trained."""
        rest = self.parameters - self.linear
        return round((BYTES_4 * self.linear + BYTES_16 * rest + BYTES_TRAINED * self.trained) / GIB, 2)


Counts = tuple[int, int, int]
"""Parameters, linear, trained: equal for checkpoints of one shape."""
NANO: Counts = (7_560_448, 3_670_016, 448_000)
FLORENCE_BASE: Counts = (231_414_016, 99_090_432, 4_083_200)
FLORENCE_LARGE: Counts = (770_173_952, 352_321_536, 10_852_352)
PALIGEMMA: Counts = (2_923_466_480, 1_981_808_640, 21_972_992)
PALIGEMMA_2: Counts = (3_032_242_416, 2_024_275_968, 23_423_232)
LLAVA_7B: Counts = (7_063_427_072, 6_476_005_376, 60_956_672)
LLAVA_13B: Counts = (13_351_494_656, 12_687_769_600, 94_054_400)
QWEN25_3B: Counts = (3_754_622_976, 2_774_532_096, 66_642_176)
QWEN25_7B: Counts = (8_292_166_656, 6_525_288_448, 84_944_640)
QWEN3_2B: Counts = (2_127_532_032, 1_409_286_144, 42_606_592)
QWEN3_4B: Counts = (4_437_815_808, 3_633_315_840, 60_301_824)
SMOL_256M: Counts = (256_484_928, 106_168_320, 11_962_368)
SMOL_500M: Counts = (507_482_304, 314_572_800, 20_480_000)
GEMMA_4B: Counts = (4_300_079_472, 3_208_642_560, 32_752_768)

# Licences as copies of the hub's pages and cards said them in November 2026: SmolVLM, Qwen3-VL 2B, Qwen2.5-VL 3B
# (research only), LLaVA-1.5, Florence-2, MedGemma. From memory: the Gemma terms of PaliGemma and Gemma 3 and their
# gate, Qwen2.5-VL 7B and Qwen3-VL 4B.
GEMMA, HAI_DEF = "Gemma terms", "HAI-DEF terms (Google)"
TABLE: tuple[tuple[str, str, str, str, bool, Counts], ...] = (
    ("nano", "", "nano", "Apache-2.0", False, NANO),
    ("florence-2-base", "florence-community/Florence-2-base", "florence2", "MIT", False, FLORENCE_BASE),
    ("florence-2-large", "florence-community/Florence-2-large", "florence2", "MIT", False, FLORENCE_LARGE),
    ("florence-2-base-ft", "florence-community/Florence-2-base-ft", "florence2", "MIT", False, FLORENCE_BASE),
    ("florence-2-large-ft", "florence-community/Florence-2-large-ft", "florence2", "MIT", False, FLORENCE_LARGE),
    ("paligemma-3b-pt-224", "google/paligemma-3b-pt-224", "paligemma", GEMMA, True, PALIGEMMA),
    ("paligemma-3b-mix-224", "google/paligemma-3b-mix-224", "paligemma", GEMMA, True, PALIGEMMA),
    ("paligemma2-3b-pt-224", "google/paligemma2-3b-pt-224", "paligemma", GEMMA, True, PALIGEMMA_2),
    ("paligemma2-3b-mix-224", "google/paligemma2-3b-mix-224", "paligemma", GEMMA, True, PALIGEMMA_2),
    ("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf", "llava", "Llama 2", False, LLAVA_7B),
    ("llava-1.5-13b", "llava-hf/llava-1.5-13b-hf", "llava", "Llama 2", False, LLAVA_13B),
    ("qwen2.5-vl-3b", "Qwen/Qwen2.5-VL-3B-Instruct", "chat", "Qwen research (no commerce)", False, QWEN25_3B),
    ("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct", "chat", "Apache-2.0", False, QWEN25_7B),
    ("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct", "chat", "Apache-2.0", False, QWEN3_2B),
    ("qwen3-vl-4b", "Qwen/Qwen3-VL-4B-Instruct", "chat", "Apache-2.0", False, QWEN3_4B),
    ("smolvlm-256m", "HuggingFaceTB/SmolVLM-256M-Instruct", "chat", "Apache-2.0", False, SMOL_256M),
    ("smolvlm-500m", "HuggingFaceTB/SmolVLM-500M-Instruct", "chat", "Apache-2.0", False, SMOL_500M),
    ("gemma-3-4b", "google/gemma-3-4b-it", "chat", GEMMA, True, GEMMA_4B),
    ("medgemma-4b", "google/medgemma-4b-it", "chat", HAI_DEF, True, GEMMA_4B),
)

KNOWN: dict[str, KnownModel] = {
    name: KnownModel(
        name=name, hub=hub, family=family, licence=licence, terms=terms,
        parameters=counts[0], linear=counts[1], trained=counts[2],
    )
    for name, hub, family, licence, terms, counts in TABLE
}  # fmt: skip
"""Every model with a short name, by that name."""
SHORT_NAMES: dict[str, str] = {name: model.hub for name, model in KNOWN.items()} | {
    "nano": str(files("residency") / "models" / "nano" / "weights")
}
"""Where each lies: on the hub; nano within the package."""

TWINS: tuple[tuple[str, str, str], ...] = (
    (r"microsoft/(florence-2-(?:base|large)(?:-ft)?)", r"florence-community/\1", "needs remote code"),
    (r"liuhaotian/llava-v1\.5-(7b|13b)", r"llava-hf/llava-1.5-\1-hf", "is in LLaVA's own layout"),
)
"""Published checkpoints that transformers cannot read by itself, and the same weights as it can."""


def find_twin(hub: str) -> tuple[str, str] | None:
    """Return the hub name of the same weights in transformers' layout, and why it is needed; None for others."""
    for pattern, twin, reason in TWINS:
        if match := re.fullmatch(pattern, hub, re.IGNORECASE):
            found = match.expand(twin)
            return found.replace("florence-2", "Florence-2"), reason
    return None
