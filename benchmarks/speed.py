"""Ours beside what a user would run instead, on the same weights and samples: rates, memory and ratios in one table.

    python benchmarks/speed.py [--only dino-smol,florence-2-base,nano] [--threads 2] [--quick]

Give it the machine alone. Each measurement runs in a process of its own; one warms up, the median of five counts.
Answers: eight questions about one image, 16 new tokens each, the image read and seen within the time. Training: sheets
of eight questions an image, an image a step. Needs the extra `bench`; dino-smol is built where it is not there.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
QUESTIONS, NEW_TOKENS = 8, 16
Case = tuple[str, str, str]
"""Model, task, who."""
Found = Mapping[Case, Mapping[str, Any]]
MODELS = {
    "dino-smol": ("transformers", "trl"),
    "florence-2-base": ("transformers", "tutorial"),
    "nano": ("transformers", "tutorial"),
}
"""Each model, and what is run instead: to answer, to train."""
QUICK = {"tiny-llava": ("transformers", "trl"), "tiny-florence": ("transformers", "tutorial")}
WANTED: dict[str, tuple[float | None, float | None, float | None, float | None]] = {
    "dino-smol": (2.0, None, 3.0, None),
    "florence-2-base": (5.0, 2.0, 1.15, 4.0),
}
"""At most so many times one answer's time for eight, at least so many times the rival's rate of training: `ask: each`,
`ask: together`, of both."""
TITLES = {
    "ours": "Residency, ask: each",
    "together": "Residency, ask: together",
    "transformers": "transformers, a loop over generate",
    "tutorial": "the Florence-2 tutorial's loop",
    "trl": "TRL's SFTTrainer",
}


def list_cases(models: Mapping[str, tuple[str, str]]) -> list[Case]:
    """Return what is measured."""
    return [
        (model, task, who)
        for model, (answering, training) in models.items()
        for task, rival in (("answer", answering), ("train", training))
        for who in ("ours", "together", rival)
    ]


def measure(case: Case, folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("speed_work.py")), *case, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--threads", str(threads), "--repeats", str(repeats)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(case)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_tables(found: Found) -> str:
    """Return the rates, and what each ratio must be beside what it is."""
    parts = []
    for task, title in (("answer", "Eight questions about one image"), ("train", "Training on sheets of eight")):
        rows = []
        for (model, what, who), one in found.items():
            if what == task:
                seconds = median(one["seconds"])
                tokens = QUESTIONS * NEW_TOKENS if task == "answer" else one["tokens"]
                rates = f"{QUESTIONS / seconds:.2f} | {tokens / seconds:.0f}"
                rows.append(f"| {model} | {TITLES[who]} | {seconds:.2f} | {rates} | {one['peak_mb']} |")
        head = "| model | who | seconds | answers/s | tokens/s | peak MB |\n| --- | --- | ---: | ---: | ---: | ---: |\n"
        parts.append(f"**{title}**\n\n{head}" + "\n".join(rows))
    claims = [line for model in dict.fromkeys(case[0] for case in found) for line in _claims(model, found)]
    return "\n\n".join([*parts, "\n".join(claims), _maestro()]) + "\n"


def _claims(model: str, found: Found) -> list[str]:
    """Return a model's ratios, with what acceptance asks of them."""
    causal = "llava" in model or model == "dino-smol"
    most_each, most_together, least_each, least_together = WANTED.get(model, (None, None, None, None))
    asked = {name: found[model, "answer", name] for name in ("ours", "together", "transformers")}
    alone = median(asked["ours"]["alone"])
    lines = []
    for name, most in (("ours", most_each), ("together", most_together)):
        ratio = median(asked[name]["seconds"]) / alone
        lines.append(
            _told(model, f"eight questions against one alone, {TITLES[name]}", ratio, most, lambda a, b: a <= b)
        )
    loop = median(asked["transformers"]["seconds"]) / alone
    same = sum(a == b for a, b in zip(asked["ours"]["answers"], asked["transformers"]["answers"], strict=True))
    lines.append(
        f"- {model}: the loop over generate takes {loop:.1f} times; {same} of {QUESTIONS} answers are the same"
    )
    rival = "trl" if causal else "tutorial"
    theirs = found[model, "train", rival]
    for name, least in (("ours", least_each), ("together", least_together)):
        ratio = median(theirs["seconds"]) / median(found[model, "train", name]["seconds"])
        lines.append(
            _told(model, f"training against {TITLES[rival]}, {TITLES[name]}", ratio, least, lambda a, b: a >= b)
        )
    both = zip(found[model, "train", "ours"]["losses"], theirs["losses"], strict=True)
    apart = max(abs(own - other) for own, other in both)
    told = f"differ by at most {apart:.1e} in {len(theirs['losses'])} steps"
    lines.append(f"- {model}: losses of ours and of {TITLES[rival]} {told}")
    return lines


def _told(model: str, what: str, ratio: float, bound: float | None, holds: Callable[[float, float], bool]) -> str:
    wanted = "" if bound is None else f"; wanted {bound:g}: {'met' if holds(ratio, bound) else 'NOT met'}"
    return f"- {model}: {what}: {ratio:.2f}{wanted}"


def _maestro() -> str:
    if importlib.util.find_spec("maestro"):
        return "maestro is installed, but loads Florence-2 from the hub with remote code: not measured."
    return "maestro: not measured. Its Florence-2 extra wants flash-attn, which builds with CUDA only."


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"models, of {','.join(MODELS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=ROOT / "scratch" / "speed", help="for models and images")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, two repeats: does it run?")
    call = parser.parse_args(arguments)
    models = QUICK if call.quick else MODELS
    names = call.only.split(",") if call.only else list(models)
    if unknown := [name for name in names if name not in models]:
        parser.error(f"no model {unknown}; there are {list(models)}")
    call.folder.mkdir(parents=True, exist_ok=True)
    found: dict[Case, dict[str, Any]] = {}
    for case in list_cases({name: models[name] for name in names}):
        found[case] = measure(case, call.folder, call.threads, 2 if call.quick else call.repeats)
        print(f"{' '.join(case)}: {median(found[case]['seconds']):.2f} s", file=sys.stderr, flush=True)
        told = {" ".join(case): one for case, one in found.items()}
        (call.folder / "speed.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    print(write_tables(found), end="")


if __name__ == "__main__":
    main()
