"""The nano family: Florence-2 in every line but its tower, which is `NanoTower`."""

from collections.abc import Mapping

from transformers import AutoConfig, Florence2Config, Florence2ForConditionalGeneration

from residency.config import Part
from residency.models.florence2 import Florence2
from residency.models.nano.tower import NanoTower


class ExportedConfig(Florence2Config):
    """An exported nano's settings, under a type of their own: as Florence-2, transformers would give it a tower of
    noise and go on."""

    model_type = "residency-nano"


AutoConfig.register(ExportedConfig.model_type, ExportedConfig, exist_ok=True)


class NanoForConditionalGeneration(Florence2ForConditionalGeneration):
    """Florence-2 with EfficientNet-Lite0 in the place of DaViT."""

    def __init__(self, config: Florence2Config) -> None:
        super().__init__(config)
        self.model.vision_tower = NanoTower()
        self.post_init()


class Nano(Florence2):
    """The embedded model's family; its tower is convolutional, so LoRA adapts none of it (train it in full)."""

    name = "nano"
    model_class = NanoForConditionalGeneration
    lora_targets: Mapping[Part, tuple[str, ...]] = {**Florence2.lora_targets, "vision": ()}
