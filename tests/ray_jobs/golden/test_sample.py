"""A sample depends on seed and ids alone, keeps the shares of the labels, and needs no memory per image."""

import random
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.golden.sample import open_sample
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.source import ImageRef


def images(count: int, labels: Any = None) -> list[ImageRef]:
    return [
        ImageRef(
            f"image-{number:06d}", f"where-{number}", 1000 + number, labels(number) if labels else None, ["a", "b"]
        )
        for number in range(count)
    ]


def draw(refs: Any, **settings: Any) -> list[ImageRef]:
    with open_sample(Dataset(source="/images", **settings)) as sample:
        sample.draw(refs)
        return list(sample)


def draw_ids(refs: Any, **settings: Any) -> list[str]:
    return [ref.image_id for ref in draw(refs, **settings)]


def test_without_a_limit_it_is_the_listing() -> None:
    refs = images(100)
    assert draw(refs) == draw(refs, limit=100, seed=3) == draw(refs, limit=1000) == refs


def test_a_seed_draws_the_same_images_in_the_order_of_the_listing() -> None:
    refs = images(1000)
    assert draw_ids(refs, limit=5) == SAMPLE
    assert draw_ids(refs, limit=100) == sorted(draw_ids(refs, limit=100))
    assert len(set(draw_ids(refs, limit=100))) == 100
    assert draw_ids(refs, limit=100) != draw_ids(refs, limit=100, seed=1)
    assert set(draw_ids(refs, limit=50)) < set(draw_ids(refs, limit=100))


# a literal: the golden set of a seed must not change with a library
SAMPLE = ["image-000039", "image-000103", "image-000155", "image-000287", "image-000504"]


def test_the_order_of_the_listing_does_not_matter() -> None:
    refs = images(1000, lambda number: str(number % 7))
    shuffled = random.Random(0).sample(refs, 1000)
    for settings in ({}, {"stratify": True, "label": "kind"}):
        assert sorted(draw_ids(shuffled, limit=100, **settings)) == sorted(draw_ids(refs, limit=100, **settings))


def test_each_image_has_the_same_chance() -> None:
    refs = images(20)
    counts = Counter(name for seed in range(2000) for name in draw_ids(refs, limit=5, seed=seed))
    assert 400 < min(counts.values()) <= max(counts.values()) < 600  # 500 +- 5 standard deviations


def test_strata_keep_their_shares() -> None:
    shares = {"cat": 600, "dog": 300, "owl": 95, "yak": 5}
    kinds = [kind for kind, count in shares.items() for _ in range(count)]
    refs = images(1000, lambda number: kinds[number])
    for seed in range(20):
        counts = Counter(ref.label for ref in draw(refs, limit=100, seed=seed, stratify=True, label="kind"))
        assert sum(counts.values()) == 100
        assert all(abs(counts[kind] - count / 10) <= 1 for kind, count in shares.items())
    even = images(1000, lambda number: str(number % 50))
    assert set(Counter(ref.label for ref in draw(even, limit=100, stratify=True, label="kind")).values()) == {2}


def test_within_a_stratum_each_image_has_the_same_chance() -> None:
    refs = images(20, lambda number: "even" if number % 2 == 0 else "odd")
    settings = {"limit": 10, "stratify": True, "label": "kind"}
    counts = Counter(name for seed in range(1000) for name in draw_ids(refs, seed=seed, **settings))
    assert 420 < min(counts.values()) <= max(counts.values()) < 580


def test_images_without_a_label_are_a_stratum_of_their_own() -> None:
    refs = images(100, lambda number: None if number < 50 else "cat")
    counts = Counter(ref.label for ref in draw(refs, limit=10, stratify=True, label="kind"))
    assert counts == {None: 5, "cat": 5}


def test_two_images_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="dataset /images: two images are called 'image-000003'"):
        draw([*images(10), images(10)[3]])


def test_a_name_that_is_not_unicode_is_reported() -> None:
    with pytest.raises(InputError, match=r"dataset /images: 'caf\\udce9.jpg' is not UTF-8; rename the file"):
        draw([ImageRef("caf\udce9.jpg", "x")])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_listing() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        with open_sample(Dataset(source="/images", limit=1000)) as sample:
            sample.draw(ImageRef(f"image-{number:06d}", "x" * 50) for number in range(count))
            assert sum(1 for _ in sample) == 1000
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)
    assert peak(100_000) < 2 * peak(10_000) + 100_000
