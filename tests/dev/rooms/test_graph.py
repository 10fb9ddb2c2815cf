"""Circles, order and floors of small graphs."""

import itertools

from dev.rooms.graph import find_circles, find_components, find_floors, find_order, find_shortcuts, find_upward

TWO_CIRCLES = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d", "f"}, "f": set[str]()}


def test_a_component_comes_after_all_that_it_imports() -> None:
    assert find_components(TWO_CIRCLES) == [["f"], ["d", "e"], ["a", "b", "c"]]
    assert find_circles(TWO_CIRCLES) == [["d", "e"], ["a", "b", "c"]]


def test_the_computed_order_has_the_fewest_upward_arrows() -> None:
    graph = TWO_CIRCLES | {"a": {"b", "c"}, "b": {"a", "c"}}
    fewest = min(len(find_upward(graph, order)) for order in itertools.permutations(graph))
    assert len(find_upward(graph, find_order(graph))) == fewest


def test_floors_and_shortcuts_follow_the_longest_path() -> None:
    graph = {"top": {"middle", "ground"}, "middle": {"ground"}, "ground": {"top"}}
    floors = find_floors(graph, ["ground", "middle", "top"])
    assert floors == {"ground": 0, "middle": 1, "top": 2}
    assert find_shortcuts(graph, floors) == {("top", "ground")}
