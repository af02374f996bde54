"""The layer maps, by their worked values and the properties of every one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.matching.base import Matching, grid
from kdbench.matching.block import Block
from kdbench.matching.explicit import Explicit
from kdbench.matching.first import First
from kdbench.matching.last import Last
from kdbench.matching.last_reversed import LastReversed
from kdbench.matching.penultimate import Penultimate
from kdbench.matching.reverse import Reverse
from kdbench.matching.single import Single
from kdbench.matching.stride import Stride
from kdbench.matching.uniform import Uniform

WORKED = [  # student layers, teacher layers, matching, teacher layers met
    (4, 12, First(), [1, 2, 3, 4]),
    (4, 12, Last(), [9, 10, 11, 12]),
    (4, 12, Uniform(), [3, 6, 9, 12]),
    (4, 12, Stride(), [3, 6, 9, 12]),
    (3, 12, Uniform(), [4, 8, 12]),
    (3, 12, Stride(), [4, 8, 12]),
    (6, 12, Uniform(), [2, 4, 6, 8, 10, 12]),
    (6, 12, Stride(), [2, 4, 6, 8, 10, 12]),
    (5, 12, Uniform(), [2, 4, 7, 9, 12]),
    (5, 12, Stride(), [2, 4, 6, 8, 10]),
    (4, 12, Reverse(), [12, 9, 6, 3]),
    (5, 12, Reverse(), [12, 9, 7, 4, 2]),
    (4, 12, LastReversed(4), [12, 11, 10, 9]),
]
PAIRS = [  # student layers, teacher layers, matching, pairs
    (4, 12, First(2), [(1, 1), (2, 2)]),
    (7, 6, First(2), [(1, 1), (2, 2)]),
    (4, 12, Last(2), [(3, 11), (4, 12)]),
    (7, 6, Last(2), [(6, 5), (7, 6)]),
    (4, 12, Last(1), [(4, 12)]),
    (4, 12, LastReversed(), [(3, 12), (4, 11)]),
    (6, 12, Uniform(include_last=False), [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]),  # PKD-Skip
    (4, 12, Single(), [(4, 12)]),
    (4, 12, Single(-2, 7), [(3, 7)]),
    (4, 12, Single(-4, -12), [(1, 1)]),
    (4, 12, Single(0, 0), [(0, 0)]),
    (24, 24, Single(-1, 21), [(24, 21)]),
    (4, 12, Penultimate(), [(2, 10)]),
    (4, 12, Penultimate(1), [(3, 11)]),
    (12, 6, Penultimate(2), [(10, 4)]),
    (2, 4, Block(), [(1, 1), (1, 2), (2, 3), (2, 4)]),
    (2, 5, Block(), [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)]),
]


@pytest.mark.parametrize(("student", "teacher", "matching", "met"), WORKED)
def test_worked_values(student: int, teacher: int, matching: Matching, met: list[int]) -> None:
    assert matching.pairs(student, teacher) == list(zip(range(1, student + 1), met, strict=True))


@pytest.mark.parametrize(("student", "teacher", "matching", "pairs"), PAIRS)
def test_worked_pairs(student: int, teacher: int, matching: Matching, pairs: list[tuple[int, int]]) -> None:
    assert matching.pairs(student, teacher) == pairs


@pytest.mark.parametrize("depth", range(1, 25))
def test_at_equal_depth_all_maps_are_the_identity(depth: int) -> None:
    identity = [(layer, layer) for layer in range(1, depth + 1)]
    for matching in (First(), Last(), Uniform(), Stride(), Block(), First(depth), Last(depth)):
        assert matching.pairs(depth, depth) == identity
    assert Reverse().pairs(depth, depth) == LastReversed(depth).pairs(depth, depth)


@pytest.mark.parametrize("teacher", [4, 6, 12, 24])
def test_where_the_depth_divides_stride_is_uniform_and_elsewhere_it_stops_short(teacher: int) -> None:
    for student in range(1, teacher + 1):
        stride, uniform = Stride().pairs(student, teacher), Uniform().pairs(student, teacher)
        assert (stride == uniform) == (teacher % student == 0)
        assert stride[-1] == (student, teacher - teacher % student)


@pytest.mark.parametrize("count", range(1, 5))
def test_last_k_is_the_top_of_last_and_all_of_it_for_every_layer(count: int) -> None:
    assert Last(count).pairs(4, 12) == Last().pairs(4, 12)[-count:]
    assert First(count).pairs(4, 12) == First().pairs(4, 12)[:count]
    assert Last(4).pairs(4, 12) == Last().pairs(4, 12)


@pytest.mark.parametrize("count", range(1, 5))
def test_the_reversed_pairs_are_those_of_the_release(count: int) -> None:
    """As coded there, from 0 and the teacher first: (i + teacher - count, student - 1 - i), i = 0..count-1."""
    student, teacher = 4, 12
    released = [(i + teacher - count, student - 1 - i) for i in range(count)]
    if count == 2:
        assert released == [(10, 3), (11, 2)]
    ours = LastReversed(count).pairs(student, teacher)
    assert {(theirs - 1, layer - 1) for layer, theirs in ours} == set(released)
    assert {layer for layer, _ in ours} == {layer for layer, _ in Last(count).pairs(student, teacher)}
    assert LastReversed(None).pairs(student, teacher) == Last().pairs(student, teacher), "without a number: in order"


@pytest.mark.parametrize("matching", [First(), Last(), Uniform(), Stride()])
def test_maps_are_monotone_in_range_and_one_to_one(matching: Matching) -> None:
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            pairs = matching.pairs(student, teacher)
            met = [pair[1] for pair in pairs]
            assert [pair[0] for pair in pairs] == list(range(1, student + 1))
            assert met == sorted(set(met)) and met[0] >= 1 and met[-1] <= teacher
            if isinstance(matching, Last | Uniform):
                assert met[-1] == teacher


def test_blocks_part_the_teacher_and_end_where_uniform_looks() -> None:
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            pairs = Block().pairs(student, teacher)
            assert [theirs for _, theirs in pairs] == list(range(1, teacher + 1))
            ends = {ours: theirs for ours, theirs in pairs}
            assert list(ends.items()) == Uniform().pairs(student, teacher)
            sizes = [sum(ours == layer for ours, _ in pairs) for layer in range(1, student + 1)]
            assert max(sizes) - min(sizes) <= 1


def test_a_grid_holds_every_pair_once() -> None:
    assert grid(2, 3) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("matching", [First(), Last(), Uniform(), Stride(), Reverse(), LastReversed(None), Block()])
def test_a_deeper_student_is_refused_with_the_way_out(matching: Matching) -> None:
    with pytest.raises(ImpossibleError, match=r"student has 7 and the teacher 6: choose a student/size of at most 6"):
        matching.pairs(7, 6)


@pytest.mark.parametrize("made", [First, Last, LastReversed])
@pytest.mark.parametrize(
    ("count", "complaint"),
    [
        (0, "matching.count=0 must be a whole number"),
        (-1, "at least 1"),
        (1.5, "or null for every layer of the student"),
        (True, "matching.count=True"),
        ("two", "matching.count=two"),
        (5, r"matching.count=5 is more than there are layers \(student 4, teacher 12\): set matching.count=4"),
    ],
)
def test_a_count_out_of_range_is_refused(made: Callable[[int], Matching], count: int, complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        made(count).pairs(4, 12)


@pytest.mark.parametrize(
    ("matching", "complaint"),
    [
        (Single(5), r"matching.student=5 is no layer of the student, which has 4: give a whole number from -4"),
        (Single(-5), "matching.student=-5"),
        (Single(-1, 13), "matching.teacher=13 is no layer of the teacher, which has 12"),
        (Single(-1, 1.0), "matching.teacher=1.0"),  # type: ignore[arg-type]
        (Single(True), "matching.student=True"),
        (Penultimate(4), r"matching.offset=4 leads below .*: set matching.offset=3"),
        (Penultimate(12), "set matching.offset=3"),
    ],
)
def test_layers_that_are_not_there_are_refused(matching: Matching, complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        matching.pairs(4, 12)


@pytest.mark.parametrize(
    ("matching", "way_out"),
    [
        (Penultimate(1), "choose matching=single or a deeper student/size"),
        (Uniform(include_last=False), "set matching.include_last=true or choose a deeper student/size"),
    ],
)
def test_a_student_of_one_layer_has_none_below_its_last(matching: Matching, way_out: str) -> None:
    with pytest.raises(ImpossibleError, match=way_out):
        matching.pairs(1, 12)


@pytest.mark.parametrize("offset", [0, -1, 1.5, None])
def test_an_offset_is_a_whole_number_above_zero(offset: int) -> None:
    with pytest.raises(KdbenchError, match=r"matching\.offset="):
        Penultimate(offset)


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
