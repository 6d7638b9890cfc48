"""`residency export` on real files: what it writes is read, and asked, by transformers alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from residency.cli import main
from residency.config import Recipe, dump_recipe
from residency.data.dataset import Dataset, hash_dataset, write_dataset
from residency.material import select_samples
from residency.models.adapt import apply_plan, plan_tuning
from residency.models.registry import Opened, open_model, open_run
from residency.types import Sample
from tests.contract.tiny import BUILDERS
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.contract.tiny_chat import CHAT_BUILDERS
from tests.discs import QUESTIONNAIRE, cut_groups, disc_samples

Call = Callable[..., int]
ALL = BUILDERS | CAUSAL_BUILDERS | CHAT_BUILDERS
PLAIN = ("florence2", "llava", "llava_next", "paligemma", "gemma3", "idefics3")
"""Families whose AutoProcessor asks for no torchvision, which this environment has not."""
READER = """
import json, re, sys
from pathlib import Path
said = []
for folder in sys.argv[2:]:
    card = (Path(folder) / "README.md").read_text()
    code = "\\n".join(re.findall(r"```python\\n(.*?)```", card, re.S)).replace("IMAGE.png", sys.argv[1])
    exec(code, {"print": said.append})
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


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["residency", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code or 0))

    return run


def _rehash(samples: tuple[Sample, ...]) -> list[Sample]:
    from residency.files import sha256_file

    return [sample.model_copy(update={"sha256": sha256_file(Path(sample.image))}) for sample in samples]


def make_tuned(bench: Path, name: str, **tune: object) -> Path:
    """Write a run as training ends: every adapted tensor moved, by chance; returns its folder."""
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
    bench: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, folders, readers, image = [], [], [], ""
    for name in PLAIN:
        run = make_tuned(bench, name)
        assert call("export", run, "--most", 4) == 0
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
    read = subprocess.run(
        [sys.executable, "-c", READER, image, *folders], capture_output=True, text=True, check=True, cwd="/"
    )
    said = json.loads(read.stdout)
    assert [reader(text) for reader, text in zip(readers, said, strict=True)] == expected
    assert len(set(expected)) > len(PLAIN) / 2  # they say something, each its own


def _data(recipe: Recipe) -> list[Sample]:
    from residency.data.dataset import load_dataset

    dataset = load_dataset(recipe.data)
    return select_samples(recipe, dataset, dataset.split("val", 0))
