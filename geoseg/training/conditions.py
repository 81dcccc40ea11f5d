"""Conditions on pixel values, such as ``B11 > 150 and B08 < 0.5 * B04``: which pixels a label layer applies to.

Only band names, numbers, arithmetic, comparisons and ``and``/``or``/``not`` are understood; nothing is executed.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import WorkflowError
from geoseg.models.expression import COMPARE

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
}


def band_names(condition: str) -> tuple[str, ...]:
    """Return the band names in a condition, sorted.

    Raises
    ------
    WorkflowError
        If it is not a condition.
    """
    return tuple(sorted({node.id for node in ast.walk(_parse(condition)) if isinstance(node, ast.Name)}))


def holds(condition: str, bands: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Say for each pixel whether a condition holds.

    Parameters
    ----------
    condition : str
        Such as ``"B11 > 150"``.
    bands : mapping of str to NDArray
        Pixel values by band name, shape (y, x); computed with as float64. A division by zero holds for no comparison
        but ``!=``.

    Returns
    -------
    NDArray
        bool, shape (y, x).

    Raises
    ------
    WorkflowError
        If it is not a condition, or names a band that ``bands`` does not have.
    """
    values = {name: pixels.astype(np.float64) for name, pixels in bands.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        result = _evaluate(_parse(condition), values, condition)
    shape = next(iter(values.values())).shape if values else np.shape(result)
    if np.asarray(result).dtype != np.bool_:
        raise WorkflowError(f"condition '{condition}' is not true or false; compare with <, <=, >, >=, == or !=")
    return np.broadcast_to(np.asarray(result, dtype=np.bool_), shape)


def _parse(condition: str) -> ast.expr:
    try:
        return ast.parse(condition.strip(), mode="eval").body
    except SyntaxError as error:
        raise WorkflowError(f"condition '{condition}' cannot be read; write one such as B11 > 150") from error


def _evaluate(node: ast.expr, bands: Mapping[str, NDArray[np.float64]], condition: str) -> Any:
    """Compute one node of the expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        if node.id not in bands:
            raise WorkflowError(f"condition '{condition}' names band {node.id}; the images have {', '.join(bands)}")
        return bands[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = (_evaluate(side, bands, condition) for side in (node.left, node.right))
        return ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        value = _evaluate(node.operand, bands, condition)
        return np.logical_not(value) if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.BoolOp):
        parts = [_evaluate(part, bands, condition) for part in node.values]
        return np.logical_and.reduce(parts) if isinstance(node.op, ast.And) else np.logical_or.reduce(parts)
    if isinstance(node, ast.Compare) and all(type(comparison) in COMPARE for comparison in node.ops):
        sides = [_evaluate(side, bands, condition) for side in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
        return np.logical_and.reduce([COMPARE[type(sign)](left, right) for sign, left, right in pairs])
    raise WorkflowError(
        f"condition '{condition}' has '{ast.unparse(node)}'; "
        "use names of bands, numbers, + - * /, comparisons, and, or, not"
    )
