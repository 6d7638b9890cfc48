"""A folder with a language model of transformers in, one that answers in words in this process out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from residency.errors import UserError
from residency.judges.server import Words


@dataclass(frozen=True)
class Local:
    """A loaded language model with a chat template."""

    name: str
    model: Any
    tokenizer: Any
    longest: int

    @property
    def place(self) -> str:
        """Where what is said to it goes."""
        return "this process"

    def say(self, asked: Sequence[Words], max_tokens: int) -> list[str | None]:
        """Return what is said to each; None where the words do not fit into the model."""
        return [self._say(words, max_tokens) for words in asked]

    def _say(self, words: Words, max_tokens: int) -> str | None:
        import torch

        if words.image is not None:
            raise UserError(f"{self.name} reads words alone", found="an image", do="name a model that sees")
        text = self.tokenizer.apply_chat_template(words.turns(), add_generation_prompt=True, tokenize=False)
        ids = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"].to(self.model.device)
        if ids.shape[1] + max_tokens > self.longest:
            return None
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )  # fmt: skip
        return str(self.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def open_local(folder: str) -> Local:
    """Load a language model from a folder, safetensors alone.

    Raises:
        UserError: it cannot be loaded, or has no chat template.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"no language model in {folder}", found=str(error).splitlines()[0]) from None
    if not tokenizer.chat_template:
        raise UserError(f"{folder} has no chat template", do="take an instruction-tuned model")
    longest = int(getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Local(folder, model.to(device), tokenizer, longest)
