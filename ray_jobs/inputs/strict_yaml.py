"""Read the YAML of a suite: mappings and lists of text, numbers and booleans, without YAML's surprises.

Both planes read suites with this. It checks the size before it parses, and the depth and the number of values while it
parses. So no file takes long or takes much memory.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import yaml

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_VALUES = 10_000  # an alias counts once for each use
MESSAGE_CHARACTERS = 400
TEXT = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"
SCALARS = {TEXT, MERGE, *(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))}
DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
FLOAT = re.compile(r"[-+]?([0-9][0-9_]*)?\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
MAX_DIGITS = 500  # of a number
REFUSED_CATEGORIES = {"Cc", "Cs"}  # no prompt needs these characters, and storage, logs or JSON break on them


class YamlFault(yaml.YAMLError):
    """The YAML has an element that a suite must not have."""


def parse(text: str | bytes, what: str) -> Any:
    """Returns the value of the YAML. Raises InputError in one line that begins with `what`."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{what}: {len(data):,} bytes, more than {MAX_BYTES:,}; a suite is a short text, correct the file"
        )
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        raise InputError(f"{what}: not UTF-8 text; correct the file") from None
    try:
        value = yaml.load(decoded, _Loader)  # noqa: S506  a SafeLoader that accepts less
        _check_values(value)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{what}: not YAML: {_format_error(error)}; correct the file") from None
    except RecursionError:
        raise InputError(f"{what}: not YAML: nested too deep or in itself; correct the file") from None
    return value


class _Loader(yaml.SafeLoader):
    """Counts nodes and levels while it composes nodes, before it makes any value."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > MAX_DEPTH:
            raise YamlFault(f"nested deeper than {MAX_DEPTH}")
        if self.nodes > MAX_VALUES:
            raise YamlFault(f"more than {MAX_VALUES:,} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        _check_scalar(node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        if node.tag != self.DEFAULT_MAPPING_TAG:
            raise YamlFault(f"the tag {printable(node.tag, 60)} is not for a suite{_locate(node)}")
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (TEXT, MERGE):
                raise YamlFault(f"a key must be text, put it in quotes{_locate(key)}")
            if key.value in seen:
                raise YamlFault(f"the key {printable(key.value, 60)!r} stands there twice{_locate(key)}")
            seen.add(key.value)
        return node

    def compose_sequence_node(self, anchor: Any) -> yaml.SequenceNode:
        node = super().compose_sequence_node(anchor)
        if node.tag != self.DEFAULT_SEQUENCE_TAG:
            raise YamlFault(f"the tag {printable(node.tag, 60)} is not for a suite{_locate(node)}")
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge (`<<`) as usual, and keep each key once. Otherwise nested merges would grow without an end."""
        super().flatten_mapping(node)
        node.value = list({key.value: (key, value) for key, value in node.value}.values())


def _check_scalar(node: yaml.ScalarNode) -> None:
    """Raise YamlFault for a scalar that YAML reads in another way than a person does."""
    if node.tag not in SCALARS:
        kind = "a date" if node.tag.endswith(":timestamp") else f"the tag {printable(node.tag, 60)}"
        raise YamlFault(f"{printable(node.value, 60)!r} is {kind}, put it in quotes{_locate(node)}")
    name = node.tag.rpartition(":")[2]
    if name in ("int", "float"):
        plain = (DECIMAL if name == "int" else FLOAT).fullmatch(node.value)
        if not plain or len(node.value) > MAX_DIGITS:
            raise YamlFault(
                f"{printable(node.value, 60)!r} is not a plain decimal number, write it as one{_locate(node)}"
            )


def _check_values(value: Any) -> None:
    for number, item in enumerate(_iterate_values(value, 0)):
        if number > MAX_VALUES:
            raise YamlFault(f"more than {MAX_VALUES:,} values with its aliases written out")
        if isinstance(item, str):
            refused = next(
                (
                    character
                    for character in item
                    if character not in "\n\t" and unicodedata.category(character) in REFUSED_CATEGORIES
                ),
                None,
            )
            if refused:
                raise YamlFault(f"the character {printable(refused)} in {printable(item, 60)!r}")


def _iterate_values(value: Any, depth: int) -> Iterator[Any]:
    if depth > MAX_DEPTH:
        raise YamlFault(f"nested deeper than {MAX_DEPTH} with its aliases written out")
    yield value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _iterate_values(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _iterate_values(inner, depth + 1)


def _locate(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1}, column {node.start_mark.column + 1})"


def _format_error(error: Exception) -> str:
    return printable(" ".join(str(error).split()), MESSAGE_CHARACTERS)
