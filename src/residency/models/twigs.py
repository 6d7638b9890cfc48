"""Candidate answers in; a trie of their tokens behind packed prompts out: what they begin with is read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch

from residency.models.packed import FOR_ALL, PADDING, STEM, Packed, Places, pad_rows

SLACK = 32
"""How many more places a row may take than another that is read with it: a pass of its own costs as much."""


@dataclass(frozen=True)
class Laid:
    """Twigs laid out in rows: their token ids (padding 0) and places.

    `row_N` and `column_N` say where a token stands, `next_N` which token follows it there, once for all twigs that
    share both; twig `twig_M` is made up of such steps `step_M`.
    """

    ids_GQ: torch.Tensor
    places: Places
    row_N: torch.Tensor
    column_N: torch.Tensor
    next_N: torch.Tensor
    twig_M: torch.Tensor
    step_M: torch.Tensor


@dataclass
class Row:
    """A row's tokens, laid one twig after the other, the alike in turn; `path` holds the last one's columns."""

    ids: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    path: list[int] = field(default_factory=list)

    def add(self, twig: Sequence[int], branch: int, start: int, width: int) -> bool:
        """Lay out a twig on a branch whose stem ends before position `start`; False if the row grows too wide by it."""
        read = twig[:-1]
        begun = [self.ids[column] for column in self.path if self.branches[column] == branch]
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(begun, read, strict=False)))
        here, new = len(self.ids), len(read) - shared
        if here and here + new > width:
            return False
        for column in self.path[shared:]:
            self.behind[column] = here + 1
        self.path[shared:] = range(here, here + new)
        self.ids += read[shared:]
        self.branches += [branch] * new
        self.positions += range(start + shared, start + len(read))
        self.behind += [FOR_ALL] * new
        return True


def lay_twigs(
    packed: Packed, twigs: Sequence[Sequence[int]], owners: Sequence[int], lengths: Sequence[int], width: int
) -> Iterator[Laid]:
    """Lay twigs out behind packed sequences, a pass of about `width` columns at a time.

    `owners` says which sequence a twig goes on from, `lengths` how many tokens the sequences hold. A twig's last token
    is not read: nothing follows it.
    """
    row_of, branch_of, device = packed.row_B.tolist(), packed.branch_B.tolist(), packed.ids_GL.device
    waiting: list[list[int]] = [[] for _ in packed.ids_GL]
    for twig in sorted(range(len(twigs)), key=lambda twig: (owners[twig], *twigs[twig])):  # alike beginnings meet
        if len(twigs[twig]) > 1:
            waiting[row_of[owners[twig]]].append(twig)
    while any(waiting):
        rows = [Row() for _ in waiting]
        steps: dict[tuple[int, int, int], int] = {}
        made_of: list[tuple[int, int]] = []
        for number, (row, queue) in enumerate(zip(rows, waiting, strict=True)):
            while queue and row.add(twigs[queue[0]], branch_of[owners[queue[0]]], lengths[owners[queue[0]]], width):
                twig = queue.pop(0)
                for column, token in zip(row.path, twigs[twig][1:], strict=True):
                    made_of.append((twig, steps.setdefault((number, column, token), len(steps))))
        places = Places(
            pad_rows([row.branches for row in rows], PADDING, device),
            pad_rows([row.positions for row in rows], 0, device),
            pad_rows([range(1, len(row.ids) + 1) for row in rows], STEM, device),
            pad_rows([row.behind for row in rows], STEM, device),
        )
        row_N, column_N, next_N = torch.tensor(list(steps), device=device).T
        twig_M, step_M = torch.tensor(made_of, device=device).T
        yield Laid(pad_rows([row.ids for row in rows], 0, device), places, row_N, column_N, next_N, twig_M, step_M)


def count_places(twigs: Sequence[Sequence[int]]) -> int:
    """Return how many tokens of twigs are read: what they begin with once, their last ones not."""
    return len({tuple(twig[:length]) for twig in twigs for length in range(1, len(twig))})


def group_alike(places: Sequence[int]) -> list[list[int]]:
    """Return the rows in groups, the widest first, of rows that are at most `SLACK` places apart."""
    groups: list[list[int]] = []
    for row in sorted(range(len(places)), key=lambda row: -places[row]):
        if not groups or places[groups[-1][0]] - places[row] > SLACK:
            groups.append([])
        groups[-1].append(row)
    return groups
