"""A dataset folder: `samples.jsonl`, `questionnaire.yaml`, `splits.json` in, typed records out, and back."""

from dataclasses import dataclass
from pathlib import Path

from residency.errors import UserError
from residency.files import read_lines, write_lines, write_text
from residency.questionnaire import dump_questionnaire, read_questionnaire
from residency.types import Questionnaire, Sample, SplitName, Splits


@dataclass(frozen=True)
class Dataset:
    """Samples with their questionnaire and splits (None where the folder has none)."""

    folder: Path
    samples: tuple[Sample, ...]
    questionnaire: Questionnaire | None
    splits: Splits | None

    def split(self, name: SplitName, fold: int = 0) -> list[Sample]:
        """Return the annotated samples of a split.

        Raises:
            UserError: the dataset has no splits, or no such fold.
        """
        if self.splits is None:
            raise UserError(f"{self.folder} has no splits.json", do="residency ingest writes it")
        if not 0 <= fold < len(self.splits.folds):
            raise UserError(f"no fold {fold}", allowed=f"0 to {len(self.splits.folds) - 1}")
        groups = set(getattr(self.splits.folds[fold], name))
        return [sample for sample in self.samples if sample.group in groups and sample.suffix is not None]

    def image_path(self, sample: Sample) -> Path:
        """Return where the sample's image lies."""
        return self.folder / sample.image


def load_dataset(folder: Path) -> Dataset:
    """Read a dataset folder.

    Raises:
        UserError: there is no samples.jsonl.
        CheckFailed: lines that are no samples, all listed.
    """
    if not (folder / "samples.jsonl").is_file():
        raise UserError(f"{folder} is not a dataset", found="no samples.jsonl", do="residency ingest --help")
    questionnaire, splits = folder / "questionnaire.yaml", folder / "splits.json"
    return Dataset(
        folder=folder,
        samples=tuple(read_lines(folder / "samples.jsonl", Sample)),
        questionnaire=read_questionnaire(questionnaire.read_text(encoding="utf-8"), str(questionnaire))
        if questionnaire.is_file()
        else None,
        splits=Splits.model_validate_json(splits.read_bytes()) if splits.is_file() else None,
    )


def write_dataset(dataset: Dataset) -> None:
    """Write the folder's files, each atomically."""
    if dataset.questionnaire:
        write_text(dataset.folder / "questionnaire.yaml", dump_questionnaire(dataset.questionnaire))
    if dataset.splits:
        write_text(dataset.folder / "splits.json", dataset.splits.model_dump_json(indent=1) + "\n")
    write_lines(dataset.folder / "samples.jsonl", dataset.samples)
