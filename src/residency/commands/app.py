"""What every command shares: the app they register with, and the options that mean the same everywhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from residency import NOT_FOR_DIAGNOSIS

HELP = f"""Train, examine and serve small vision-language models on medical images with few annotations.

From a spreadsheet and a folder of images to an examined model:

\b
  residency ingest --sheet answers.xlsx --images images --questionnaire fetal8 \\
                   --group-by column:Patient --out dataset
  residency audit dataset                    what was found wrong: dataset/audit.html
  residency train recipes/fetal8-nano.yaml data=dataset
  residency evaluate runs/fetal8-nano        scores with intervals by patient
  residency report runs/fetal8-nano          one page: runs/fetal8-nano/report.html

No data at hand: `residency demo` does all of it on simulated studies, offline.

{NOT_FOR_DIAGNOSIS}
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Seed = Annotated[int, typer.Option(help="Everything drawn at random follows from it.")]

Burned = Annotated[
    Literal["mask", "refuse", "keep"],
    typer.Option(help="DICOM: text burned into pictures is masked, its file refused, or kept (accepts the risk)."),
]
Frames = Annotated[int | None, typer.Option(min=1, help="DICOM: at most so many frames of a clip, evenly spread.")]
Salt = Annotated[
    Path | None,
    typer.Option(help="DICOM: file of the secret that makes names of identifiers; made if missing. Keep it apart."),
]
