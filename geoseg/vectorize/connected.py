"""Connected components of anything that is numbered: runs of pixels, faces of blocks, edges of rings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components(count: int, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.int64]:
    """Union-find over whole arrays: the smallest node of each node's component.

    Each round hooks the root of every link's larger side to the smaller one and then points all nodes at their roots
    (hook and compress; Shiloach and Vishkin 1982, "An O(log n) parallel connectivity algorithm"). Hooks only lead to
    smaller roots, so there are no cycles, and the smallest node of a component stays its root.

    Parameters
    ----------
    count : int
        Number of nodes.
    one, other : int, shape (link,)
        The two nodes of each link.

    Returns
    -------
    int64, shape (node,)
        The root of each node.
    """
    root = np.arange(count)
    while len(one):
        root[np.maximum(one, other)] = np.minimum(one, other)
        while not np.array_equal(further := root[root], root):
            root = further
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return root
