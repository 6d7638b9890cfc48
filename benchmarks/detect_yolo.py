"""YOLOv8n from scratch: pictures and labels in YOLO's layout in, every box found in each picture out, as JSON lines.

Runs in an environment of its own (`make detect-env`): ultralytics is AGPL-3.0, and it asks for torchvision, whose
wheel on PyPI does not go with torch's CPU build. `benchmarks/detect.py` calls it.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from types import ModuleType

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(__file__).parents[1] / ".venv-detect"))


def main() -> None:
    """Train unless weights are there, keep the epoch that is best on `val`, write what `val` and `test` hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="data.yaml, images/ and labels/ of train, val and test")
    parser.add_argument("out", type=Path, help="a folder for the run, val.jsonl and test.jsonl")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=320, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    out = chosen.out.resolve()  # a relative one ultralytics puts under a folder of its own
    _replace_torchvision()
    from ultralytics import YOLO

    weights = out / "train" / "weights" / "best.pt"
    if not weights.is_file():
        YOLO("yolov8n.yaml").train(
            data=str(chosen.folder / "data.yaml"), epochs=chosen.epochs, imgsz=chosen.side, batch=chosen.batch,
            seed=chosen.seed, device="cpu", workers=0, amp=False, plots=False, pretrained=False, project=str(out),
            name="train", exist_ok=True, patience=chosen.epochs,
        )  # fmt: skip
    model = YOLO(weights)
    for split in ("val", "test"):
        with (out / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for image in sorted((chosen.folder / "images" / split).iterdir()):
                found = model.predict(
                    str(image), imgsz=chosen.side, conf=0.001, iou=0.7, max_det=300, device="cpu", verbose=False
                )[0]
                boxes = [
                    {"label": model.names[int(kind)], "xyxy": xyxy, "confidence": sure}
                    for kind, xyxy, sure in zip(
                        found.boxes.cls.tolist(), found.boxes.xyxy.tolist(), found.boxes.conf.tolist(), strict=True
                    )
                ]
                line = {"image": image.name, "boxes": boxes, "seconds": sum(found.speed.values()) / 1000}
                file.write(json.dumps(line) + "\n")


def _replace_torchvision() -> None:
    """Let ultralytics suppress overlapping boxes with its own code: torchvision's compiled operator needs CUDA."""
    from ultralytics.utils.nms import TorchNMS

    stand_in, stand_in_ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
    stand_in_ops.nms = TorchNMS.nms  # type: ignore[attr-defined]
    stand_in.ops = stand_in_ops  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": stand_in, "torchvision.ops": stand_in_ops}


if __name__ == "__main__":
    main()
