"""PaliGemma pt and mix as they are, and pt tuned, by the shipped recipe: every step on real files, tiny weights."""

import csv
import json
import random
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.contract.tiny_causal import build_tiny_paligemma
from tests.documents import ROOT
from tests.run_command import run_residency

CELLS = ROOT.parent / "shared" / "data" / "blood_cells"
SMALL = ("tune.weights=fp32", "train.epochs=1", "train.learning_rate=5e-3", "predict.max_new_tokens=12")


@pytest.mark.skipif(not CELLS.is_dir(), reason="the shared blood smears are not here")
def test_pt_mix_and_tuned_stand_in_one_table_and_are_rated_blindly(tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / "cells" / name).mkdir(parents=True)
        for path in sorted((CELLS / name).iterdir())[:14]:
            (tmp_path / "cells" / name / path.name).write_bytes(path.read_bytes())
    for name in ("pt", "mix"):
        build_tiny_paligemma(tmp_path / name)
    weights = load_file(tmp_path / "mix" / "model.safetensors")
    save_file(
        {key: value * 1.1 for key, value in weights.items()}, tmp_path / "mix" / "model.safetensors", {"format": "pt"}
    )
    every = ("--ask", "boxes", "--ask", "count", "--ask", "description")
    images = ("--images", tmp_path / "cells", "--group-by", "image", "--skip-bad")
    assert run_residency("ingest", *images, *every, "--out", tmp_path / "data").code == 0
    named = f"{{pt: {tmp_path / 'pt'}, mix: {tmp_path / 'mix'}}}"
    asked = (
        *(
            "variants",
            ROOT / "recipes" / "paligemma-cells.yaml",
            f"data={tmp_path / 'data'}",
            f"out={tmp_path / 'runs'}",
        ),
        *(f"model={tmp_path / 'pt'}", f"variants={named}", *SMALL, "--rate", 2),
    )
    misspelt = run_residency(*asked, "variants={mix: mixx}")
    assert misspelt.code == 2 and "no model" in misspelt.err and not (tmp_path / "runs").exists()
    done = run_residency(*asked)
    assert done.code == 0, done.err
    for words in ("paligemma-cells (tuned)", "pt (as it is)", "mix (as it is)", "descriptiveness precision", "not yet"):
        assert words in done.out
    folder = tmp_path / "runs" / "paligemma-cells" / "variants"
    found = json.loads((folder / "variants.json").read_text())
    assert [one["name"] for one in found["answerers"]] == ["paligemma-cells", "pt", "mix"]
    for one in found["answerers"]:
        metrics = {score["question"]: score["metric"] for score in one["scores"]}
        assert metrics["od"].startswith("F1") and metrics["description"] == "token F1"
        assert metrics["count-rbc"] == "mean absolute error" and one["seconds"] > 0 and one["claims"]["images"] == 4

    sheet = (folder / "ratings.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(sheet.splitlines()))
    key = json.loads((folder / "ratings.key.json").read_text())["rows"]
    assert len(rows) == 6 and {row["item"] for row in rows} == set(key)  # two images, three answers each
    assert all(Path(row["image"]).is_file() for row in rows)
    bare = sheet.replace(str(tmp_path), "")
    assert not any(word in bare for word in ("paligemma", "mix", "tuned"))
    given = {"paligemma-cells": 5, "pt": 2, "mix": 3}
    scale = next(name for name in rows[0] if name.startswith("rating"))
    filled = tmp_path / "doctor.csv"
    with filled.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        for row in random.Random(0).sample(rows, len(rows)):
            writer.writerow(row | {scale: given[key[row["item"]]["of"]]})
    again = run_residency(*asked, "--ratings", filled, "--json")
    assert again.code == 0, again.err
    assert "trained already" in again.err and "predicted already" in again.err
    rated = {one["name"]: one["rated"]["mean"] for one in json.loads(again.out)["answerers"]}
    assert rated == given
    filled.write_text(filled.read_text().replace(",5,", ",9,").replace("\n1,", "\n77,"))
    wrong = run_residency(*asked, "--ratings", filled)
    assert wrong.code == 1 and "`9` is no whole number from 1 to 5" in wrong.err and "no such item" in wrong.err
