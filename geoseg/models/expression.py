"""Arithmetic expressions of a band, as catalog entries write them (gdal_calc's syntax).

An expression is parsed into a tree, and only the nodes, names and functions listed here are accepted: a catalog
never executes code. This module knows tensors, nothing of models.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import torch

from geoseg.errors import CatalogError

Evaluator = Callable[[torch.Tensor], torch.Tensor]

LONGEST = 2_000
"""Characters of the longest expression that is parsed."""

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: lambda value: value}
FUNCTIONS: dict[str, tuple[int, Callable[..., torch.Tensor]]] = {
    "log": (1, torch.log),
    "log10": (1, torch.log10),
    "log1p": (1, torch.log1p),
    "exp": (1, torch.exp),
    "sqrt": (1, torch.sqrt),
    "abs": (1, torch.abs),
    "clip": (3, torch.clamp),
    "maximum": (2, torch.maximum),
    "minimum": (2, torch.minimum),
    "where": (3, lambda condition, yes, no: torch.where(condition.bool(), yes, no)),
    "logical_and": (2, torch.logical_and),
    "logical_or": (2, torch.logical_or),
    "logical_not": (1, torch.logical_not),
}
"""Name to number of arguments and function; the names are numpy's, as in gdal_calc."""


def compile_expression(text: str) -> Evaluator:
    """Compile an expression of ``A``.

    Parameters
    ----------
    text : str
        Such as ``"log(0.005 * A + 1)"``: the band ``A``, numbers, ``+ - * / **``, comparisons and `FUNCTIONS`.

    Returns
    -------
    callable
        Maps a float32 tensor of any shape to a float32 tensor of the same shape.

    Raises
    ------
    CatalogError
        When the text holds anything else; the message names it.
    """
    if len(text) > LONGEST:
        raise CatalogError(f"an expression of {len(text)} characters is too long; use at most {LONGEST}.")
    try:
        evaluate = _compile(ast.parse(text.strip(), mode="eval").body, text)
        evaluate(torch.ones(1))
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, RuntimeError) as error:
        raise CatalogError(f"'{text}' is not an arithmetic expression of A; write it in gdal_calc's syntax.") from error
    return lambda values: torch.broadcast_to(evaluate(values), values.shape).to(torch.float32).contiguous()


def _compile(node: ast.expr, text: str) -> Evaluator:
    """A closure that evaluates one node and what is below it."""
    if isinstance(node, ast.Name) and node.id == "A":
        return lambda values: values
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        number = float(node.value)
        return lambda values: torch.tensor(number, device=values.device)
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
        return _apply(UNARY[type(node.op)], [node.operand], text)
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        return _apply(BINARY[type(node.op)], [node.left, node.right], text)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARE:
        return _apply(COMPARE[type(node.ops[0])], [node.left, node.comparators[0]], text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        count, function = FUNCTIONS[node.func.id]
        if len(node.args) == count and not node.keywords:
            return _apply(function, node.args, text)
    raise CatalogError(
        f"'{ast.unparse(node)}' in the expression '{text}' is not allowed; use A, numbers, + - * / **, comparisons and "
        f"{', '.join(FUNCTIONS)}."
    )


def _apply(function: Callable[..., Any], operands: list[ast.expr], text: str) -> Evaluator:
    """A closure that evaluates the operands, then applies a function to them."""
    parts = [_compile(operand, text) for operand in operands]

    def evaluate(values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = function(*(part(values) for part in parts))
        return result

    return evaluate
