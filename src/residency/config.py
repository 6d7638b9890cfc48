"""The recipe: what describes a run whole. Sole owner of defaults; an unknown key is refused."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Part = Literal["vision", "projector", "language"]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
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


class Section(BaseModel):
    """A part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    part_learning_rates: dict[Part, Positive] = {}
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


class Tiles(Section):
    """How a picture larger than the model reads is answered: whole, in overlapping tiles, and in crops around what the
    model finds (docs/high-resolution.md). Boxes of all views are merged; other answers by `rules`."""

    side: Count | None = None
    """A tile's side in pixels of the picture; null takes twice what the model reads. Pictures not larger stay whole."""
    overlap: Annotated[float, Field(ge=0, lt=0.9)] = 0.25
    """The least share of a tile that its neighbour shows, too; findings up to that size are whole in one tile."""
    grid: bool = True
    """false: no tiles, only the whole and the crops of `zoom`."""
    zoom: Annotated[int, Field(ge=0)] = 0
    """At most so many crops around what the model tells of the whole picture when it is asked `find`."""
    find: str = "<OD>"
    """PaliGemma wants names: `detect femur ; cyst`."""
    rules: dict[str, Annotated[str, Field(pattern=r"^(whole|surest|union|any:.+)$")]] = {}
    """By question id: whole (the default), surest (the surest view's), union (of sets), any:ANSWER (if a view says)."""
    least: Share = 0.0
    """Boxes whose mean token likelihood is below this are left out."""


class Predict(Section):
    """How answers are made: closed ones by likelihood over candidates, the others generated greedily."""

    batch_images: Count = 8
    max_new_tokens: Count = 96
    """The longest answer to one question; with `ask: together` an answer holds as many times more."""
    tiles: Tiles | None = None
    """null: every picture is squeezed to what the model reads."""


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


Ask = Literal["each", "together"]


class Shots(Section):
    """Solved examples of the training split, shown before each question; never one of the same group."""

    count: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    """Which examples, and in which order."""
    order: Literal["drawn", "reversed"] = "drawn"
    shown: Literal["images", "text"] = "images"
    """images: with their pictures, where the family reads several (chat), else as text; text: question and answer."""


class Retrieval(Section):
    """Annotated cases of the training split that are like the one asked about, told in its prompt (docs/retrieval.md).

    None is ever of the same group. The model may learn from such prompts (`train`), or meet them in answering alone.
    """

    index: Path | None = None
    """A folder of `residency index`; null makes one in the run's folder, of what the recipe learns from."""
    k: Literal["auto"] | Annotated[int, Field(ge=0, le=20)] = "auto"
    """How many; auto: 0, 1, 3 or 5, whichever answers the validation split best, the fewest of equals."""
    by: Literal["image", "text", "hybrid"] = "image"
    """What makes cases alike: the image, the question's words, or both ranks fused (1 / (60 + rank), summed)."""
    passages: Annotated[int, Field(ge=0, le=10)] = 0
    """How many passages of the index's documents are told besides."""
    template: str = "{prefix} Similar cases: {cases}."
    """Holds {prefix}, and {cases} or {passages} or both; a question for which nothing is found is asked plainly."""
    case: str = "{answer}"
    """One case in the template: {answer}, {question}, {category}."""
    joint: str = "; "
    """What stands between two cases, or two passages."""
    train: bool = False
    """Train on such prompts, too; with `k: auto` each sample's number is drawn anew among 0, 1, 3 and 5."""

    @model_validator(mode="after")
    def _has_places(self) -> Self:
        told = [name for name in ("{cases}", "{passages}") if name in self.template]
        if self.template.count("{prefix}") != 1 or not told:
            raise ValueError("the template needs {prefix} once, and {cases} or {passages}")
        if self.passages and "{passages}" not in self.template:
            raise ValueError("passages are to be told, but the template has no {passages}")
        return self


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
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], str] = {}
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
        if self.predict.tiles and (self.ask == "together" or "{field_mm}" in self.prompt):
            raise ValueError("`predict.tiles` do not go with `ask: together`, or with {field_mm} in the prompt")
        if self.shots.count and (self.ask == "together" or self.train.self_training):
            raise ValueError("`shots` do not go with `ask: together` or train.self_training")
        return self
