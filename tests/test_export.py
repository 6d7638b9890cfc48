"""`residency export` on real files: what it writes is read, and asked, by transformers alone."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration
from transformers.video_processing_utils import BaseVideoProcessor

from residency.config import Recipe
from residency.data.dataset import Dataset, hash_dataset, load_dataset, write_dataset
from residency.export.write import VIDEO
from residency.material import select_samples
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.registry import Opened, open_model, open_run
from residency.neighbours import open_tell
from residency.recipe import dump_recipe
from residency.types import Sample
from tests.contract.tiny import BUILDERS
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.contract.tiny_chat import CHAT_BUILDERS
from tests.discs import QUESTIONNAIRE, cut_groups, disc_samples
from tests.run_command import call_residency, run_residency

ALL = BUILDERS | CAUSAL_BUILDERS | CHAT_BUILDERS
PLAIN = ("florence2", "llava", "llava_next", "paligemma", "gemma3", "idefics3")
"""Families whose AutoProcessor asks for no torchvision, which this environment has not."""
READER = """
import json, re, sys
from pathlib import Path
said = []
for folder in sys.argv[3:]:
    card = (Path(folder) / "README.md").read_text()
    code = "\\n".join(re.findall(r"```python\\n(.*?)```", card, re.S)).replace("IMAGE.png", sys.argv[1])
    exec(code, {"print": said.append})
try:
    __import__("transformers").AutoModelForImageTextToText.from_pretrained(sys.argv[2])
except (ValueError, KeyError) as error:
    said.append(str(error))
assert "residency" not in sys.modules
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose pictures are no squares."""
    folder = tmp_path_factory.mktemp("export")
    samples = disc_samples(folder / "images", 12)
    for image in {sample.image for sample in samples}:
        with Image.open(image) as file:
            wide = file.resize((96, 64))
        wide.save(image)
    write_dataset(Dataset(folder / "data", tuple(_rehash(samples)), QUESTIONNAIRE, cut_groups(samples)))
    return folder


@pytest.fixture(scope="module")
def nano(bench: Path) -> Path:
    """A tuned nano, exported beside its run; it is kept whole, so a folder's name may hold a blank."""
    run = make_tuned(bench, "nano", lora=None, train=["projector", "language"])
    done = run_residency("export", run, "--out", bench / "nano model", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["agreements"][0]["agreed"] == told["agreements"][0]["compared"] == 4
    assert told["architecture"] == "NanoForConditionalGeneration"
    return run


def _rehash(samples: tuple[Sample, ...]) -> list[Sample]:
    from residency.files import sha256_file

    return [sample.model_copy(update={"sha256": sha256_file(Path(sample.image))}) for sample in samples]


def make_tuned(bench: Path, name: str, **tune: object) -> Path:
    """Write a run as training ends: every adapted tensor moved, by chance; returns its folder."""
    shutil.rmtree(bench / "runs" / name, ignore_errors=True)
    ALL[name](bench / "models" / name)
    run = bench / "runs" / name
    recipe = Recipe.model_validate(
        {"name": name, "data": bench / "data", "out": bench / "runs", "model": str(bench / "models" / name)}
        | {"predict": {"max_new_tokens": 8}, "tune": tune}
    )
    opened = open_model(recipe.model, tune=recipe.tune)
    plan = plan_tuning(opened.family, opened.loaded.model, recipe.tune)
    apply_plan(opened.loaded, plan, recipe.tune, 0)
    rng = torch.Generator().manual_seed(1)
    for parameter in opened.loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=rng)
    opened.loaded.model.save_pretrained(str(run / "adapter"))
    (run / "config.yaml").write_text(dump_recipe(recipe))
    (run / "preflight.json").write_text(json.dumps({"data_sha256": hash_dataset(bench / "data")}))
    return run


def ask(opened: Opened, samples: list[Sample]) -> list[str]:
    family, loaded = opened.family, opened.loaded
    batch = family.encode(loaded, samples, with_answers=False)
    with torch.inference_mode():
        regions = family.see(loaded, batch.pixels_MCHW)
        return [answer.text for answer in family.generate(loaded, batch, regions, max_new_tokens=8)]


def test_transformers_alone_reads_every_family_and_answers_as_the_run(
    bench: Path, nano: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, folders, readers, image = [], [], [], ""
    for name in PLAIN:
        run = make_tuned(bench, name)
        assert call_residency("export", run, "--most", 4) == 0
        told = capsys.readouterr().out
        assert "4 of 4 answers are the run's own" in told
        recipe, opened = open_run(run)
        dataset = _data(recipe)
        asked = re.search(r"prompt = (.*)", (run / "export" / "README.md").read_text())
        assert asked
        sample = next(one for one in dataset if one.prefix in asked[1])
        image = sample.image
        expected += ask(opened, [sample])
        readers.append(opened.family.read_answer)  # PaliGemma tells places in its own way
        folders.append(str(run / "export"))
    asked = [sys.executable, "-c", READER, image, str(bench / "nano model"), *folders]
    read = subprocess.run(asked, capture_output=True, text=True, check=True, cwd="/")
    *said, refused = json.loads(read.stdout)
    assert "residency-nano" in refused
    assert [reader(text) for reader, text in zip(readers, said, strict=True)] == expected
    assert len(set(expected)) > len(PLAIN) / 2  # they say something, each its own


def _data(recipe: Recipe) -> list[Sample]:
    dataset = load_dataset(recipe.data)
    return select_samples(recipe, dataset, dataset.split("val", 0))


def test_nano_says_how_it_loads(bench: Path, nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (bench / "nano model" / "README.md").read_text()
    assert "not for diagnosis" in card
    assert "pip install residency" in card
    recipe, opened = open_run(nano)
    samples = _data(recipe)
    assert ask(open_model(str(bench / "nano model")), samples) == ask(opened, samples)
    image = samples[0].image
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.S)).replace("IMAGE.png", image)
    said: list[str] = []
    exec(code, {"print": said.append})
    asked = re.search(r"prompt = (.*)", code)
    assert asked
    assert said == ask(opened, [one for one in samples if one.image == image and one.prefix in asked[1]])
    assert call_residency("export", make_tuned(bench, "nano", train=["projector"], quantize="nf4"), "--floor", 0) == 0
    assert "quantized again" in capsys.readouterr().out


def test_a_run_on_4_bits_is_merged_into_16_and_what_differs_is_told(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_tuned(bench, "llava", quantize="nf4", weights="bf16")
    assert call_residency("export", run, "--floor", 1) == 1
    told = capsys.readouterr().err
    assert "check failed: answers-agree" in told
    assert "the run itself `" in told
    assert not (run / "export").exists()
    assert not list(run.glob(".export*"))
    assert call_residency("export", run, "--floor", 0) == 0
    told = capsys.readouterr().out
    assert re.search(r"bfloat16: \d of 4 answers are the run's own", told)
    assert re.search(r"nf4 \(language\), quantized again: \d of 4 answers", told)
    kept = json.loads((run / "export" / "residency.json").read_text())
    assert kept["floor"] == 0
    assert sum(one["compared"] - one["agreed"] for one in kept["agreements"]) == sum(
        len(one.get("disagreements", ())) for one in kept["agreements"]
    )
    assert "stand in `residency.json`" in (run / "export" / "README.md").read_text()
    model = LlavaForConditionalGeneration.from_pretrained(run / "export")
    assert model.dtype == torch.bfloat16
    assert not any("lora" in name for name in model.state_dict())


@pytest.mark.parametrize(("name", "file"), [("qwen2.5-vl", VIDEO[0]), ("qwen3-vl", VIDEO[1])])
def test_a_processor_with_a_video_part_gets_its_settings(bench: Path, name: str, file: str) -> None:
    run = make_tuned(bench, name)
    assert call_residency("export", run, "--dtype", "bf16", "--floor", 0) == 0
    kept = run / "export" / file
    assert kept.read_bytes() == (bench / "models" / name / file).read_bytes()
    settings, _ = BaseVideoProcessor.get_video_processor_dict(str(run / "export"))
    assert settings["patch_size"] == 8
    assert AutoModelForImageTextToText.from_pretrained(run / "export").dtype == torch.bfloat16
    assert "torchvision" in (run / "export" / "README.md").read_text()


def test_calls_that_cannot_be_met_say_what_to_do(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft = make_tuned(bench, "llava_next", lora=None, train=[], soft_prompt={"tokens": 2})
    assert call_residency("export", soft) == 2
    assert "nothing can be merged" in capsys.readouterr().err
    run = make_tuned(bench, "llava")
    assert call_residency("export", run, "--out", bench / "data") == 2
    assert "exists already" in capsys.readouterr().err
    (bench / "runs" / "folded" / "fold-0").mkdir(parents=True)
    assert call_residency("export", bench / "runs" / "folded") == 2
    assert "fold-0" in capsys.readouterr().err
    assert call_residency("export", run, "--out", bench / "once") == 0
    assert call_residency("export", run, "--out", bench / "once", "--replace") == 0
    assert sorted((bench / "once").iterdir())


def test_questions_asked_together_are_shown_and_compared_so(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_tuned(bench, "florence2")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"ask": "together"}))
    assert call_residency("export", run, "--out", bench / "together") == 0
    card = (bench / "together" / "README.md").read_text()
    assert all(question.wording in card for question in QUESTIONNAIRE.questions)
    assert json.loads((bench / "together" / "generation_config.json").read_text())["max_new_tokens"] == 2 * 8
    assert "4 of 4 answers" in capsys.readouterr().out


def test_a_run_that_tells_of_similar_cases_is_compared_and_shown_so(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_tuned(bench, "nano", lora=None, train=["projector", "language"])
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"retrieval": {"k": 2}}))
    assert call_residency("export", run, "--out", bench / "told") == 0
    assert "4 of 4 answers are the run's own" in capsys.readouterr().out
    card = (bench / "told" / "README.md").read_text()
    assert "up to 2 entries of an index" in card and "looks none up" in card
    recipe, opened = open_run(run)
    dataset = load_dataset(recipe.data)
    tell = open_tell(recipe, select_samples(recipe, dataset, dataset.split("train")), 0, run, opened)
    told = {one.prefix + (one.context.after if one.context else ""): one for one in tell(_data(recipe), None)}
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.S))
    asked = next(one for prompt, one in told.items() if repr(prompt)[1:-1] in code)
    assert asked.context and len(asked.context.neighbours) == 2
    said: list[str] = []
    exec(code.replace("IMAGE.png", asked.image), {"print": said.append})
    assert said == ask(opened, [asked])
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"retrieval": {"k": "auto"}}))
    assert call_residency("export", run, "--out", bench / "auto") == 2
    assert f"residency predict {run} --as own" in capsys.readouterr().err
    assert not (bench / "auto").exists()
