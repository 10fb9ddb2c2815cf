"""Lists the texts that an expression of the source can have, for example the alternatives of an error message.

`dev.docs.error_lines` calls it. The code is read and not run. `…` stands for a value that only a run knows.
"""

import ast
import re

GAP = "…"
MOST_FORMS = 6  # of one message; if a piece would make more, the piece becomes `…`


class Module:
    """The texts that the expressions of one module can have."""

    def __init__(self, tree: ast.Module, constants: dict[str, str]) -> None:
        self.constants = constants | read_constants(tree)
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self._depth = 0

    def list_texts(self, node: ast.expr, scope: ast.AST | None) -> list[str]:
        """Every text that the expression can have."""
        if isinstance(node, ast.Constant):
            return [node.value if isinstance(node.value, str) else GAP]
        if isinstance(node, ast.JoinedStr):
            return self._join([self.list_texts(part, scope) for part in node.values])
        if isinstance(node, ast.FormattedValue):
            return self.list_texts(node.value, scope) if node.conversion == -1 else [GAP]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._join([self.list_texts(node.left, scope), self.list_texts(node.right, scope)])
        if isinstance(node, ast.IfExp):
            return self.list_texts(node.body, scope) + self.list_texts(node.orelse, scope)
        if isinstance(node, ast.Name):
            return self._resolve_name(node, scope)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.functions:
            return self._list_returns(self.functions[node.func.id])
        return [GAP]

    def _resolve_name(self, node: ast.Name, scope: ast.AST | None) -> list[str]:
        """The texts that the name can have at this line: a constant, or the values that the lines above assign."""
        name = node.id
        if name in self.constants:
            return [self.constants[name]]
        above = [
            line
            for line in (ast.walk(scope) if scope else ())
            if isinstance(line, ast.Assign | ast.AugAssign) and (line.end_lineno or 0) < node.lineno
            if any(isinstance(target, ast.Name) and target.id == name for target in _targets(line))
        ]
        if not above or not all(_is_text(line.value) for line in above):
            return [GAP]
        forms: list[str] = []
        for line in sorted(above, key=lambda line: line.lineno):
            texts = self.list_texts(line.value, scope)
            forms = self._join([forms or [GAP], texts]) if isinstance(line, ast.AugAssign) else forms + texts
        return forms

    def _list_returns(self, function: ast.FunctionDef) -> list[str]:
        if self._depth > 3:
            return [GAP]
        self._depth += 1
        values = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
        texts = [text for value in values for text in self.list_texts(value, function)]
        self._depth -= 1
        return texts or [GAP]

    def _join(self, pieces: list[list[str]]) -> list[str]:
        forms = [""]
        for piece in pieces:
            forms = [form + text for form in forms for text in piece] if len(forms) * len(piece) <= MOST_FORMS else [
                form + GAP for form in forms
            ]  # fmt: skip
        return forms


def _targets(line: ast.Assign | ast.AugAssign) -> list[ast.expr]:
    return line.targets if isinstance(line, ast.Assign) else [line.target]


def _is_text(node: ast.expr) -> bool:
    """True if the expression is a text in the source, and not empty."""
    return isinstance(node, ast.JoinedStr | ast.IfExp) or bool(isinstance(node, ast.Constant) and node.value)


def read_constants(tree: ast.Module) -> dict[str, str]:
    """The text constants of a module that contain a word, by name."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper() and re.search("[A-Za-z]{3}", node.value.value)
    }
