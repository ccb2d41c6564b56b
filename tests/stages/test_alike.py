"""Which profiles are too much like an earlier one."""

from __future__ import annotations

import random
from string import ascii_lowercase

from rapidfuzz.distance import Indel

from cbt_ray.stages.alike import alike

LETTERS = random.Random(9)
WORDS = ["".join(LETTERS.choices(ascii_lowercase, k=6)) for _ in range(60)]


def text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=30))


def test_of_two_that_are_alike_the_later_is_named_with_the_one_that_it_is_most_like() -> None:
    one, other = text(random.Random(1)), text(random.Random(2))
    near = one.replace(one[:6], "abcdef", 1)
    found = alike({4: near, 1: one, 2: other, 3: f"  {one.upper()}\n"}, 0.9)
    assert [(like.patient, like.other) for like in found] == [(3, 1), (4, 1)]
    assert found[0].alike == 1  # case and blanks do not count
    assert 0.9 < found[1].alike < 1


def test_one_that_is_like_another_that_is_not_kept_stays() -> None:
    """Only kept ones count: a chain of likenesses loses no more than it has to."""
    letters = "abcdefghijklmnopqrst"
    texts = {1: letters, 2: letters[:-2] + "XY", 3: letters[:-4] + "ZZXY"}
    likeness = Indel.normalized_similarity(texts[2], texts[3])
    assert likeness > Indel.normalized_similarity(texts[1], texts[3])
    assert [one.patient for one in alike(texts, likeness - 0.01)] == [2]


def test_it_finds_what_comparing_all_finds_and_not_what_is_just_as_alike_as_may_be() -> None:
    rng = random.Random(5)
    base = [text(rng) for _ in range(20)]
    texts = {n: " ".join([*base[n % 20].split()[:28], WORDS[n]]) for n in range(60)}
    found = alike(texts, 0.7)
    kept = sorted(set(texts) - {one.patient for one in found})
    apart = [Indel.normalized_similarity(texts[a], texts[b]) for a in kept for b in kept if a < b]
    assert 10 < len(kept) < 60
    assert max(apart) <= 0.7
    for one in found:
        assert one.other < one.patient
        assert one.alike == Indel.normalized_similarity(texts[one.patient], texts[one.other]) > 0.7
    assert not alike({1: "aaaa", 2: "aabb"}, 0.5)
    assert alike({}, 0.5) == []
