"""Sequences with common beginnings in; rows that hold each beginning once, with places and attention masks, out.

A row is a trunk and its branches: the trunk is what several sequences begin with (an image, or a whole prompt), a
branch what one of them goes on with. Every branch sees the trunk and itself, and its positions go on from the trunk's
end, so that nothing tells it of the other branches: logits equal those of separate sequences (methods.md, "Speed that
is free"). A branch may bear twigs: what it might go on with (candidate answers), each seen by itself alone; what they
begin with is there once too (twigs.py).
"""

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

import torch

TRUNK, STEM, PADDING = 0, 0, -1
FOR_ALL = sys.maxsize


@dataclass(frozen=True)
class Places:
    """Where tokens stand: `branch_GL` (0 the trunk, 1 and up its branches, -1 padding) and `position_GL`, from 0.

    `twig_GL` numbers what is on twigs through a row (0 the trunk and the branches' stems). A token is part of all twigs
    from its own number up to, not with, `behind_GL`: what begins alike is there once, and the ends see it.
    """

    branch_GL: torch.Tensor
    position_GL: torch.Tensor
    twig_GL: torch.Tensor
    behind_GL: torch.Tensor

    def join(self, other: "Places") -> "Places":
        """Return these tokens followed by others."""
        names = (field.name for field in fields(self))
        return Places(*(torch.cat((getattr(self, name), getattr(other, name)), 1) for name in names))


@dataclass(frozen=True)
class Packed:
    """B sequences in G rows: their token ids (padding 0) and places.

    `row_B` and `branch_B` say where a sequence lies, `column_BP` in which column of its row each of its tokens stands
    (0 behind its end), and `first_G` names one sequence of each row.
    """

    ids_GL: torch.Tensor
    places: Places
    row_B: torch.Tensor
    branch_B: torch.Tensor
    column_BP: torch.Tensor
    first_G: torch.Tensor


def pack_sequences(
    sequences: Sequence[Sequence[int]], trunks: Sequence[int], owners: Sequence[Hashable], device: torch.device
) -> Packed:
    """Lay sequences out in rows; those with one owner and an equal beginning share a row.

    `trunks` says how many leading tokens of each sequence are its trunk, `owners` what else must be equal (the image).
    """
    rows: dict[tuple[Hashable, tuple[int, ...]], list[int]] = {}
    for b, (sequence, trunk, owner) in enumerate(zip(sequences, trunks, owners, strict=True)):
        rows.setdefault((owner, tuple(sequence[:trunk])), []).append(b)
    ids: list[list[int]] = []
    branches: list[list[int]] = []
    positions: list[list[int]] = []
    row_of, branch_of = [0] * len(sequences), [0] * len(sequences)
    columns: list[list[int]] = [[] for _ in sequences]
    for (_, beginning), members in rows.items():
        n = len(beginning)
        ids.append(list(beginning))
        branches.append([TRUNK] * n)
        positions.append(list(range(n)))
        for number, b in enumerate(members, TRUNK + 1):
            start, rest = len(ids[-1]), sequences[b][n:]
            ids[-1] += rest
            branches[-1] += [number] * len(rest)
            positions[-1] += range(n, n + len(rest))
            row_of[b], branch_of[b] = len(ids) - 1, number
            columns[b] = [*range(n), *range(start, start + len(rest))]
    branch_GL = pad_rows(branches, PADDING, device)
    return Packed(
        ids_GL=pad_rows(ids, 0, device),
        places=Places(
            branch_GL,
            pad_rows(positions, 0, device),
            torch.full_like(branch_GL, STEM),
            torch.full_like(branch_GL, FOR_ALL),
        ),
        row_B=torch.tensor(row_of, device=device),
        branch_B=torch.tensor(branch_of, device=device),
        column_BP=pad_rows(columns, 0, device),
        first_G=torch.tensor([members[0] for members in rows.values()], device=device),
    )


def allow_attention(
    queries: Places, keys: Places, *, whole_trunk: bool = False, window: int | None = None
) -> torch.Tensor:
    """Return which key each query sees (G, Q, K); the queries are the last of the keys.

    A token sees the trunk, its own branch's stem and what its own twig is made of, as far as they lie before it, and at
    most `window` tokens back; with `whole_trunk` the trunk's tokens all see each other, whatever the window
    (prefix-LM). Every token sees itself, padding too, so that no softmax is empty.
    """
    branch_GQ1, branch_G1K = queries.branch_GL.unsqueeze(-1), keys.branch_GL.unsqueeze(1)
    back_GQK = queries.position_GL.unsqueeze(-1) - keys.position_GL.unsqueeze(1)
    in_trunk_G1K, twig_GQ1 = branch_G1K == TRUNK, queries.twig_GL.unsqueeze(-1)
    on_GQK = (keys.twig_GL.unsqueeze(1) <= twig_GQ1) & (twig_GQ1 < keys.behind_GL.unsqueeze(1))
    own_GQK = (branch_G1K == branch_GQ1) & on_GQK
    allowed = (in_trunk_G1K | own_GQK) & (back_GQK >= 0)
    if window is not None:
        allowed &= back_GQK < window
    if whole_trunk:
        allowed |= in_trunk_G1K & (branch_GQ1 == TRUNK)
    allowed &= (branch_GQ1 != PADDING) & (branch_G1K != PADDING)
    Q, K = allowed.shape[1:]
    return allowed | torch.eye(K, dtype=torch.bool, device=allowed.device)[K - Q :]


def to_bias(allowed_GQK: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mask (G, 1, Q, K) to add to attention scores: 0 where allowed, else the dtype's least number."""
    bias = torch.zeros(allowed_GQK.shape, dtype=dtype, device=allowed_GQK.device)
    return bias.masked_fill(~allowed_GQK, torch.finfo(dtype).min).unsqueeze(1)


def pad_rows(rows: Sequence[Sequence[int]], padding: int, device: torch.device | None = None) -> torch.Tensor:
    """Return rows of numbers as one table (rows, longest)."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows], dtype=torch.long, device=device)
