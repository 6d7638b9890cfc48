"""How published checkpoints name their weights: a class in, the names in its index out, layers' numbers as N.

Read from published indexes (model.safetensors.index.json, found in public repositories that hold a copy):
- llava: llava-hf/llava-1.5-7b-hf;
- gemma3: google/medgemma-27b-it, the same class as gemma-3-4b-it and medgemma-4b-it;
- qwen3_vl: nvidia/Cosmos-Reason2, a tuned Qwen3-VL (no `lm_head` in 2B and 4B: tied).
Not found, so said by transformers' own conversion (the names it writes, those of its conversion scripts): florence2,
paligemma (1 and 2; the tower's as in gemma3), qwen2_5_vl, and idefics3 (SmolVLM; one file without an index).
"""


def _both(*names: str) -> set[str]:
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}


def _weights(prefix: str, *names: str) -> set[str]:
    return {f"{prefix}{name}.weight" for name in names}


def _layer(prefix: str, *more: str) -> set[str]:
    attention = [f"self_attn.{name}_proj" for name in "qkvo"]
    return _weights(
        f"{prefix}layers.N.",
        *attention, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
        *more,
    )  # fmt: skip


def _tower(prefix: str) -> set[str]:
    """CLIP's and SigLIP's layers."""
    attention = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
    inner = (*attention, "mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2")
    return _both(*(f"{prefix}encoder.layers.N.{name}" for name in inner), f"{prefix}post_layernorm")


def _bart(prefix: str, *more: str) -> set[str]:
    attention = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
    inner = (*attention, "self_attn_layer_norm", "fc1", "fc2", "final_layer_norm", *more)
    found = _both(*(f"{prefix}layers.N.{name}" for name in inner), f"{prefix}layernorm_embedding")
    return found | {f"{prefix}embed_positions.weight"}


LLAMA = "language_model.model."
VISION = "vision_tower.vision_model."
GEMMA_2 = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
EMBEDDED = {f"{LLAMA}embed_tokens.weight", f"{LLAMA}norm.weight"}
PATCHES = {f"{VISION}embeddings.position_embedding.weight", f"{VISION}embeddings.patch_embedding.weight"}
SIGLIP = PATCHES | _tower(VISION) | {f"{VISION}embeddings.patch_embedding.bias"}
CLIP = PATCHES | _tower(VISION) | {f"{VISION}embeddings.class_embedding"} | _both(f"{VISION}pre_layrnorm")
DAVIT, PROJECTOR = "model.vision_tower.", "model.multi_modal_projector."
BLOCK = tuple(
    f"{DAVIT}blocks.N.N.{kind}_block.{name}"
    for kind, attention in (("spatial", "window"), ("channel", "channel"))
    for name in (
        "conv1", "conv2", "norm1", "norm2", "ffn.fc1", "ffn.fc2", f"{attention}_attn.qkv", f"{attention}_attn.proj"
    )
)  # fmt: skip
CROSS = (*(f"encoder_attn.{name}_proj" for name in ("q", "k", "v", "out")), "encoder_attn_layer_norm")
PATCH, BLOCKS, MERGER = "model.visual.patch_embed.proj", "model.visual.blocks.N.", "model.visual.merger."
SMOL = "model.vision_model."

PUBLISHED_KEYS: dict[str, set[str]] = {
    "florence2": _both(*BLOCK, f"{DAVIT}convs.N.conv", f"{DAVIT}convs.N.norm", f"{PROJECTOR}image_proj_norm")
    | {f"{PROJECTOR}image_position_embed.{side}_embeddings.weight" for side in ("row", "column")}
    | {f"{PROJECTOR}image_projection.weight", f"{PROJECTOR}visual_temporal_embed.pos_idx_to_embed"}
    | _bart("model.language_model.encoder.")
    | _bart("model.language_model.decoder.", *CROSS)
    | {"model.language_model.shared.weight"},
    "paligemma": SIGLIP | EMBEDDED | _layer(LLAMA) | _both("multi_modal_projector.linear"),
    "paligemma2": SIGLIP | EMBEDDED | _layer(LLAMA, *GEMMA_2) | _both("multi_modal_projector.linear"),
    "llava": CLIP | EMBEDDED | _layer(LLAMA) | {"language_model.lm_head.weight"}
    | _both("multi_modal_projector.linear_1", "multi_modal_projector.linear_2"),
    "qwen2_5_vl": {"visual.patch_embed.proj.weight", "model.embed_tokens.weight", "model.norm.weight"}
    | _layer("model.") | {f"model.layers.N.self_attn.{name}_proj.bias" for name in "qkv"}
    | {f"visual.blocks.N.norm{number}.weight" for number in (1, 2)}
    | _both(*(f"visual.blocks.N.{n}" for n in ("attn.qkv", "attn.proj")))
    | _both(*(f"visual.blocks.N.mlp.{name}_proj" for name in ("gate", "up", "down")))
    | {"visual.merger.ln_q.weight"} | _both("visual.merger.mlp.N"),
    "qwen3_vl": {"model.visual.pos_embed.weight", f"{PATCH}.weight", f"{PATCH}.bias"}
    | {"model.language_model.embed_tokens.weight", "model.language_model.norm.weight"}
    | _layer("model.language_model.", "self_attn.q_norm", "self_attn.k_norm")
    | _both(*(f"{BLOCKS}{n}" for n in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")))
    | _both(*(f"{MERGER}{name}" for name in ("norm", "linear_fc1", "linear_fc2")))
    | _both(*(f"model.visual.deepstack_merger_list.N.{name}" for name in ("norm", "linear_fc1", "linear_fc2"))),
    "idefics3": {"model.connector.modality_projection.proj.weight", "model.text_model.embed_tokens.weight"}
    | {"model.text_model.norm.weight", f"{SMOL}embeddings.position_embedding.weight"}
    | _both(f"{SMOL}embeddings.patch_embedding") | _tower(SMOL) | _layer("model.text_model."),
    "gemma3": SIGLIP | EMBEDDED | _layer(LLAMA, "self_attn.q_norm", "self_attn.k_norm", *GEMMA_2)
    | {"multi_modal_projector.mm_input_projection_weight", "multi_modal_projector.mm_soft_emb_norm.weight"},
}  # fmt: skip
"""SmolVLM's files hold an `lm_head.weight` besides, where it is not tied, as in the tiny model here."""
