"""Candidate answers laid out as a trie: each read as if it stood alone, what they begin with read once."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.models.packed import allow_attention, pack_sequences
from residency.models.twigs import count_places, group_alike, lay_twigs

TWIGS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=9)


@settings(max_examples=100, deadline=None)
@given(answers=st.lists(TWIGS, min_size=1, max_size=4), width=st.integers(1, 40))
def test_a_twig_sees_its_prompt_and_itself_and_shares_what_it_begins_with(
    answers: list[list[list[int]]], width: int
) -> None:
    prompts = [[50, 51, 60 + b] for b in range(len(answers))]
    packed = pack_sequences(prompts, [2] * len(prompts), [b // 2 for b in range(len(prompts))], torch.device("cpu"))
    owners = [b for b, given in enumerate(answers) for _ in given]
    twigs = [twig for given in answers for twig in given]
    read: dict[int, list[int]] = {}
    for laid in lay_twigs(packed, twigs, owners, [3] * len(prompts), width):
        ids_GK = torch.cat([packed.ids_GL, laid.ids_GQ], 1)
        sees_GQK = allow_attention(laid.places, packed.places.join(laid.places))
        for twig, step in zip(laid.twig_M.tolist(), laid.step_M.tolist(), strict=True):
            row, column = int(laid.row_N[step]), int(laid.column_N[step])
            at = len(read.setdefault(twig, [twigs[twig][0]]))
            assert ids_GK[row, sees_GQK[row, column]].tolist() == [*prompts[owners[twig]], *twigs[twig][:at]]
            assert laid.places.position_GL[row, column] == 3 + at - 1
            read[twig].append(int(laid.next_N[step]))
    assert read == {k: twig for k, twig in enumerate(twigs) if len(twig) > 1}


def test_what_candidates_begin_with_is_read_once() -> None:
    packed = pack_sequences([[50, 51]], [1], [0], torch.device("cpu"))
    twigs = [[1, 2, 3, 9], [1, 4, 9], [1, 2, 5, 9], [7, 9]]
    (laid,) = lay_twigs(packed, twigs, [0] * 4, [2], 64)
    assert laid.ids_GQ.tolist() == [[1, 2, 3, 5, 4, 7]]
    assert len(laid.next_N) == 8


def test_rows_of_about_equal_width_are_read_together() -> None:
    assert count_places([[1, 2, 3, 9], [1, 4, 9], [1, 2, 5, 9], [7, 9]]) == 6
    assert group_alike([10, 69, 3, 50, 44]) == [[1, 3, 4], [0, 2]]
    assert group_alike([]) == []
