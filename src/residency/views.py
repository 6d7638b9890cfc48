"""Answers about pictures larger than the model reads: the whole and its tiles and crops asked alike, one answer out.

Each view is a sample whose image is a crop in memory, so every family answers views by the path it answers all by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from PIL import Image

from residency.answering import Query, Said, answer_each
from residency.asking import Predict, Tiles
from residency.closer import look_closer
from residency.crops import answer_crops, cut_crop
from residency.data.normalize import parse_answer
from residency.data.places import tell_places
from residency.data.tiles import Region, Seen, crop_around, cut_tiles, is_cut, merge_boxes, place_boxes
from residency.data.told import boxes_of, read_told
from residency.errors import UserError
from residency.models.family import Images, Loaded, read_images
from residency.models.registry import Opened
from residency.types import Answer, Box, Question, Sample

SURE = 1e-6
"""The least confidence whose logarithm is taken."""


@dataclass(frozen=True)
class View:
    """One region of a picture and what was said about it."""

    region: Region
    said: Said
    whole: bool


def answer_rows(opened: Opened, queries: Sequence[Query], settings: Predict, images: Images | None) -> list[Said]:
    """Answer each query, places by a closer look where `settings` ask for it.

    With `settings.tiles`, those about a picture larger than a tile are answered by its views.

    Raises:
        UserError: a tile's side must be named, for the family reads pictures of several sizes.
    """
    if settings.tiles:
        said = _answer_tiled(opened, queries, settings.tiles, settings, images)
    else:
        said = answer_each(opened, queries, settings, images)
    return look_closer(opened, queries, said, settings, images) if settings.closer else said


def _answer_tiled(
    opened: Opened, queries: Sequence[Query], tiles: Tiles, settings: Predict, images: Images | None
) -> list[Said]:
    side = tiles.side or 2 * side_of(opened.loaded)
    made: dict[int, Said] = {}
    for image in dict.fromkeys(query.sample.image for query in queries):
        places = [row for row, query in enumerate(queries) if query.sample.image == image]
        asked = [queries[row] for row in places]
        (picture,), _ = read_images([asked[0].sample], images)
        if max(picture.size) <= side:
            said = answer_each(opened, asked, settings, {image: picture})
        else:
            said = _answer_views(opened, picture, side, asked, tiles, settings)
        made |= dict(zip(places, said, strict=True))
    return [made[row] for row in range(len(queries))]


def side_of(loaded: Loaded) -> int:
    """Return the side in pixels that the model reads a picture at.

    Raises:
        UserError: the family reads pictures of several sizes.
    """
    size = dict(loaded.processor.image_processor.size)
    if not size.get("height"):
        raise UserError("the model reads pictures of several sizes", do="name a tile's side: predict.tiles.side=1024")
    return int(size["height"])


def _answer_views(
    opened: Opened,
    picture: Image.Image,
    side: int,
    queries: Sequence[Query],
    tiles: Tiles,
    settings: Predict,
) -> list[Said]:
    whole = Region(0, 0, *picture.size)
    regions = cut_tiles(*picture.size, side, tiles.overlap) if tiles.grid else []
    if tiles.zoom:
        found = _propose(opened, picture, queries[0].sample, tiles.find, settings)
        regions += crop_around(found, picture.size, side, tiles.zoom)
    views: dict[int, list[View]] = {row: [] for row in range(len(queries))}
    crops = (cut_crop(picture, region, queries) for region in [whole, *dict.fromkeys(regions)])
    for crop, said in answer_crops(opened, crops, settings):
        for row, one in enumerate(said):
            views[row].append(View(crop.region, one, crop.region == whole))
    return [
        Said(query.sample, merge_views(views[row], query.question, tiles, picture.size))
        for row, query in enumerate(queries)
    ]


def merge_views(
    views: Sequence[View], question: Question | None, tiles: Tiles, size: tuple[int, int]
) -> Mapping[str, Any]:
    """Return the fields of one prediction from those of all views, by the rule of the question.

    Places (boxes) of all views are merged whatever the rule: one a finding, the surest. `whole`: what was said about
    the whole picture. `surest`: the view with the highest confidence. `union`: every member of a set that any view
    names. `any:ANSWER`: that answer where any view gives it, else the whole picture's.
    """
    whole = dict(next(view for view in views if view.whole).said.fields)
    rule = tiles.rules.get(question.id if question else "", "whole")
    if any("<loc" in view.said.fields["prediction"] for view in views):
        return whole | _merge_places(views, question, tiles, size)
    if rule == "surest":
        return max(views, key=lambda view: view.said.fields["confidence"] or 0.0).said.fields
    if rule == "union":
        return whole | _merge_sets(views, question)
    if rule.startswith("any:"):
        wanted = rule.removeprefix("any:")
        given = [view.said.fields for view in views if view.said.fields["parsed"] == wanted]
        return max(given, key=lambda fields: fields["confidence"] or 0.0, default=whole)
    return whole


def _merge_places(
    views: Sequence[View], question: Question | None, tiles: Tiles, size: tuple[int, int]
) -> dict[str, Any]:
    seen = [
        Seen(box, sure)
        for view in views
        for box, sure in _boxes_of(view)
        if sure >= log(max(tiles.least, SURE)) and not is_cut(box, view.region, size)
    ]
    kept = sorted(merge_boxes(seen), key=lambda one: (one.box.label, one.box.xyxy))
    text = tell_places([one.box for one in kept], [], size, labelled=True)
    parsed = parse_answer(question, text) if question else None
    return {
        "prediction": text,
        "parsed": parsed.answer if parsed else text or None,
        "box_scores": tuple(round(one.sure, 4) for one in kept),
    }


def _boxes_of(view: View) -> list[tuple[Box, float]]:
    """Return a view's boxes in pixels of the whole picture; each is as sure as itself, else as the answer it is in."""
    fields = view.said.fields
    runs = read_told(fields["prediction"])
    scores = fields.get("box_scores") or ()
    answer = log(max(fields["confidence"] or 0.0, SURE))
    sure = scores if len(scores) == len(runs) else [answer] * len(runs)
    return [
        (box, float(score))
        for run, score in zip(runs, sure, strict=True)
        for box in place_boxes(boxes_of(run, view.region.size), view.region)
    ]


def _merge_sets(views: Sequence[View], question: Question | None) -> dict[str, Any]:
    """Return every member that a view names, in the order of first mention."""
    members: dict[str, None] = {}
    for view in views:
        parsed: Answer | None = view.said.fields["parsed"]
        members |= dict.fromkeys(parsed if isinstance(parsed, tuple) else ())
    text = ", ".join(members)
    return {"prediction": text, "parsed": tuple(members)} if question and members else {}


def _propose(opened: Opened, picture: Image.Image, sample: Sample, find: str, settings: Predict) -> list[Box]:
    """Return what the model finds when it is asked for objects, the surest first."""
    bare = {"prefix": find, "question": None, "context": None, "shots": ()}
    asked = sample.model_copy(update=bare)
    (said,) = answer_each(opened, [Query(asked)], settings, {sample.image: picture})
    found = _boxes_of(View(Region(0, 0, *picture.size), said, whole=True))
    return [box for box, _ in sorted(found, key=lambda told: -told[1])]
