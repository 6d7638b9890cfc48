"""A folder of images in, their names out, and the image that a sheet means by what it wrote."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from residency.data.images import image_problem
from residency.errors import UserError
from residency.files import walk_folder
from residency.types import Problem

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm")


class ImageIndex:
    """Finds an image by the name a sheet gives it, leniently: case, ending, spaces, sub-folders, Windows paths."""

    def __init__(
        self,
        root: Path,
        paths: Mapping[str, Path],
        problems: Iterable[Problem] = (),
        called: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Index images by name; `called` are the names of those that a sheet calls otherwise."""
        self.root, self._called = root, called or {}
        self.paths = dict(paths)
        self.problems = tuple(problems)
        self._bad = {problem.source.file: problem for problem in self.problems if problem.source}
        self._by: dict[int, defaultdict[str, list[str]]] = {}

    def without(self, unreadable: Sequence[Problem]) -> "ImageIndex":
        """Return an index in which the images that these problems are about cannot be used."""
        bad = {problem.source.file for problem in unreadable if problem.source}
        paths = {name: path for name, path in self.paths.items() if name not in bad}
        return ImageIndex(self.root, paths, [*self.problems, *unreadable], self._called)

    def find(self, written: str, hint: str | None = None) -> str | Problem:
        """Return the name of the image that is meant, or what is wrong; `hint` is a folder that settles equal names."""
        wanted = PurePosixPath(written.strip().replace("\\", "/"))
        for number, level in enumerate(_LEVELS):
            hits = self._names(number).get(level(wanted.name), [])
            if len(hits) > 1:
                hits = self._closest(hits, wanted, hint)
            if len(hits) == 1:
                return self._bad.get(hits[0], hits[0])
            if hits:
                message = f"`{written}` may be any of {len(hits)} images"
                return Problem(
                    kind="ambiguous-image",
                    message=message,
                    candidates=tuple(sorted(self._calls(hit)[0] for hit in hits)[:3]),
                )
        message = f"no image `{written}` in {self.root}"
        return Problem(kind="missing-image", message=message, candidates=self._near(wanted.name))

    def _names(self, number: int) -> defaultdict[str, list[str]]:
        """Return the images' names by what one level of leniency leaves of them; most sheets need the first alone."""
        if number not in self._by:
            names = self._by.setdefault(number, defaultdict(list))
            for name in (*self.paths, *self._bad):
                for call in dict.fromkeys(_LEVELS[number](call.rpartition("/")[2]) for call in self._calls(name)):
                    names[call].append(name)
        return self._by[number]

    def _calls(self, name: str) -> tuple[str, ...]:
        return self._called.get(name, (name,))

    def _closest(self, hits: list[str], wanted: PurePosixPath, hint: str | None) -> list[str]:
        """Keep the hits whose folders agree longest with the written path, else those in the hinted folder."""
        kept = _closest([self._calls(hit)[0] for hit in hits], wanted, hint)
        return [hit for hit in hits if self._calls(hit)[0] in kept]

    def _near(self, name: str) -> tuple[str, ...]:
        from rapidfuzz import process

        calls = [call for image in self.paths for call in self._calls(image)[:1]]
        return tuple(hit[0] for hit in process.extract(name, calls, limit=2, score_cutoff=80))


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name.casefold())


_LEVELS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.casefold(),
    _squeezed,
    lambda name: _squeezed(PurePosixPath(name).stem if PurePosixPath(name).suffix.lower() in ENDINGS else name),
)


def _closest(hits: list[str], wanted: PurePosixPath, hint: str | None) -> list[str]:
    """Keep the hits whose folders agree longest with the written path, else those in the hinted folder."""
    folders = [_squeezed(part) for part in wanted.parts[:-1]][::-1]
    if folders:
        agreed = {}
        for hit in hits:
            own = [_squeezed(part) for part in PurePosixPath(hit).parts[:-1]][::-1]
            pairs = zip(folders, own, strict=False)
            agreed[hit] = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(own)))
        most = max(agreed.values())
        if most:
            hits = [hit for hit in hits if agreed[hit] == most]
    if len(hits) > 1 and hint:
        hinted = [hit for hit in hits if _squeezed(PurePosixPath(hit).parent.name) == _squeezed(hint)]
        hits = hinted or hits
    return hits


def index_images(root: Path, only: str = "") -> ImageIndex:
    """Find every image under the folder, in order of name; links are not followed out of it.

    `only` is a regular expression that file names must match.

    Raises:
        UserError: the folder is missing, or holds no image, or a folder in it cannot be listed.
    """
    if not root.is_dir():
        raise UserError(f"no folder of images {root}", found="a file" if root.exists() else "nothing")
    paths, problems = _list_images(root, re.compile(only))
    if not paths and not problems:
        raise UserError(f"{root} holds no images", allowed=sorted(ENDINGS))
    return ImageIndex(root, paths, problems)


def _list_images(root: Path, only: re.Pattern[str]) -> tuple[dict[str, Path], list[Problem]]:
    """Return the image files under the folder by name, and links that point out of it."""
    paths: dict[str, Path] = {}
    problems: list[Problem] = []
    inside = root.resolve()
    for folder, files in walk_folder(root):
        within = folder.relative_to(root)
        for file in files:
            if file.startswith(".") or not file.lower().endswith(ENDINGS) or not only.search(file):
                continue
            name = file if within == Path() else f"{within.as_posix()}/{file}"
            path = folder / file
            if not _is_text(name):
                shown = file.encode("utf-8", "replace").decode()
                problems.append(image_problem(shown, "unreadable-image", "its name is no valid text: rename the file"))
            elif path.is_symlink() and not path.resolve().is_relative_to(inside):
                message = "a link out of the image folder is not followed"
                problems.append(image_problem(name, "outside-link", message))
            else:
                paths[name] = path
    return paths, problems


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
