"""A benchmark's name in, its module out: benchmarks are scripts beside each other, not a package."""

import sys
from importlib import import_module
from types import ModuleType

from tests.documents import ROOT


def import_benchmark(name: str) -> ModuleType:
    """Import a script of `benchmarks/`; the scripts that it imports can be named from then on, too."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
