"""The project's documents in, the commands they tell a reader to give out."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "recipes").glob("*.yaml")),
)
_BLOCK = re.compile(r"^```(?:sh|bash)?\n(.*?)^```", re.M | re.S)


def command_blocks(path: Path) -> list[list[list[str]]]:
    """Return the `residency` commands of each block of shell lines, split into words; comments are left out."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        lines = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        blocks = ["\n".join(lines)]
    else:
        blocks = _BLOCK.findall(text)
    return [
        [
            shlex.split(line, comments=True)
            for line in block.replace("\\\n", " ").splitlines()
            if line.startswith("residency ")
        ]
        for block in blocks
    ]


def commands_of(path: Path) -> list[list[str]]:
    """Return all `residency` commands of a document."""
    return [command for block in command_blocks(path) for command in block]


def main_path() -> list[list[str]]:
    """Return the README's path from studies to report."""
    return next(block for block in command_blocks(ROOT / "README.md") if len(block) >= 6)
