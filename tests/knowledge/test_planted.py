"""A picture of a test patient, planted a little changed in the training split, where retrieval would find it."""

from pathlib import Path

from PIL import Image, ImageEnhance

from residency.data.dataset import Dataset, load_dataset, write_dataset
from tests.data.make import draw_image
from tests.discs import QUESTIONNAIRE, cut_groups, disc_samples
from tests.run_command import run_residency


def test_the_audit_refuses_a_planted_near_duplicate_of_a_test_patient(tmp_path: Path) -> None:
    samples = disc_samples(tmp_path / "images", 12)
    for number, image in enumerate(sorted({sample.image for sample in samples})):
        draw_image(Path(image), seed=number)
    bare = tuple(sample.model_copy(update={"sha256": None}) for sample in samples)
    write_dataset(Dataset(tmp_path / "data", bare, QUESTIONNAIRE, cut_groups(bare)))
    sound = run_residency("audit", tmp_path / "data")
    assert sound.code == 0, sound.err
    dataset = load_dataset(tmp_path / "data")
    held, learned = dataset.split("test")[0], dataset.split("train")[0]
    with Image.open(held.image) as file:
        ImageEnhance.Brightness(file.convert("RGB")).enhance(0.9).save(tmp_path / "planted.jpg", quality=80)
    with Image.open(tmp_path / "planted.jpg") as file:
        file.save(learned.image)
    planted = run_residency("audit", tmp_path / "data")
    assert planted.code == 1
    assert "leak-near-duplicate" in planted.err
    assert held.image in planted.err
    assert learned.image in planted.err
