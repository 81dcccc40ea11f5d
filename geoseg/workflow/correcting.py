"""What corrections ask of a run folder, and what they make a run do again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from geoseg.errors import WorkflowError
from geoseg.planning import Plan
from geoseg.planning.refreshing import nodes_above
from geoseg.stages import OUTLINES, TABLE
from geoseg.store import RunFolder
from geoseg.store.correcting import corrections_settings, touched_places
from geoseg.tree import Place


def check_kept(made: Plan, folder: RunFolder) -> None:
    """Refuse corrections that need probabilities in the folder of a run that has kept none.

    Raises
    ------
    WorkflowError
        A feature says what class it is not.
    """
    before = folder.fingerprint
    if made.corrections is None or not made.corrections.denies or not before or before.get("keep_probabilities"):
        return
    raise WorkflowError(
        f"the corrections '{made.corrections.name}' say what class some pixels are not, and {folder.path} has kept no "
        "probabilities of the others; give those features a class, or start anew in another output folder."
    )


def forgotten_by_corrections(made: Plan, folder: RunFolder) -> Mapping[str, Collection[Place] | None]:
    """Steps of each stage that corrections make a run do again, None being all; the segments of points not counted."""
    if corrections_settings(made) == folder.corrections_settings:
        return {}
    traced = {reader for place in touched_places(made, folder) for reader in made.tree.readers(place)}
    if traced and folder.has_sieved:
        return dict.fromkeys(stage.name for stage in TABLE if stage.folder == OUTLINES) | {"correct": None}
    return {"correct": None, "trace": traced, "join": nodes_above(made.tree, traced)}
