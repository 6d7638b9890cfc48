"""An opened model in, the Python out that loads its export without residency and asks it one question."""

from dataclasses import dataclass

from transformers import PROCESSOR_MAPPING

from residency.models.causal import Causal
from residency.models.chat import Chat
from residency.models.chat_turns import turns_of
from residency.models.florence2 import Florence2
from residency.models.florence2 import word_prompt as word_florence
from residency.models.nano.family import Nano
from residency.models.paligemma import PaliGemma
from residency.models.registry import Opened
from residency.types import Sample

LOAD = """from transformers import AutoModelForImageTextToText, AutoProcessor
model = AutoModelForImageTextToText.from_pretrained("{folder}")
processor = AutoProcessor.from_pretrained("{folder}")
"""
LOAD_NANO = """from residency.models.nano.family import NanoForConditionalGeneration
from transformers import AutoProcessor
model = NanoForConditionalGeneration.from_pretrained("{folder}")
processor = AutoProcessor.from_pretrained("{folder}")
"""
ASK = """from PIL import Image
image = Image.open({image!r}).convert("RGB"){squeeze}
prompt = {prompt!r}
inputs = processor(images=image, text=prompt, return_tensors="pt"{bare}).to(model.device, model.dtype)
made = model.generate(**inputs)[0]{answer}
settings = model.generation_config
control = {{*settings.eos_token_id, settings.bos_token_id, settings.pad_token_id}}
print(processor.decode([token for token in made.tolist() if token not in control]).strip())
"""
VLLM = {
    "llava": "vLLM lists this architecture among those it serves",
    "llava-next": "vLLM lists this architecture among those it serves",
    "paligemma": "vLLM lists this architecture; image and prompt see each other, which it does right only from the "
    "release with pull request 27938 (prefix-LM masks) on",
    "florence2": "vLLM itself dropped this architecture after 0.9; its own `bart-plugin` serves it",
    "nano": "vLLM does not know this architecture",
}
"""What vLLM's documents say of each family; of chat models see its list of supported models."""
VLLM_CHAT = ("qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm", "gemma3")


@dataclass(frozen=True)
class Usage:
    """How an export is used: the lines that load it, those that ask it, what to know besides."""

    load: str
    ask: str
    notes: tuple[str, ...]


def tell_usage(opened: Opened, sample: Sample, folder: str, image: str = "IMAGE.png") -> Usage:
    """Return what makes plain transformers answer as the run was examined: pixels, prompt and greedy decoding."""
    family, loaded = opened.family, opened.loaded
    reader = loaded.processor
    prompt = word_prompt(opened, sample)
    begins = bool(reader.tokenizer.bos_token) and prompt.startswith(reader.tokenizer.bos_token)
    notes = [tell_vllm(opened) + " (not tried here)."]
    squeeze = ""
    if isinstance(family, Chat) and reader.squeezed:
        squeeze = f".resize(({reader.side}, {reader.side}))"
        notes.append(f"Pictures were squeezed to {reader.side} x {reader.side} px in training, as the line above does.")
    if isinstance(family, Chat) and has_video(reader.processor):
        notes.append("AutoProcessor of this architecture has a part for video, which asks for the package torchvision.")
    if isinstance(family, PaliGemma):
        notes.append("Places in its answers stand as PaliGemma writes them: <locY><locX>, 1024 bins.")
    if isinstance(family, Nano):
        notes.append(
            "nano is Residency's own architecture: transformers alone cannot load it, so its class comes from the "
            "package residency (pip install residency). `model: FOLDER` in a recipe reads it, too."
        )
    ask = ASK.format(
        image=image,
        squeeze=squeeze,
        prompt=prompt,
        bare=", add_special_tokens=False" if begins else "",
        answer="" if isinstance(family, Florence2) else '[inputs["input_ids"].shape[1] :]',
    )
    return Usage((LOAD_NANO if isinstance(family, Nano) else LOAD).format(folder=folder), ask, tuple(notes))


def word_prompt(opened: Opened, sample: Sample) -> str:
    """Return a sample's prompt in the words that the checkpoint's own processor takes."""
    family, loaded = opened.family, opened.loaded
    if isinstance(family, Florence2):
        return word_florence(loaded, sample)
    if isinstance(family, PaliGemma):  # its processor writes the begin token and the line's end itself
        written = family.word_prompt(loaded, sample)
        return written.replace(loaded.processor.tokenizer.bos_token, "", 1).rstrip("\n")
    if isinstance(family, Causal):
        return family.word_prompt(loaded, sample)
    turns = turns_of(loaded, sample)
    return str(loaded.processor.render(turns))


def has_video(processor: object) -> bool:
    """Tell whether a processor's published class reads video, too."""
    named = type(processor).__name__
    kinds = {kind.__name__: kind for kind in PROCESSOR_MAPPING.values()}
    return named in kinds and "video_processor" in kinds[named].get_attributes()


def tell_vllm(opened: Opened) -> str:
    """Return what vLLM's documents say of the architecture."""
    if opened.family.name in VLLM:
        return VLLM[opened.family.name]
    kind = opened.loaded.core.config.model_type
    listed = "lists this architecture among those it serves" if kind in VLLM_CHAT else "may serve this architecture"
    return f"vLLM {listed}"
