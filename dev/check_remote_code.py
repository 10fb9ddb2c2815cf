"""Name every call in the given files and folders that could run code out of a checkpoint; exit 1 when there is one.

    python dev/check_remote_code.py ray_jobs plugins dags demo benchmarks dev

transformers and vLLM run Python files of a checkpoint when `trust_remote_code` is true. When it is not set,
transformers asks on the terminal. So every call that loads something sets `trust_remote_code=False` itself. A value in
`**arguments` does not count, because nobody sees it at the call. `datasets` is not in the list, because it has run no
such code since version 4.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

NAME = "trust_remote_code"
LOADERS = {
    "from_pretrained", "from_config", "get_config", "get_tokenizer", "cached_tokenizer_from_config",
    "get_image_processor", "get_processor", "get_dynamic_module_config", "get_class_from_dynamic_module", "pipeline",
    "LLM", "EngineArgs", "AsyncEngineArgs", "ModelConfig", "SentenceTransformer",
}  # fmt: skip
WRAPPERS = {"vLLMEngineProcessorConfig": "engine_kwargs"}  # callables that pass on a dictionary of such arguments


def find_faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and fault of each call that does not set the argument to False."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name_of(node.func)
            values = {keyword.arg: keyword.value for keyword in node.keywords}
            if name in LOADERS and not _is_false(values.get(NAME)):
                yield node.lineno, f"{name} without {NAME}=False"
            elif name in WRAPPERS and not _has_false(values.get(WRAPPERS[name])):
                yield node.lineno, f"{name} without {NAME}=False in its {WRAPPERS[name]}"
            elif name not in LOADERS and NAME in values and not _is_false(values[NAME]):
                yield node.lineno, f"{NAME} is not False"
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == NAME and not _is_false(value):
                    yield node.lineno, f"{NAME} is not False"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(NAME in (_name_of(target), _subscript_of(target)) for target in targets) and not _is_false(
                node.value
            ):
                yield node.lineno, f"{NAME} is not False"


def check(paths: list[Path]) -> list[str]:
    """One line per fault in these Python files, and in those below these folders."""
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return [
        f"{file}:{line}: {fault}; code out of a checkpoint must never run"
        for file in files
        for line, fault in find_faults(ast.parse(file.read_text()))
    ]


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _subscript_of(node: ast.expr) -> str:
    return str(node.slice.value) if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) else ""


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _has_false(node: ast.expr | None) -> bool:
    """True if the expression contains a dictionary with the key. `find_faults` checks the value at the dictionary."""
    keys = [key for part in ast.walk(node) if isinstance(part, ast.Dict) for key in part.keys] if node else []
    return any(isinstance(key, ast.Constant) and key.value == NAME for key in keys)


if __name__ == "__main__":
    faults = check([Path(name) for name in sys.argv[1:]])
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(1 if faults else 0)
