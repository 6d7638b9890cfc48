"""A dataset in, Label Studio's tasks and labeling configuration out: to annotate, or to correct what a model answered.

What `residency ingest --format label-studio --questionnaire ...` takes back: a control is called by its question's id.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from residency.data.dataset import Dataset, load_dataset
from residency.errors import UserError
from residency.files import read_lines, write_json, write_text
from residency.questionnaire import render_answer
from residency.types import Answer, Prediction, Question, Sample

LOCAL = "/data/local-files/?d="
"""How Label Studio calls a file below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


@dataclass(frozen=True)
class StudioSummary:
    """What was written; `root` is the folder that Label Studio must be told to serve files from."""

    tasks: int
    answers: int
    predictions: int
    root: Path
    written: tuple[Path, ...]


def write_studio(folder: Path, out: Path, predictions: Path | None = None) -> StudioSummary:
    """Write a task for each image, its answers as annotations, a model's answers in words as predictions to start from.

    Beside `out` (JSON) lies the labeling configuration, with the ending `.xml`.

    Raises:
        UserError: no dataset, or a file of predictions for other samples.
    """
    dataset = load_dataset(folder)
    told = {prediction.id: prediction for prediction in read_lines(predictions, Prediction)} if predictions else {}
    if strange := [*{*told} - {sample.id for sample in dataset.samples}][:3]:
        raise UserError(f"{predictions} answers other samples than {folder} holds", found=strange)
    return write_tasks(dataset, told, out)


def write_tasks(dataset: Dataset, told: Mapping[str, Prediction], out: Path) -> StudioSummary:
    """Write what `write_studio` does, of a dataset in memory and predictions by their samples' ids."""
    folder = dataset.folder
    images: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        images.setdefault(sample.image, []).append(sample)
    paths = {image: (folder / image).resolve() for image in images}
    root = Path(os.path.commonpath([path.parent for path in paths.values()]))
    questions = {q.id: q for q in dataset.questionnaire.questions} if dataset.questionnaire else {}
    tasks = [
        _make_task(number, paths[image].relative_to(root).as_posix(), _size(paths[image]), samples, questions, told)
        for number, (image, samples) in enumerate(images.items(), 1)
    ]
    config = out.with_suffix(".xml")
    write_json(out, tasks)
    write_text(config, _make_config(dataset, questions.values()))
    answers = sum(sample.suffix is not None for sample in dataset.samples)
    return StudioSummary(len(tasks), answers, len(told), root, (out, config))


def _make_task(
    id: int,
    name: str,
    size: tuple[int, int],
    samples: Sequence[Sample],
    questions: dict[str, Question],
    told: Mapping[str, Prediction],
) -> dict[str, Any]:
    """Return one image's task."""
    annotations = []
    for annotator in dict.fromkeys(sample.annotator for sample in samples if sample.suffix is not None):
        own = [sample for sample in samples if sample.annotator == annotator and sample.suffix is not None]
        results = [result for sample in own for result in _results(sample, sample.answer, size, questions)]
        annotations.append({"completed_by": {"email": annotator or "residency"}, "result": results})
    data = {"image": LOCAL + name, "group": samples[0].group}
    task: dict[str, Any] = {"id": id, "data": data, "annotations": annotations}
    answered = [s for s in samples if s.id in told and not (s.boxes or s.outlines)]
    if answered:
        results = [r for s in answered for r in _results(s, _answer(told[s.id]), size, questions, told[s.id].parts)]
        task["predictions"] = [{"model_version": told[answered[0].id].model, "result": results}]
    return task


def _answer(prediction: Prediction) -> Answer:
    return prediction.parsed if prediction.parsed is not None else prediction.prediction


def _results(
    sample: Sample,
    answer: Answer | None,
    size: tuple[int, int],
    questions: dict[str, Question],
    parts: dict[str, Answer] | None = None,
) -> list[dict[str, Any]]:
    """Return one sample's answer as results: places in percent of the sides, choices, or text."""
    known = {"to_name": "image", "original_width": size[0], "original_height": size[1]}
    if sample.boxes or sample.outlines:
        return [known | result for result in _places(sample, size)]
    question = questions.get(sample.question or "")
    if answer is None or question is None:
        return []
    known |= {"from_name": question.id}
    if question.options and not question.parts:
        chosen = list(answer) if isinstance(answer, tuple) else [str(answer)]
        return [known | {"type": "choices", "value": {"choices": chosen}}] if chosen else []
    text = render_answer(question, answer, sample.parts if parts is None else parts)
    return [known | {"type": "textarea", "value": {"text": [text]}}]


def _places(sample: Sample, size: tuple[int, int]) -> Iterable[dict[str, Any]]:
    for box in sample.boxes:
        corners = np.array(box.xyxy).reshape(2, 2) / size * 100
        (x, y), (across, down) = corners[0].tolist(), (corners[1] - corners[0]).tolist()
        value = {"x": x, "y": y, "width": across, "height": down, "rotation": 0, "rectanglelabels": [box.label]}
        yield {"from_name": "boxes", "type": "rectanglelabels", "value": value}
    for outline in sample.outlines:
        points = (np.array(outline.points) / size * 100).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [outline.label]}
        yield {"from_name": "outlines", "type": "polygonlabels", "value": value}


def _make_config(dataset: Dataset, questions: Iterable[Question]) -> str:
    """Return the labeling configuration: a control for each question, one for boxes and one for outlines."""
    lines = ["<View>", '  <Image name="image" value="$image"/>']
    boxes = sorted({box.label for sample in dataset.samples for box in sample.boxes})
    outlines = sorted({outline.label for sample in dataset.samples for outline in sample.outlines})
    for tag, name, labels in (("RectangleLabels", "boxes", boxes), ("PolygonLabels", "outlines", outlines)):
        if labels:
            marks = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
            lines.append(f'  <{tag} name="{name}" toName="image">{marks}</{tag}>')
    for question in questions:
        if question.id in ("od", "outline"):
            continue
        name = quoteattr(question.id)
        lines.append(f"  <Header value={quoteattr(question.wording)}/>")
        if question.options and not question.parts:
            several = "multiple" if question.type == "set" else "single"
            choices = "".join(f"<Choice value={quoteattr(option)}/>" for option in question.names)
            lines.append(f'  <Choices name={name} toName="image" choice="{several}">{choices}</Choices>')
        else:
            lines.append(f'  <TextArea name={name} toName="image" maxSubmissions="1" editable="true"/>')
    return "\n".join([*lines, "</View>"]) + "\n"


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size
