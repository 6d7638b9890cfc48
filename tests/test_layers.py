"""A module imports only from those to its left (design.md), and light commands import nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parent.parent / "src" / "residency"
LAYERS = (
    ("types", "errors", "files", "tables", "progress", "foreign", "processes"),
    ("section", "asking", "config", "recipe", "questionnaire"),
    ("ultrasound", "losses", "dicom"),
    ("data",),
    ("models",),
    ("predict", "answering", "crops", "closer", "views"),
    ("evaluate",),
    ("judges", "folder", "material"),
    ("knowledge",),
    (
        "neighbours",
        "contrast",
        "distill",
        "leak",
        "preflight",
        "train",
        "trainer",
        "arguments",
        "tracking",
        "watch",
        "pseudo",
        "selftrain",
        "exam",
        "explain",
        "shares",
        "engines",
        "pretrain",
        "paper",
        "prompting",
        "rivals",
        "sweep",
        "export",
        "variants",
    ),
    ("report", "drafts"),
    ("serve",),
    ("demo", "tell", "commands", "cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("residency."):
            found.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("residency.")}
    return found


def top_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def test_every_module_has_a_layer() -> None:
    assert {top_of(path) for path in SRC.rglob("*.py")} - {"__init__"} == set(LEVEL)


def test_imports_go_to_the_left() -> None:
    wrong = [
        f"{path.relative_to(SRC)} imports {name}"
        for path in SRC.rglob("*.py")
        if top_of(path) != "__init__"
        for name in imports_of(path)
        if LEVEL[name] > LEVEL[top_of(path)]
    ]
    assert not wrong


def test_data_and_evaluate_import_no_model_and_no_torch() -> None:
    code = (
        "import sys, residency.data.ingest, residency.data.audit, residency.evaluate.examine, residency.report.page;"
        "import residency.ultrasound.phantom;"
        "print(*{'torch', 'transformers', 'residency.models'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_and_wrong_flags_answer_at_once_without_heavy_imports() -> None:
    code = (
        "import sys; sys.argv = ['residency', '--help']\n"
        "from residency.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*{'torch', 'numpy', 'openpyxl', 'matplotlib', 'sklearn'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "not for diagnosis" in done.stdout
    assert done.stderr.strip() == ""
