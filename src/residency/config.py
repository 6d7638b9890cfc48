"""The recipe: what describes a run whole. With its sections on asking (asking.py) the sole owner of defaults; an
unknown key is refused."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from residency.asking import Ask, Predict, Retrieval, Shots
from residency.section import Count, Positive, Section, Share

Part = Literal["vision", "projector", "language"]
Weights = Literal["fp32", "bf16", "fp16"]


Augmentation = Literal["ultrasound", "grey", "none"]


def _name_augmentation(value: object) -> object:
    return {True: "grey", False: "none"}[value] if isinstance(value, bool) else value


def _join_slices(value: object) -> object:
    """Undo what YAML makes of `layers.-2:` in a list: a mapping without a value."""
    if not isinstance(value, list | tuple):
        return value
    return [
        f"{next(iter(entry))}:" if isinstance(entry, dict) and list(entry.values()) == [None] else entry
        for entry in value
    ]


class Lora(Section):
    """Low-rank adapters (Hu 2021, arXiv 2106.09685) on the family's targets in these parts of the model."""

    rank: Count = 16
    alpha: Positive = 32.0
    dropout: Share = 0.05
    parts: tuple[Part, ...] = ("language",)
    targets: tuple[str, ...] | None = None
    """Module name endings; null takes the family's own list for these parts."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) in place of alpha / rank (rsLoRA, arXiv 2312.03732): for large ranks."""
    dora: bool = False
    """Learn each output's length apart from its direction (DoRA, arXiv 2402.09353)."""


class SoftPrompt(Section):
    """Learned vectors read before the prompt's words, all else frozen (prompt tuning, Lester 2021, arXiv 2104.08691).

    It stands alone: lora null, train [].
    """

    tokens: Count = 16


class Tune(Section):
    """What training may change. All else stays frozen, and the preflight shows that it does."""

    lora: Lora | None = Lora()
    train: Annotated[tuple[str, ...], BeforeValidator(_join_slices)] = ("projector",)
    """Parts (vision, projector, language) or modules that are trained in full: names, patterns (*), and slices of
    layers, as in language.decoder.layers.-2: (the last two)."""
    soft_prompt: SoftPrompt | None = None
    weights: Weights = "fp32"
    """The numbers that frozen weights are kept in; what is trained is kept in fp32."""
    quantize: Literal["nf4"] | None = None
    """nf4: the linear layers of `quantize_parts` at 4 bits (QLoRA, arXiv 2305.14314; needs residency[qlora])."""
    quantize_parts: tuple[Part, ...] = ("language",)


class SelfTraining(Section):
    """A second training in which the best model so far answers images without answers (self-training: FixMatch,
    arXiv 2001.07685; Noisy Student, arXiv 1911.04252). Its confident, consistent answers join the true ones."""

    confidence: Annotated[float, Field(gt=0, le=1)] = 0.9
    """An answer is kept if its mean confidence over the views is at least this."""
    agreement: Count = 3
    """How many views of an image must get the same answer: the image itself, the others augmented."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The largest share of such answers among an epoch's draws."""
    rounds: Count = 1
    """How often a student learns from the best model so far."""


class Contrastive(Section):
    """A hierarchical contrastive loss beside the caption loss, for few images: three levels, each on or off."""

    weight: Positive = 0.1
    """What the mean over the levels counts for beside the caption loss."""
    image: bool = True
    """An image's pooled embedding against the embedding of its answers, said together."""
    region: bool = True
    """Each answer against the regions of the image that it attends to."""
    classes: bool = True
    """Images against images: alike are those of one category, and those with one canonical answer to a question."""
    queue: Annotated[int, Field(ge=0)] = 256
    """How many images and answers of earlier batches are compared with, too (levels image and classes)."""
    dim: Count = 128
    temperature: Positive = 0.07

    @model_validator(mode="after")
    def _has_level(self) -> Self:
        if not (self.image or self.region or self.classes):
            raise ValueError("no level is on; take `contrastive` out, or set it to null")
        return self


class Distill(Section):
    """Draw the tower's features to those of a larger vision model, which sees each training image once."""

    teacher: str
    """A folder or hub name of an encoder of transformers: DINOv2, ViT, CLIP, SigLIP, ResNet ..."""
    weight: Positive = 1.0
    """What one minus the cosine, averaged over regions, counts for beside the caption loss."""


class Train(Section):
    """The optimization. One batch holds `batch_size` samples; consecutive ones share an image."""

    epochs: Count = 6
    images: Count | None = None
    """Only so many annotated images of the training split, whole groups by `seed`, each larger set holding the smaller
    (for learning curves); null takes all."""
    batch_size: Count = 32
    accumulate: Count = 1
    questions_per_image: Count = 4
    """How many of an image's questions stand together in a batch; the tower sees the image once for them."""
    learning_rate: Positive = 1e-3
    part_learning_rates: dict[Part, Positive] = Field(default_factory=dict)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Share = 0.1
    clip_norm: Positive = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    balance: Literal["category", "none"] = "category"
    augment: Annotated[Augmentation, BeforeValidator(_name_augmentation)] = "grey"
    """ultrasound (docs/augmentation.md), grey (brightness alone: pictures of any kind), none; true is grey."""
    location_spread: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation, in location tokens, over which a place's target is spread (boxes, outlines); 0: none."""
    cache_features: Literal["auto"] | bool = "auto"
    """What a frozen tower sees is computed once and kept in the run's folder until training ends (`augment: none`)."""
    contrastive: Contrastive | None = None
    """Null: the caption loss alone."""
    distill: Distill | None = None
    """Null: no teacher. What it sees is kept in OUT/teacher for every run."""
    patience: Count = 3
    """Epochs without a better validation score before training stops."""
    save_steps: Count = 50
    seed: int = 0
    self_training: SelfTraining | None = None
    """null: images without answers are not used."""


class Speed(Section):
    """What is computed once in place of several times; losses and answers stay the same (docs/speed.md)."""

    share_image: bool = True
    """Causal families: an image's questions stand in one row, which holds the image once."""
    at_once: bool = True
    """All questions about a batch of images are answered in one pass, not question after question."""
    labels_only: bool = True
    """Only states that a label stands at meet the vocabulary."""
    by_length: bool = False
    """Images whose texts are of like length are trained on together; each epoch holds the same, in other batches."""


class Evaluate(Section):
    """How figures are made. `draws` resamples of groups for every 95% interval."""

    draws: Count = 2000
    seed: int = 0


Risk = Literal["prompt-leak", "group-by-image", "unknown-group", "published-leak"]
TrackerName = Literal["tensorboard", "mlflow", "wandb"]


class Recipe(Section):
    """A run, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: Path
    """A dataset folder, as `residency ingest` writes it, or one with a `samples.jsonl` of plain lines."""
    out: Path = Path("runs")
    """The folder in which the run's own folder NAME is made."""
    model: str = "nano"
    """A short name, a folder, or a hub name."""
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], str] = Field(default_factory=dict)
    """Other models, by a name for each, that `residency variants` asks the same as they are, beside the tuned one."""
    questions: tuple[str, ...] | None = None
    """Only these question ids; null takes all."""
    ask: Ask = "each"
    """each: one question at a time. together: all questions about an image in one prompt, all answers in one text."""
    prompt: str = "{prefix}"
    """The prompt's template. It may use {prefix}, {spacing_mm}, {field_mm} (the picture's width x height), {category},
    and any column of the sheet that the dataset kept as {columns[NAME]}. What it names beyond {prefix} is reported in
    the report's first lines."""
    system: str = ""
    """Words before the question that say who answers, and how; chat models are told them in a turn of their own."""
    shots: Shots = Shots()
    image_size: Count | None = None
    """Side in pixels that the image is squeezed to; null takes the model's own."""
    tune: Tune = Tune()
    train: Train = Train()
    predict: Predict = Predict()
    speed: Speed = Speed()
    evaluate: Evaluate = Evaluate()
    retrieval: Retrieval | None = None
    """null: prompts tell of no other case."""
    accept: tuple[Risk, ...] = ()
    """Risks accepted by name; the report repeats them."""
    track: tuple[TrackerName, ...] = ()
    """Where curves are written beside metrics.jsonl; nothing leaves the machine unasked (docs/tracking.md)."""
    fold: int | Literal["all"] = 0

    @model_validator(mode="after")
    def _asks_each(self) -> Self:
        alone = [name for name in ("contrastive", "self_training") if getattr(self.train, name)]
        if self.ask == "together" and alone:
            raise ValueError(f"`ask: together` does not go with train.{alone[0]}, which wants each answer alone")
        if self.retrieval and (self.ask == "together" or self.train.self_training):
            raise ValueError("`retrieval` does not go with `ask: together` or train.self_training")
        views = self.predict.tiles or self.predict.closer
        if views and (self.ask == "together" or "{field_mm}" in self.prompt):
            told = "`predict.tiles` and `predict.closer` do not go"
            raise ValueError(f"{told} with `ask: together`, or with {{field_mm}} in the prompt")
        if self.shots.count and (self.ask == "together" or self.train.self_training):
            raise ValueError("`shots` do not go with `ask: together` or train.self_training")
        return self
