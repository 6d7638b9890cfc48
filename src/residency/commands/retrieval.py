"""Commands about retrieval: an index of annotated cases and of passages."""

from pathlib import Path
from typing import Annotated

import typer

from residency.commands.app import Json, Seed, app
from residency.errors import UserError
from residency.tell import out_console, tell


@app.command()
def index(
    dataset: Annotated[Path, typer.Argument(help="A dataset; its training split alone is indexed.")],
    model: Annotated[str, typer.Option(help="Whose tower sees the images: a model, a run, or a vision encoder.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the index; left out, DATASET/index.")] = None,
    words: Annotated[str, typer.Option(help="How texts are searched: bm25, or a sentence encoder.")] = "bm25",
    text: Annotated[list[Path] | None, typer.Option(help="Documents: .txt, .md, .jsonl, .json; or a folder.")] = None,
    fold: Annotated[int, typer.Option(min=0, help="Whose training split, where the dataset has folds.")] = 0,
    as_json: Json = False,
) -> None:
    """Index a training split's annotated cases, and documents, to retrieve them when answering (docs/retrieval.md)."""
    from residency.config import Recipe
    from residency.data.dataset import load_dataset
    from residency.knowledge.index import build_index
    from residency.material import require_ready, select_samples
    from residency.models.embed import open_image_encoder

    loaded, recipe = load_dataset(dataset), Recipe(name="index", data=dataset)
    samples = select_samples(recipe, loaded, loaded.split("train", fold))
    require_ready(recipe, samples)
    folder = out or dataset / "index"
    card = build_index(folder, loaded, samples, open_image_encoder(model), fold=fold, documents=text or (), words=words)
    told = card.model_dump(mode="json", include={"cases", "pictures", "groups", "passages", "dimension", "encoder"})
    tell({"index": str(folder)} | told, as_json, next=f"residency predict RUN retrieval.index={folder} retrieval.k=3")


@app.command()
def search(
    index: Annotated[Path, typer.Argument(help="A folder of `residency index`.")],
    image: Annotated[Path | None, typer.Option(help="A picture: cases that look like it.")] = None,
    words: Annotated[str, typer.Option(help="Words: cases and passages that tell of them.")] = "",
    k: Annotated[int, typer.Option("--k", min=1, help="How many.")] = 5,
    without: Annotated[str, typer.Option(help="A group, such as the patient asked about, that is left out.")] = "",
    as_json: Json = False,
) -> None:
    """Find the annotated cases and passages nearest to a picture, to words, or to both."""
    from residency.knowledge.index import open_index
    from residency.knowledge.search import search_index

    hits = search_index(open_index(index), image, words, k, without)
    if as_json:
        tell(hits, True)
        return
    for hit in hits:
        near = "" if hit.distance is None else f" [{hit.distance:.3f}]"
        where = f" ({hit.group}: {hit.image})" if hit.image else ""
        out_console.print(f"{hit.kind} {hit.id}{near}: {' '.join(hit.text.split())[:200]}{where}", markup=False)


@app.command()
def tile(
    dataset: Annotated[Path, typer.Argument(help="A dataset whose answers are boxes (--around: or outlines).")],
    out: Annotated[Path, typer.Option(help="Folder for the dataset of tiles.")],
    side: Annotated[
        int | None, typer.Option(min=32, help="A tile's side in pixels; the same as predict.tiles.side.")
    ] = None,
    around: Annotated[
        int | None, typer.Option(min=1, help="Instead: each picture whole, and so many crops around its marks.")
    ] = None,
    overlap: Annotated[float, typer.Option(min=0.0, max=0.9, help="The least share two neighbours share.")] = 0.25,
    empty: Annotated[float, typer.Option(min=0.0, help="Tiles without a finding kept for each with one.")] = 1.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Cut a dataset into tiles, or crops, to train on, marks carried along (docs/high-resolution.md).

    Tiles (--side) teach small findings on large pictures, crops (--around) a closer look (predict.closer).
    """
    from residency.data.cut import crop_dataset, cut_dataset

    if (side is None) == (around is None):
        raise UserError("tile wants either --side or --around", do="--side 320 for tiles, --around 4 for crops")
    if around is not None:
        found = crop_dataset(dataset, out, around, seed=seed)
    else:
        assert side is not None
        found = cut_dataset(dataset, out, side, overlap=overlap, empty=empty, seed=seed)
    tell(found, as_json, next=f"residency train RECIPE data={out}")
