"""The layer maps, by their worked values and the properties of every one."""

from __future__ import annotations

import pytest

from kdbench.error import ImpossibleError
from kdbench.matching.explicit import Explicit
from kdbench.matching.first import First
from kdbench.matching.last import Last
from kdbench.matching.uniform import Uniform

WORKED = [  # student layers, teacher layers, matching, teacher layers met
    (4, 12, First(), [1, 2, 3, 4]),
    (4, 12, Last(), [9, 10, 11, 12]),
    (4, 12, Uniform(), [3, 6, 9, 12]),
    (3, 12, Uniform(), [4, 8, 12]),
    (6, 12, Uniform(), [2, 4, 6, 8, 10, 12]),
    (5, 12, Uniform(), [2, 4, 7, 9, 12]),
]


@pytest.mark.parametrize(("student", "teacher", "matching", "met"), WORKED)
def test_worked_values(student: int, teacher: int, matching: First, met: list[int]) -> None:
    assert matching.pairs(student, teacher) == list(zip(range(1, student + 1), met, strict=True))


def test_at_equal_depth_all_maps_are_the_identity() -> None:
    assert First().pairs(6, 6) == Last().pairs(6, 6) == Uniform().pairs(6, 6)


@pytest.mark.parametrize("matching", [First(), Last(), Uniform()])
def test_maps_are_monotone_in_range_and_one_to_one(matching: First) -> None:
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            pairs = matching.pairs(student, teacher)
            met = [pair[1] for pair in pairs]
            assert [pair[0] for pair in pairs] == list(range(1, student + 1))
            assert met == sorted(set(met)) and met[0] >= 1 and met[-1] <= teacher
            if not isinstance(matching, First):
                assert met[-1] == teacher


@pytest.mark.parametrize("matching", [First(), Last(), Uniform()])
def test_a_deeper_student_is_refused_with_the_way_out(matching: First) -> None:
    with pytest.raises(ImpossibleError, match=r"student has 7 and the teacher 6: choose a student/size of at most 6"):
        matching.pairs(7, 6)


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        ([], "names no pairs"),
        ([[1, 2], [1, 2]], "twice"),
        ([[1.5, 2]], r"1\.5"),
        (["ab"], "ab"),
        ([1, 2], "holds 1"),
        ([[1, 2, 3]], r"\[1, 2, 3\]"),
        ([[1, 7]], "0..6"),
        ([[4, 1]], "0..3"),
    ],
)
def test_explicit_pairs_out_of_range_are_refused(layers: list[list[int]], complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        Explicit(layers).pairs(3, 6)


def test_explicit_pairs_are_taken_as_written() -> None:
    assert Explicit([[0, 0], [3, 1], [1, 6]]).pairs(3, 6) == [(0, 0), (3, 1), (1, 6)]
