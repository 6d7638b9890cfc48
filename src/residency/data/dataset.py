"""A dataset folder: `samples.jsonl`, `questionnaire.yaml`, `splits.json` in, typed records out, and back."""

from dataclasses import dataclass
from pathlib import Path

from residency.errors import UserError
from residency.files import is_there, read_json, read_lines, read_text, sha256_file, write_lines, write_text
from residency.questionnaire import dump_questionnaire, read_questionnaire
from residency.types import Fold, Questionnaire, Sample, SplitName, Splits

FILES = ("samples.jsonl", "questionnaire.yaml", "splits.json")


@dataclass(frozen=True)
class Dataset:
    """Samples with their questionnaire and splits (None where the folder has none)."""

    folder: Path
    samples: tuple[Sample, ...]
    questionnaire: Questionnaire | None
    splits: Splits | None

    def require_splits(self) -> Splits:
        """Return the splits.

        Raises:
            UserError: the dataset has none.
        """
        if self.splits is None:
            raise UserError(
                f"{self.folder} has no splits.json",
                found="samples without splits",
                do="residency ingest --sheet samples.jsonl ... writes them, with no group in two",
            )
        return self.splits

    def require_fold(self, fold: int) -> Fold:
        """Return the groups of a fold's splits.

        Raises:
            UserError: the dataset has no splits, or no such fold.
        """
        folds = self.require_splits().folds
        if not 0 <= fold < len(folds):
            raise UserError(
                f"{self.folder} has no fold {fold}",
                found=f"{len(folds)} fold(s)",
                allowed="0" if len(folds) == 1 else f"0 to {len(folds) - 1}, or all",
                do="choose one of these (fold=K), or ingest again with --folds",
            )
        return folds[fold]

    def split(self, name: SplitName, fold: int = 0) -> list[Sample]:
        """Return the annotated samples of a split.

        Raises:
            UserError: the dataset has no splits, or no such fold.
        """
        groups = set(getattr(self.require_fold(fold), name))
        return [sample for sample in self.samples if sample.group in groups and sample.suffix is not None]

    def image_path(self, sample: Sample) -> Path:
        """Return where the sample's image lies."""
        return self.folder / sample.image


def load_dataset(folder: Path) -> Dataset:
    """Read a dataset folder.

    Raises:
        UserError: there is no samples.jsonl, or a file cannot be read.
        CheckFailed: lines that are no samples, all listed.
    """
    if not is_there(folder / "samples.jsonl"):
        found = "no samples.jsonl in it" if is_there(folder) else "nothing there"
        raise UserError(f"{folder} is not a dataset", found=found, do="residency ingest makes one (see its --help)")
    questionnaire, splits = folder / "questionnaire.yaml", folder / "splits.json"
    return Dataset(
        folder=folder,
        samples=tuple(read_lines(folder / "samples.jsonl", Sample)),
        questionnaire=read_questionnaire(read_text(questionnaire), str(questionnaire))
        if is_there(questionnaire)
        else None,
        splits=read_json(splits, Splits) if is_there(splits) else None,
    )


def hash_dataset(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that says what is learned and from whom, by name."""
    return {name: sha256_file(folder / name) for name in FILES if (folder / name).is_file()}


def write_dataset(dataset: Dataset) -> None:
    """Write the folder's files, each atomically."""
    if dataset.questionnaire:
        write_text(dataset.folder / "questionnaire.yaml", dump_questionnaire(dataset.questionnaire))
    if dataset.splits:
        write_text(dataset.folder / "splits.json", dataset.splits.model_dump_json(indent=1) + "\n")
    write_lines(dataset.folder / "samples.jsonl", dataset.samples)
