"""What the documents tell a reader to type can be typed; what they link to is there."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from residency.commands.app import HELP
from residency.commands.every import app
from residency.questionnaire import shipped_questionnaires
from residency.recipe import load_recipe
from tests.documents import DOCUMENTS, ROOT, commands_of, main_path

COMMANDS = [
    pytest.param(command, id=f"{path.name}: {' '.join(command)[:60]}")
    for path in DOCUMENTS
    for command in commands_of(path)
]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: list[str]) -> None:
    """Verbs, options, values and arguments are the parser's; recipes named are there, their overrides are keys."""
    verbs = get_command(app)
    with typer.Context(verbs) as context:
        name, verb, rest = verbs.resolve_command(context, command[1:])  # type: ignore[attr-defined]
        parsed = verb.make_context(name, [*rest], resilient_parsing=False)
    if name == "train" and Path(str(parsed.params["recipe"])).is_relative_to("recipes"):
        load_recipe(ROOT / parsed.params["recipe"], parsed.params["overrides"] or [])
    if name == "ingest" and (asked := parsed.params["questionnaire"]):
        assert asked in shipped_questionnaires() or (ROOT / asked).is_file()


def test_documents_tell_of_every_command() -> None:
    told = {command[1] for path in DOCUMENTS for command in commands_of(path)}
    text = " ".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert told <= verbs
    assert not [verb for verb in verbs if f"residency {verb}" not in text and f"`{verb}`" not in text]


def test_the_main_path_goes_from_studies_to_report() -> None:
    assert [command[1] for command in main_path()] == ["phantom", "ingest", "audit", "train", "evaluate", "report"]
    for verb in ("ingest", "audit", "train", "evaluate", "report", "demo"):
        assert f"residency {verb}" in HELP


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.suffix == ".md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    lost = [
        link
        for link in _LINK.findall(path.read_text(encoding="utf-8"))
        if "://" not in link and not (path.parent / link).exists()
    ]
    assert not lost


def test_the_readme_says_what_is_out_of_scope() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    for words in ("not for diagnosis", "drug discovery", "pulse data", "formula design", "make demo", "make test"):
        assert words in text
