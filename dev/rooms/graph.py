"""Circles, order and floors of a graph of imports: each node has the set of the nodes that it imports."""

from collections.abc import Collection, Mapping, Sequence

Graph = Mapping[str, Collection[str]]


def find_components(graph: Graph) -> list[list[str]]:
    """The strongly connected components (Tarjan 1972), each sorted; a component comes after all that it imports."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in number:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in stack:
                lowest[node] = min(lowest[node], number[target])
        if lowest[node] == number[node]:
            start = stack.index(node)
            components.append(sorted(stack[start:]))
            del stack[start:]

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return components


def find_circles(graph: Graph) -> list[list[str]]:
    """Components of two nodes or more: each node of one reaches each other node of it."""
    return [component for component in find_components(graph) if len(component) > 1]


def find_upward(graph: Graph, order: Sequence[str]) -> list[tuple[str, str]]:
    """Arrows that point from a node to a later node of `order` (lowest first)."""
    place = {node: index for index, node in enumerate(order)}
    return [(node, target) for node in order for target in sorted(graph[node]) if place[target] > place[node]]


def find_order(graph: Graph) -> list[str]:
    """An order, lowest first, with few upward arrows: none if there is no circle.

    Inside a circle they are the fewest that a search finds by moving one node at a time.
    """
    order: list[str] = []
    for component in find_components(graph):
        inside = {node: [target for target in graph[node] if target in component] for node in component}
        starts = [component, component[::-1], sorted(component, key=lambda node: (len(inside[node]), node))]
        candidates = [_improve(start, inside) for start in starts]
        best = min(candidates, key=lambda candidate: len(find_upward(inside, candidate)))
        order += best
    return order


def find_floors(graph: Graph, order: Sequence[str]) -> dict[str, int]:
    """The length of the longest path down from each node: 0 if it imports nothing. Upward arrows are left out."""
    floors: dict[str, int] = {}
    for node in order:
        floors[node] = max((floors[target] + 1 for target in graph[node] if target in floors), default=0)
    return floors


def find_shortcuts(graph: Graph, floors: Mapping[str, int]) -> set[tuple[str, str]]:
    """Downward arrows that duplicate a longer path. The picture draws them faint, which makes it clearer."""
    down = {node: {target for target in graph[node] if floors[target] < floors[node]} for node in graph}
    reached: dict[str, set[str]] = {}
    for node in sorted(graph, key=lambda name: floors[name]):
        reached[node] = down[node].union(*(reached[target] for target in down[node]))
    return {
        (node, target)
        for node in graph
        for target in down[node]
        if any(target in reached[other] for other in down[node] - {target})
    }


def _improve(start: Sequence[str], graph: Graph) -> list[str]:
    """Moves single nodes to where they make the fewest upward arrows, until no move helps."""
    best = list(start)
    fewest = len(find_upward(graph, best))
    improved = True
    while improved:
        improved = False
        for node in list(best):
            rest = [other for other in best if other != node]
            for index in range(len(best)):
                order = [*rest[:index], node, *rest[index:]]
                upward = len(find_upward(graph, order))
                if upward < fewest:
                    best, fewest, improved = order, upward, True
    return best
