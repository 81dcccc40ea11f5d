"""The table of stages, and the tree of blocks that it goes through."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from geoseg.stages import STAGES, TABLE, Need, Scope, Stage, stages_of, totals
from geoseg.tree import BlockTree, Place, id_of, place_of

SCOPES = [
    Scope(),
    Scope(predicts=True),
    Scope(predicts=True, things=True),
    Scope(outlines=True),
    Scope(outlines=True, sieves=True),
    Scope(predicts=True, things=True, outlines=True, sieves=True),
]


@st.composite
def trees(draw: st.DrawFn) -> BlockTree:
    """Some blocks, all of them mapped or a few."""
    down, across = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    places = st.tuples(st.integers(0, down - 1), st.integers(0, across - 1))
    mapped = draw(st.none() | st.frozensets(places, min_size=1, max_size=12))
    return BlockTree((down, across), mapped)


@given(trees(), st.sampled_from(SCOPES))
def test_every_need_of_a_stage_is_read_by_that_stage_and_by_no_other(tree: BlockTree, scope: Scope) -> None:
    """Needs and readers are one relation, seen from both ends: counted by place, each is as often there."""
    stages = stages_of(scope)
    for stage in stages:
        for need in stage.needs:
            for source in stages:
                if source.name in need.stages:
                    needed = _pairs(stage, need, source, tree)
                    read = Counter(
                        (reader, place)
                        for place in source.places(tree)
                        for reader in need.where.readers(tree, place)
                        if stage.has(tree, reader)
                    )
                    assert needed == read


def _pairs(stage: Stage, need: Need, source: Stage, tree: BlockTree) -> Counter[tuple[Place, Place]]:
    places = ((place, at) for place in stage.places(tree) for at in need.where.needs(tree, place))
    return Counter((place, at) for place, at in places if source.has(tree, at))


@given(trees(), st.sampled_from(SCOPES))
def test_every_stage_comes_to_its_end_in_some_order(tree: BlockTree, scope: Scope) -> None:
    """No step waits for ever: those whose needs are met can be done one after another until none is left."""
    stages = stages_of(scope)
    waiting = {(stage.name, place) for stage in stages for place in stage.places(tree)}
    count = len(waiting)
    assert count == sum(totals(stages, tree).values())
    while waiting:
        ready = {step for step in waiting if not waiting & set(_needs(step, tree, stages))}
        assert ready, f"nothing can be done of {sorted(waiting)[:5]}"
        waiting -= ready


def _needs(step: tuple[str, Place], tree: BlockTree, stages: tuple[Stage, ...]) -> list[tuple[str, Place]]:
    name, place = step
    return [
        (source.name, at)
        for need in STAGES[name].needs
        for source in stages
        if source.name in need.stages
        for at in need.where.needs(tree, place)
        if source.has(tree, at)
    ]


@given(trees())
def test_every_place_of_a_stage_exists_and_no_other(tree: BlockTree) -> None:
    every = [*((row, col) for row in range(tree.shape[0]) for col in range(tree.shape[1])), *_all_nodes(tree)]
    for stage in TABLE:
        places = list(stage.places(tree))
        assert len(places) == len(set(places))
        if stage.over != "raster":
            assert {place for place in every if stage.has(tree, place)} == set(places)
        assert all(place_of(id_of(place)) == place for place in places)


def _all_nodes(tree: BlockTree) -> list[Place]:
    return [
        (level, row, col)
        for level, (down, across) in enumerate(tree.sizes)
        if level
        for row in range(down)
        for col in range(across)
    ]


@given(trees())
def test_children_and_parents_belong_together_and_everything_ends_in_the_root(tree: BlockTree) -> None:
    for place in [*tree.blocks(), *tree.nodes()]:
        assert all(tree.parent(child) == place for child in tree.children(place))
        parent = tree.parent(place)
        assert (place == tree.root) if parent is None else place in tree.children(parent)


@given(trees())
def test_blocks_that_may_hold_polygons_are_those_that_own_a_corner_of_a_mapped_one(tree: BlockTree) -> None:
    mapped = set(tree.mapped_blocks())
    for row in range(tree.shape[0]):
        for col in range(tree.shape[1]):
            owns = any((row - y, col - x) in mapped for y in (0, 1) for x in (0, 1))
            assert tree.exists((row, col)) == owns


@given(trees(), st.sampled_from(SCOPES))
def test_steps_are_counted_as_they_are_gone_through(tree: BlockTree, scope: Scope) -> None:
    for stage in stages_of(scope):
        assert stage.count(tree) == len(list(stage.places(tree)))
