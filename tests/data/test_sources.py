"""Published layouts through the installed command: real files where they are at hand, small ones as published else."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from residency.data.dataset import Dataset, load_dataset
from residency.errors import CheckFailed
from residency.material import gather_material
from residency.recipe import load_recipe
from residency.ultrasound.outline import measure_circumference, read_points
from tests.data.make import draw_image
from tests.documents import ROOT
from tests.run_command import run_residency

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not on this machine")


def ingest(images: Path, out: Path, *more: str, group_by: str = "image") -> tuple[dict[str, Any], Dataset]:
    """Run the command, which must succeed; return what it told and what it wrote."""
    done = run_residency("ingest", "--images", images, "--group-by", group_by, "--out", out, "--json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out), load_dataset(out)


def fail(images: Path, out: Path, *more: str) -> str:
    """Run the command, which must fail and leave nothing behind; return the error it told."""
    done = run_residency("ingest", "--images", images, "--group-by", "image", "--out", out, *more)
    assert done.code in (1, 2) and not out.exists()
    return done.err


def draw_all(folder: Path, names: str) -> None:
    for number, name in enumerate(names.split()):
        draw_image(folder / name, seed=number)


@needs_shared
def test_vqa_rad_is_refused_as_published_and_split_anew_lists_its_defects(tmp_path: Path) -> None:
    images = SHARED / "vqa_rad"
    error = fail(images, tmp_path / "leaky")
    assert "split-leak: 202 problem(s)" in error
    assert "202 of the 203 images of the published test split also occur in train" in error and "--resplit" in error
    assert "--accept published-leak" in error
    told, dataset = ingest(images, tmp_path / "out", "--resplit")
    assert told["found"] == {
        "number-answer": 5,
        "tab-answer": 5,
        "stray-space": 2,
        "repeated-row": 4,
        "unused-image": 1,
        "published-leak": 1,
    }
    assert (told["images"], told["annotated_images"], told["annotated"]) == (315, 314, 2248 - 4)
    flags = {flag["kind"]: flag["message"] for flag in told["flags"]}
    assert flags["stray-space"] == "answer_type is `CLOSED `: read as `CLOSED`"
    fold = dataset.require_fold(0)
    assert not {*fold.train} & {*fold.test} and not {*fold.train} & {*fold.val} and not {*fold.val} & {*fold.test}
    splits = fold.split_of()
    of_image = {sample.image: {splits[s.group] for s in dataset.samples if s.image == sample.image} for sample in
                dataset.samples[:400]}  # fmt: skip
    assert {len(found) for found in of_image.values()} == {1}
    asked = Counter(sample.question for sample in dataset.samples)
    assert asked["closed"] == 1193 - 2 and {s.answer for s in dataset.samples if s.question == "closed"} == {
        "yes",
        "no",
    }
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "202 of the 203 images" in page and "CLOSED " in page and "read as <code>12</code>" in page


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def rad_record(image: str, answer: object, phrase_type: str = "freeform", **more: object) -> dict[str, object]:
    known = {"qid": 1, "question": f"Is {answer} shown?", "image_organ": "HEAD", "answer_type": "CLOSED"}
    return known | {"image_name": image, "answer": answer, "phrase_type": phrase_type} | more


def test_a_published_split_that_leaks_is_kept_by_name_alone_and_said_to_leak(tmp_path: Path) -> None:
    draw_all(tmp_path / "rad" / "images", "a.png b.png c.png")
    records = [rad_record(f"{name}.png", answer) for name in "ab" for answer in ("yes", "no")]
    records += [rad_record(f"{name}.png", "lung", "test_para") for name in "bc"]
    write_json(tmp_path / "rad" / "public.json", records)
    out = tmp_path / "out"
    assert "allowed: published-leak" in fail(tmp_path / "rad", out, "--accept", "leak")
    assert "1 of the 2 images of the published test split also occur in train" in fail(tmp_path / "rad", out)
    _, dataset = ingest(tmp_path / "rad", out, "--accept", "published-leak")
    assert [sample.columns["phrase_type"] for sample in dataset.split("test")] == ["test_para", "test_para"]
    assert len(dataset.split("train")) == 4
    done = run_residency("audit", out)
    assert done.code == 1 and "image `../rad/images/b.png` in test and train [leak-image]" in done.err
    recipe = load_recipe(ROOT / "recipes" / "fetal8-nano.yaml", [f"data={out}", "questions=null"])
    with pytest.raises(CheckFailed, match="apart"):
        gather_material(recipe, dataset, 0)
    assert len(gather_material(recipe.model_copy(update={"accept": ("published-leak",)}), dataset, 0).test) == 2


def test_bad_vqa_rad_records_are_told_all_at_once(tmp_path: Path) -> None:
    draw_all(tmp_path / "rad" / "images", "a.png b.png c.png")
    good = [rad_record(f"{name}.png", answer) for name in "abc" for answer in ("yes", "lung")]
    bad = [
        rad_record("lost.png", "no"),
        rad_record("", "no"),
        "text",
        rad_record("a.png", "no", question="Is yes shown?"),
    ]
    path = write_json(tmp_path / "rad" / "public.json", good + bad)
    error = fail(tmp_path / "rad", tmp_path / "out")
    assert "4 problem(s)" in error
    for told in ("no image `lost.png`", "record 8 (qid 1): no image_name", "record 9 (qid ?): no object: text"):
        assert told in error
    assert "a.png: `no` here, `yes` in" in error
    told, dataset = ingest(tmp_path / "rad", tmp_path / "out", "--skip-bad")
    assert told["skipped_rows"] == 4 and {s.image.rpartition("/")[2] for s in dataset.samples} == {"b.png", "c.png"}
    path.write_text(path.read_text()[:-40])
    error = fail(tmp_path / "rad", tmp_path / "cut")
    assert "public.json is no JSON" in error and "cut short" in error


def kinds(told: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = told["found"]
    return found


def answers(dataset: Dataset) -> dict[tuple[str, str], str | None]:
    return {(sample.image.rpartition("/")[2], sample.prefix): sample.suffix for sample in dataset.samples}


@needs_shared
def test_blood_cells_list_the_two_boxes_without_area_and_never_train_on_them(tmp_path: Path) -> None:
    error = fail(SHARED / "blood_cells", tmp_path / "out", "--format", "voc")
    assert "2 problem(s)" in error
    assert "BloodImage_00338.xml object 13: `RBC` box [504, 337, 504, 337] has no area [invalid-box]" in error
    assert "BloodImage_00343.xml object 4: `RBC` box [181, 329, 181, 329] has no area [invalid-box]" in error
    told, dataset = ingest(SHARED / "blood_cells", tmp_path / "out", "--skip-bad")
    assert (told["images"], told["annotated_images"], kinds(told)) == (364, 364, {"invalid-box": 2})
    labels = Counter(box.label for sample in dataset.samples for box in sample.boxes)
    assert labels == {"RBC": 4155 - 2, "WBC": 372, "Platelets": 361}
    assert all(s.suffix and s.suffix.count("<loc_") == 4 * len(s.boxes) and s.prefix == "<OD>" for s in dataset.samples)
    assert "has no area" in (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")


VOC = """<annotation><filename>{}</filename><size><width>{}</width><height>96</height></size>{}</annotation>"""
VOC_BOX = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def write_voc(folder: Path, name: str, image: str, *boxes: tuple[object, ...], width: int = 96) -> None:
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    things = "".join(VOC_BOX.format(*box) for box in boxes)
    (folder / "Annotations" / f"{name}.xml").write_text(VOC.format(image, width, things))


def test_voc_boxes_become_location_tokens_and_bad_ones_are_told_together(tmp_path: Path) -> None:
    draw_all(tmp_path / "voc" / "JPEGImages", "a.png b.png c.png d.png e.png")
    write_voc(tmp_path / "voc", "a", "a.png", ("cell", 48, 24, 96, 72), ("cell", 0, 0, 24, 24), ("blob", 9, 9, 18, 18))
    for name in "bc":
        write_voc(tmp_path / "voc", name, f"{name}.png", ("cell", 10, 10, 20, 20), ("cell", 10, 10, 20, 20))
    write_voc(tmp_path / "voc", "d", "d.png")
    lists = tmp_path / "voc" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, names in {"train": "a\nb\n", "val": "c\n", "test": "d\ne\n"}.items():
        (lists / f"{split}.txt").write_text(names)
    told, dataset = ingest(tmp_path / "voc", tmp_path / "out")
    assert kinds(told) == {"repeated-mark": 2, "nothing-marked": 1, "unused-image": 1}
    assert answers(dataset)["a.png", "<OD>"] == (
        "blob<loc_93><loc_93><loc_187><loc_187>cell<loc_0><loc_0><loc_250><loc_250>cell<loc_500><loc_250><loc_999><loc_750>"
    )
    assert [sample.image[-5:] for sample in dataset.split("train")] == ["a.png", "b.png"]
    write_voc(tmp_path / "voc", "b", "b.png", ("cell", 90, 10, 120, 20), ("cell", 5, 5, "x", 9), ("", 5, 5, 9, 9))
    write_voc(tmp_path / "voc", "c", "c.png", ("cell", 10, 10, 20, 20), width=640)
    write_voc(tmp_path / "voc", "d", "lost.png", ("cell", 10, 10, 20, 20))
    write_voc(tmp_path / "voc", "e", "a.png", ("cell", 10, 10, 20, 20))
    (tmp_path / "voc" / "Annotations" / "f.xml").write_text("<annotation><object>")
    error = fail(tmp_path / "voc", tmp_path / "bad")
    assert "7 problem(s)" in error
    for told_of in (
        "b.xml object 1: `cell` box [90, 10, 120, 20] lies outside the picture of 96 x 96 pixels",
        "b.xml object 2: the object has no xmax",
        "b.xml object 3: the object has no name",
        "c.xml: the picture has 96 x 96 pixels, its annotation says 640 x 96",
        "no image `lost.png`",
        "e.xml: `a.png` is annotated a second time, first in",
        "f.xml: no XML",
    ):
        assert told_of in error


def test_coco_boxes_and_polygons(tmp_path: Path) -> None:
    draw_all(tmp_path / "coco" / "images", "a.png b.png c.png d.png")
    images = [{"id": n, "file_name": f"{name}.png", "width": 96, "height": 96} for n, name in enumerate("abcd", 1)]
    square = [[24, 24, 72, 24, 72, 72, 24, 72]]
    known = {"category_id": 7, "bbox": [24, 24, 48, 48]}
    good = [{"image_id": n, "segmentation": square if n == 1 else [], **known} for n in (1, 2, 3, 4)]
    crowd = {"image_id": 1, "segmentation": {"counts": [0, 9], "size": [96, 96]}, "iscrowd": 1, **known}
    coco = {"images": images, "annotations": [*good, crowd], "categories": [{"id": 7, "name": "nodule"}]}
    path = write_json(tmp_path / "coco" / "annotations" / "instances.json", coco)
    told, dataset = ingest(tmp_path / "coco", tmp_path / "out")
    assert kinds(told) == {"crowd": 1}
    told_boxes = answers(dataset)
    assert told_boxes["a.png", "<OD>"] == "nodule<loc_250><loc_250><loc_750><loc_750>"
    outline = next(sample for sample in dataset.samples if sample.outlines)
    assert (outline.prefix, outline.question) == ("Outline: nodule.", "outline")
    assert outline.suffix and outline.suffix.startswith("<loc_") and outline.suffix.count("<loc_") == 24
    bad = [
        {"image_id": 9, **known},
        {"image_id": 1, "category_id": 8, "bbox": [1, 1, 2, 2]},
        {"image_id": 1, "category_id": 7, "bbox": [90, 90, 40, 40]},
        {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3]},
        {"image_id": 1, "segmentation": [[1, 2, 3]], "category_id": 7, "bbox": [1, 1, 8, 8]},
        "none",
    ]
    coco["annotations"] = good + bad
    write_json(path, coco)
    error = fail(tmp_path / "coco", tmp_path / "bad")
    assert "6 problem(s)" in error
    for told_of in ("annotation 5: the file has no image 9", "no category 8", "[90, 90, 130, 130] lies outside",
                    "`nodule` bbox is [1, 2, 3]", "3 numbers are no polygon", "no object: none"):  # fmt: skip
        assert told_of in error


def test_yolo_rows_with_their_published_splits(tmp_path: Path) -> None:
    yolo = tmp_path / "yolo"
    for split, names in {"train": "a b", "val": "c", "test": "d"}.items():
        for name in names.split():
            draw_image(yolo / "images" / split / f"{name}.png", seed=ord(name))
            rows = yolo / "labels" / split / f"{name}.txt"
            rows.parent.mkdir(parents=True, exist_ok=True)
            rows.write_text("0 0.5 0.5 0.5 0.25\n" + ("1 0.1 0.1 0.4 0.1 0.4 0.4\n" if name == "a" else ""))
    error = fail(yolo, tmp_path / "out")
    assert "no file names the classes" in error and "data.yaml" in error
    (yolo / "data.yaml").write_text("names: {0: tumour, 1: cyst}\n")
    told, dataset = ingest(yolo, tmp_path / "out")
    assert kinds(told) == {}
    found = answers(dataset)
    assert found["d.png", "<OD>"] == "tumour<loc_250><loc_375><loc_750><loc_625>"
    assert found["a.png", "<OD>"] == "cyst<loc_100><loc_100><loc_400><loc_400>" + found["d.png", "<OD>"]
    assert ("a.png", "Outline: cyst.") in found
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [3, 1, 1]
    (yolo / "labels" / "train" / "b.txt").write_text(
        "0 0.5 0.5 1.5 0.2\n2 0.5 0.5 0.1 0.1\n0 0.5 0.5\n0 nan .5 .5 .5\nx\n"
    )
    error = fail(yolo, tmp_path / "bad")
    assert "5 problem(s)" in error
    for told_of in (
        "b.txt line 1: `tumour` box",
        "class 2, which has no name",
        "a box has 4",
        "is no number",
        "`x` is no class",
    ):
        assert told_of in error


def write_table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_table_of_findings_becomes_questions_and_keeps_its_published_split(tmp_path: Path) -> None:
    draw_all(
        tmp_path / "images", "00000001_000.png 00000001_001.png 00000002_000.png 00000003_000.png 00000004_000.png"
    )
    heads = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    good = [
        "00000001_000.png,Cardiomegaly,0,1,57,M,PA",
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA",
        "00000002_000.png,No Finding,0,2,81,F,AP",
        "00000003_000.png,Hernia|Emphysema,0,3,74,F,PA",
    ]
    table = write_table(tmp_path / "Data_Entry_2017.csv", heads, *good, good[0])
    write_table(tmp_path / "train_val_list.txt", "00000001_000.png", "00000001_001.png", "00000004_000.png")
    write_table(tmp_path / "test_list.txt", "00000002_000.png", "00000003_000.png")
    sheet = ("--sheet", str(table))
    told, dataset = ingest(tmp_path / "images", tmp_path / "out", *sheet, group_by="column:Patient ID")
    assert kinds(told) == {"repeated-row": 1, "unknown-group": 1}
    found = {sample.image[-16:]: sample for sample in dataset.samples}
    assert found["00000001_001.png"].answer == ("Cardiomegaly", "Emphysema")
    assert found["00000003_000.png"].suffix == "Emphysema, Hernia" and found["00000004_000.png"].suffix is None
    assert found["00000002_000.png"].prefix == "Findings: Which findings does this chest X-ray show?"
    assert found["00000001_000.png"].attributes == {"patient": "1", "age": "57", "sex": "M"}
    assert dataset.split("test") == [found["00000002_000.png"], found["00000003_000.png"]]
    assert dataset.questionnaire and dataset.questionnaire.question("findings").type == "set"
    bad = ["lost.png,Hernia,0,5,74,F,PA", "00000004_000.png,No Finding|Hernia,0,4,60,F,PA", ",Hernia,0,6,60,F,PA"]
    write_table(table, heads, *good, *bad)
    error = fail(tmp_path / "images", tmp_path / "bad", *sheet)
    assert "3 problem(s)" in error and "no image `lost.png`" in error and "says nothing was found, and what" in error


def test_grades_by_number_and_any_other_table_by_its_column(tmp_path: Path) -> None:
    draw_all(tmp_path / "images", "a.png b.png c.png d.png")
    aptos = write_table(tmp_path / "train.csv", "id_code,diagnosis", "a,0", "b,4", "c,2", "d,7")
    error = fail(tmp_path / "images", tmp_path / "out", "--sheet", str(aptos))
    assert "B5: `7`" in error and "[unmapped]" in error
    _, dataset = ingest(tmp_path / "images", tmp_path / "out", "--sheet", str(aptos), "--skip-bad")
    assert [s.answer for s in dataset.samples if s.suffix] == [
        f"{grade} diabetic retinopathy" for grade in ("no", "proliferative", "moderate")
    ]
    other = write_table(tmp_path / "skin.csv", "image_id,dx,site", "a,nv,back", "b,mel,face", "c,nv,face", "d,NV,back")
    plain = fail(tmp_path / "images", tmp_path / "x", "--sheet", str(other), "--format", "labels")
    assert "which column holds the labels?" in plain and "image_id, dx, site" in plain
    asked = ("--question", "dx: Which lesion is this?", "--question", "site: Where on the body is it?")
    _, dataset = ingest(tmp_path / "images", tmp_path / "skin", "--sheet", str(other), *asked)
    assert answers(dataset)["d.png", "Which lesion is this?"] == "nv"
    assert answers(dataset)["b.png", "Where on the body is it?"] == "face"
    wrong = fail(tmp_path / "images", tmp_path / "x", "--sheet", str(other), "--question", "class: Which?")
    assert "names no column" in wrong
    alone = fail(tmp_path / "images", tmp_path / "x", "--sheet", str(other), "--question", "image_id: Which?",
                 "--format", "nothing")  # fmt: skip
    assert "no format nothing" in alone and "voc: Pascal VOC boxes" in alone and "coco: COCO" in alone


@needs_shared
def test_masks_of_the_fetal_head_give_the_circumference_that_was_measured(tmp_path: Path) -> None:
    head, folder = SHARED / "fetal_head", tmp_path / "head"
    rows = (head / "head_circumference.csv").read_text().split("\n")[:9]
    write_table(folder / "head_circumference.csv", *rows)
    for place in ("image", "annotation"):
        (folder / place).mkdir()
    for row in rows[1:]:
        stem = row.split(",")[0].removesuffix(".png")
        shutil.copy(head / "image" / f"{stem}.png", folder / "image")
        shutil.copy(head / "annotation" / f"{stem}_Annotation.png", folder / "annotation")
    error = fail(folder, tmp_path / "out")
    assert "what do the levels of" in error and "found:   255" in error
    assert "no level and label" in fail(folder, tmp_path / "out", "--label", "head")
    _, dataset = ingest(folder, tmp_path / "out", "--label", "255: fetal head", group_by=r"pattern:^(\d+)")
    measured = {row.split(",")[0]: float(row.split(",")[2]) for row in rows[1:]}
    assert len(dataset.samples) == len(measured)
    for sample in dataset.samples:
        name = sample.image.rpartition("/")[2]
        with Image.open(dataset.image_path(sample)) as picture:
            size = np.array(picture.size)
        assert sample.spacing_mm and sample.suffix and sample.prefix == "Outline: fetal head."
        field = (float(size[0] * sample.spacing_mm[1]), float(size[1] * sample.spacing_mm[0]))
        whole = measure_circumference(np.array(sample.outlines[0].points) / size, field)
        told = measure_circumference(read_points(sample.suffix), field)
        assert whole == pytest.approx(measured[name], rel=0.03) and told == pytest.approx(measured[name], rel=0.03)


def test_masks_by_folder_or_level_and_bad_ones(tmp_path: Path) -> None:
    draw_all(tmp_path / "m" / "images", "a.png b.png c.png d.png e.png")
    square = np.zeros((96, 96), np.uint8)
    square[24:72, 12:60] = 1
    square[40:50, 20:30] = 0  # a hole, filled
    square[0, 95] = 1  # a speck, left out
    for name, region in {"a": square, "b": square, "e": square, "c": 2 * square, "d": 0 * square}.items():
        (tmp_path / "m" / "masks").mkdir(exist_ok=True)
        Image.fromarray(region).save(tmp_path / "m" / "masks" / f"{name}_mask.png")
    told, dataset = ingest(tmp_path / "m", tmp_path / "out", "--label", "1: lung")
    assert kinds(told) == {"unnamed-level": 1, "nothing-marked": 2}
    (outline,) = dataset.samples[0].outlines
    assert (np.min(outline.points, 0).tolist(), np.max(outline.points, 0).tolist()) == ([12, 24], [60, 72])
    for label in ("lung", "heart"):
        (tmp_path / "m" / "masks" / label).mkdir()
    for path in sorted((tmp_path / "m" / "masks").glob("*.png")):
        path.rename(path.parent / ("heart" if path.name[0] == "c" else "lung") / path.name)
    _, dataset = ingest(tmp_path / "m", tmp_path / "folders")
    assert ("a.png", "Outline: lung.") in answers(dataset) and ("c.png", "Outline: heart.") in answers(dataset)
    Image.fromarray(square[:50]).save(tmp_path / "m" / "masks" / "lung" / "a_mask.png")
    Image.fromarray(square).save(tmp_path / "m" / "masks" / "lung" / "lost.png")
    (tmp_path / "m" / "masks" / "lung" / "b_mask.png").write_bytes(b"no mask")
    error = fail(tmp_path / "m", tmp_path / "bad")
    assert "3 problem(s)" in error
    for told_of in ("its annotation says 96 x 50", "no image `lost`", "b_mask.png: the mask cannot be decoded"):
        assert told_of in error


def slake_record(lab: int, question: str, answer: str, language: str = "en", **more: object) -> dict[str, object]:
    known = {"img_id": lab, "img_name": f"xmlab{lab}/source.jpg", "location": "Abdomen", "modality": "MRI", "qid": lab}
    return known | {"question": question, "answer": answer, "q_lang": language, "answer_type": "OPEN"} | more


def test_slake_in_two_languages_with_its_own_splits(tmp_path: Path) -> None:
    slake = tmp_path / "Slake1.0"
    for lab in range(5):
        draw_image(slake / "imgs" / f"xmlab{lab}" / "source.jpg", seed=lab)
        draw_image(slake / "imgs" / f"xmlab{lab}" / "mask.png", seed=20 + lab)
    both = {
        lab: [
            slake_record(lab, "Does the picture contain liver?", "Yes" if lab % 2 else "No"),
            slake_record(lab, "图中包含肝脏吗？", "是的" if lab % 2 else "不是", "zh"),
            slake_record(lab, "图像里使用了什么模态？", "核磁共振", "zh"),
        ]
        for lab in range(5)
    }
    write_json(slake / "train.json", [*both[0], *both[1]])
    write_json(slake / "validate.json", both[2])
    write_json(slake / "test.json", both[3])
    told, dataset = ingest(slake, tmp_path / "out")
    assert kinds(told) == {"unused-image": 1} and told["images"] == 5
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [6, 3, 3]
    zh = sorted((sample.image, sample.answer) for sample in dataset.samples if sample.question == "closed-zh")
    assert [answer for _, answer in zh] == ["否", "是", "否", "是"]
    assert {s.suffix for s in dataset.samples if s.question == "open-zh"} == {"核磁共振"}
    assert {s.category for s in dataset.samples if s.suffix} == {"Abdomen"}
    bad = [slake_record(0, "Which?", "CT", "fr"), slake_record(9, "Which?", "CT"), {"img_name": "xmlab1/source.jpg"}]
    write_json(slake / "test.json", [*both[3], *both[0][:1], *bad])
    error = fail(slake, tmp_path / "bad")
    assert "3 problem(s)" in error
    for told_of in (
        "`q_lang` is `fr`",
        "`xmlab9/source.jpg` may be any of 5",
        "no question and no answer and no q_lang",
    ):
        assert told_of in error
    write_json(slake / "test.json", [*both[3], *both[0][:1]])
    assert "1 of the 2 images of the published test split also occur in train" in fail(slake, tmp_path / "leak")


def rectangle(label: str, x: float, y: float, across: float, down: float, **more: object) -> dict[str, object]:
    value = {"x": x, "y": y, "width": across, "height": down, "rotation": 0, "rectanglelabels": [label]} | more
    return {"from_name": "box", "to_name": "img", "type": "rectanglelabels", "value": value}


def chosen(name: str, *choices: str) -> dict[str, object]:
    return {"from_name": name, "to_name": "img", "type": "choices", "value": {"choices": choices}}


def test_label_studio_exports_choices_texts_rectangles_and_polygons(tmp_path: Path) -> None:
    draw_all(tmp_path / "studio" / "images", "a.png b.png c.png d.png")
    text = {"from_name": "comment", "type": "textarea", "value": {"text": ["well seen"]}}
    ring = {"points": [[10, 10], [50, 10], [50, 50]], "polygonlabels": ["cyst"]}
    results = {
        "a": [chosen("plane", "brain"), chosen("signs", "A-lines", "B-lines"), text, rectangle("head", 25, 25, 50, 25)],
        "b": [chosen("plane", "femur"), {"from_name": "poly", "type": "polygonlabels", "value": ring}],
        "c": [chosen("plane", "brain"), chosen("signs", "B-lines")],
    }
    tasks = [
        {"id": 1, "data": {"image": f"/data/upload/3/0a1b2c3d-{name}.png"},
         "annotations": [{"completed_by": 7, "result": told},
                         {"was_cancelled": True, "result": [chosen("plane", "x")]}]}
        for name, told in results.items()
    ]  # fmt: skip
    path = write_json(tmp_path / "studio" / "export.json", tasks)
    _, dataset = ingest(tmp_path / "studio", tmp_path / "out")
    found = answers(dataset)
    assert found["a.png", "signs"] == "A-lines, B-lines" and found["a.png", "comment"] == "well seen"
    assert found["a.png", "<OD>"] == "head<loc_250><loc_250><loc_750><loc_500>"
    assert ("b.png", "Outline: cyst.") in found and {s.annotator for s in dataset.samples if s.suffix} == {"7"}
    assert dataset.questionnaire
    types = {question.id: (question.type, question.names) for question in dataset.questionnaire.questions}
    assert types["plane"] == ("choice", ("brain", "femur")) and types["signs"] == ("set", ("A-lines", "B-lines"))
    turned = {"data": {"image": "d.png"}, "annotations": [{"result": [rectangle("head", 1, 1, 9, 9, rotation=30)]}]}
    outside = {"data": {"image": "d.png"}, "annotations": [{"result": [rectangle("head", 90, 1, 40, 9)]}]}
    lost = {"data": {"image": "s3://far/lost.png"}, "annotations": [{"result": [chosen("plane", "brain")]}]}
    write_json(path, [*tasks, turned, outside, lost, {"data": {"text": "none"}, "annotations": []}])
    error = fail(tmp_path / "studio", tmp_path / "bad")
    assert "4 problem(s)" in error
    for told_of in ("task 4 result 1: a result of kind `rectanglelabels` is not read, turned",
                    "lies outside the picture", "no image `lost.png`", "task 7: the task names no image"):  # fmt: skip
        assert told_of in error


def test_a_sheet_that_is_named_is_read_though_the_folder_holds_a_published_layout(tmp_path: Path) -> None:
    draw_all(tmp_path / "d" / "images", "a.png b.png c.png")
    for folder in ("masks", "annotations"):
        draw_image(tmp_path / "d" / folder / "a.png", seed=9)
    write_json(tmp_path / "d" / "annotations" / "all.json", {"images": [], "annotations": [], "categories": []})
    write_table(
        tmp_path / "q.yaml", "name: q", 'questions: [{id: q1, type: text, wording: "What is it?", headings: [what]}]'
    )
    sheet = write_table(tmp_path / "answers.csv", "image,what", "images/a.png,x", "b.png,y", "c.png,z")
    asked = ("--sheet", str(sheet), "--questionnaire", str(tmp_path / "q.yaml"))
    _, dataset = ingest(tmp_path / "d", tmp_path / "out", *asked)
    assert answers(dataset)["b.png", "What is it?"] == "y"
    several = fail(tmp_path / "d", tmp_path / "bad")
    assert "may be read in several ways" in several and "coco, masks" in several and "--format" in several
