"""Finds tests that compare objects of a program's own classes.

Such a comparison would be made by the program, which could say that its objects equal everything.
"""

import ast
from functools import lru_cache


@lru_cache(maxsize=4096)
def compared_class(source: str, of_program: frozenset[str], entry_point: str) -> str:
    """Return a class of the program whose instances the tests compare or compute with; or "".

    A class is a name of the program with a capital letter that is called. The entry point is
    mostly a function, whatever its name; it counts only if two of its results are compared.
    """
    tree, made = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (name := _class_made(node.value, of_program, made)):
            made |= {target.id: name for target in node.targets if isinstance(target, ast.Name)}
    for operands in filter(None, map(_operands, ast.walk(tree))):
        names = [name for o in operands if (name := _class_made(o, of_program, made))]
        if names and (names[0] != entry_point or len(names) > 1):
            return names[0]
    return ""


def _operands(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Compare) and not any(
        isinstance(o, ast.Is | ast.IsNot) for o in node.ops
    ):
        return [node.left, *node.comparators]
    return [node.left, node.right] if isinstance(node, ast.BinOp) else []


def _class_made(node: ast.expr, of_program: frozenset[str], made: dict[str, str]) -> str:
    """Return the class of the program of which an expression is an instance, or holds some."""
    if isinstance(node, ast.Name):
        return made.get(node.id, "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        return name if name in of_program and name[:1].isupper() and not name.isupper() else ""
    parts = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
    return next(filter(None, (_class_made(part, of_program, made) for part in parts)), "")
