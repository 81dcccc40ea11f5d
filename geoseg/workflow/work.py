"""What a start of a run has to do: which labels are there, and which results are missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geoseg.engine import Outcome, stages_of_run
from geoseg.outlines import OutlineFolder
from geoseg.planning import Plan
from geoseg.stages import OUTLINES, RASTER, RUN, TABLE
from geoseg.store import RunFolder
from geoseg.workflow.manifest import RunResult
from geoseg.workflow.outputs import REPORT, Outputs
from geoseg.workflow.planning import with_progress


@dataclass(frozen=True)
class Work:
    """What a start has to do.

    Attributes
    ----------
    plan : Plan
        The run.
    folder : RunFolder
        Prepared for it.
    outputs : Outputs
        All results.
    is_labelled : bool
        Whether the labels of every block are on disk, so that no network is needed.
    """

    plan: Plan
    folder: RunFolder
    outputs: Outputs
    is_labelled: bool

    @classmethod
    def of(cls, plan: Plan, folder: RunFolder, outputs: Outputs) -> Work:
        """Find out what there is to do."""
        return cls(plan, folder, outputs, _is_labelled(plan, folder))

    @cached_property
    def tiles_to_predict(self) -> int:
        """Tiles that the model has still to see."""
        return with_progress(self.plan, self.folder).tiles_to_predict

    @cached_property
    def missing(self) -> set[Path]:
        """Results to write: all of them when labels are still to come."""
        outputs = self.outputs
        return outputs.missing if self.is_labelled else {*outputs.rasters, *outputs.features, *outputs.pages}

    @property
    def files(self) -> list[Path]:
        """Rasters and features to write."""
        return [path for path in (*self.outputs.rasters, *self.outputs.features) if path in self.missing]

    @property
    def is_outlining(self) -> bool:
        """Whether polygons are needed."""
        return any(path in self.missing for path in self.outputs.features)

    @property
    def kept(self) -> Outcome:
        """What earlier starts have left, counted by stage."""
        keepers: dict[str, RunFolder | OutlineFolder] = {RUN: self.folder}
        if self.outputs.features:
            keepers[OUTLINES] = OutlineFolder(self.folder.outlines)
        stages = (stage for stage in TABLE if stage.folder in keepers)
        kept = {stage.name: len(keepers[stage.folder].journal(stage.name).places()) for stage in stages}
        return Outcome(kept=+Counter(kept))

    def unchanged(self, seconds: float) -> RunResult:
        """The result of a run that is finished already."""
        outputs, report = self.outputs, self.folder.path / REPORT
        return RunResult(
            self.folder.path,
            outputs.labels,
            tuple(outputs.features),
            self.folder.run_file,
            self.plan,
            self.kept,
            {"total": seconds},
            outputs.instances,
            report=report if report in outputs.pages else None,
            products=outputs.products,
            is_unchanged=True,
        )


def _is_labelled(made: Plan, folder: RunFolder) -> bool:
    """Whether the labels of every block are on disk, corrected, and the objects that instances are numbers of."""
    stages = [stage.name for stage in stages_of_run(made, None) if stage.makes_labels]
    is_united = not made.has_things or folder.journal("unite").is_whole(RASTER)
    is_corrected = made.corrections is None or folder.journal("correct").is_whole(RASTER)
    return (
        is_united and is_corrected and all(len(folder.journal(stage).places()) >= made.block_count for stage in stages)
    )
