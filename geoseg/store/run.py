"""The run folder: labels of every block, what is finished, and what the run was made from.

Everything a crash may interrupt is written to a temporary name and renamed, and a block's marker is written after
its data, so whatever a marker says is true after ``kill -9``; what a power cut or a person has taken away or damaged
is noticed, because a marker says what was written, and made again. No two tasks write one chunk. This module knows
files; it does not know models, dask or why a block runs.

::

    out/state/fingerprint.json   what the blocks were made from
    out/state/labelling.json     the threshold, the least confidence and the legend that labels are read with
    out/state/blocks.zarr        labels and how probable they are, one chunk or shard a block (Zarr v3)
    out/state/strips/R-C-*.npy   sums waiting for their one consumer, and drafts of blocks waiting to be finished
    out/state/objects/           objects of tiles and blocks, and of the whole raster
    out/state/thumbnails/R-C.npz what each block has seen of the imagery, as `geoseg.thumbnails` keeps it
    out/state/measures.npz       areas of classes and a picture of confidence, for the report
    out/state/corrections/       what corrections were made of, and what they came to
    out/state/outlines/          polygons of blocks, and of blocks that were joined
    out/state/STAGE/R-C          markers of the stages that label blocks
    out/state/lock               held by the process that runs
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geoseg.errors import FingerprintError
from geoseg.files import clear, make_folder, read_json, remove, sweep, write_json
from geoseg.grid import TileGrid
from geoseg.options import RUN_FILE
from geoseg.probabilities import Labelling
from geoseg.stages import OUTLINES, RASTER, RUN, STAGES, TABLE
from geoseg.store.differences import differences, without_imagery
from geoseg.store.journal import Journal
from geoseg.store.label_store import SEMANTIC, LabelStore
from geoseg.store.locking import locked
from geoseg.store.objects import ObjectFolder
from geoseg.store.strips import StripFolder
from geoseg.tree import Place

Forget = Callable[[dict[str, Any], dict[str, Any]], None]
"""Removes what was made from the first fingerprint and does not hold for the second."""

SENTENCES = {"keep_probabilities": "it did not keep probabilities"}
"""What a fingerprint lacks, by its key."""

AS_STORED = Labelling()
"""Labels as the model gave them."""

BLOCK_STAGES = tuple(stage.name for stage in TABLE if stage.folder == RUN)
"""Stages whose files are here."""


@dataclass(frozen=True)
class RunFolder:
    """Where one run keeps its blocks; a path, so that it can be sent to any worker.

    Attributes
    ----------
    path : Path
        The output folder.
    """

    path: Path

    @property
    def state(self) -> Path:
        """Where everything lies that is not a result."""
        return self.path / "state"

    @property
    def run_file(self) -> Path:
        """The run's manifest, ``run.json``."""
        return self.path / RUN_FILE

    def prepare(
        self,
        grid: TileGrid,
        fingerprint: dict[str, Any],
        *,
        overwrite: bool,
        arrays: Collection[str] = SEMANTIC,
        classes: int = 0,
        labelling: Labelling = AS_STORED,
        refresh: Forget | None = None,
    ) -> bool:
        """Make the folder ready for a run, new or continued.

        Parameters
        ----------
        grid : TileGrid
            The raster's layout.
        fingerprint : dict
            All that decides the labels; compared with the folder's.
        overwrite : bool
            Forget blocks that were made from something else.
        arrays : collection of str
            Which arrays of the label store blocks have.
        classes : int
            Those of ``probabilities``.
        labelling : Labelling, optional
            How labels are read; blocks stay whatever it is.
        refresh : callable, optional
            Called with the folder's fingerprint and this one where they differ in inputs and region alone: has to
            remove what does not hold any more. Without it such a folder is refused.

        Returns
        -------
        bool
            True when blocks of an earlier start are kept.

        Raises
        ------
        FingerprintError
            The folder holds blocks made from something else.
        OutputError
            The folder cannot be written.
        """
        path = self.state / "fingerprint.json"
        self._sweep()
        fingerprint = json.loads(json.dumps(fingerprint))
        before = None if overwrite else self._recorded(path)
        if before is not None:
            changed = differences(before, fingerprint)
            if changed and refresh is not None:
                changed = self.other_differences(before, fingerprint)
                if not changed:
                    refresh(before, fingerprint)
                    write_json(path, fingerprint)
            if not changed:
                self._create(grid, arrays, classes)
                self._forget_damaged(grid, has_objects="instances" in arrays)
                self.blocks.write_labelling(labelling)
                return True
            raise self._differs(changed, can_refresh=not self.other_differences(before, fingerprint))
        self._clear()
        self._create(grid, arrays, classes)
        self.blocks.write_labelling(labelling)
        write_json(path, fingerprint)
        return False

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the blocks that are there were made from; nothing where that is not known."""
        recorded = read_json(self.state / "fingerprint.json")
        return recorded if isinstance(recorded, dict) else {}

    @staticmethod
    def other_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
        """What two fingerprints differ in besides inputs and region, in words."""
        if not all("parts" in fingerprint for fingerprint in (before, now)):
            return differences(before, now)
        return differences(*map(without_imagery, (before, now)))

    def forget_blocks(
        self, grid: TileGrid, changed: Iterable[Place], finished: Iterable[Place], runs: Callable[[Place], bool]
    ) -> None:
        """Remove what was made of blocks whose imagery has changed, markers first; objects are united anew.

        Parameters
        ----------
        grid : TileGrid
            The raster's layout.
        changed : iterable of (int, int)
            Blocks to predict again.
        finished : iterable of (int, int)
            Blocks whose labels change with them.
        runs : callable
            Says whether a block still runs; of others nothing is left.
        """
        remove(self._uniting)
        self.journal("correct").remove(RASTER)
        journals = [self.journal(stage) for stage in BLOCK_STAGES if STAGES[stage].over == "blocks"]
        gone = {place for journal in journals for place in journal.places() if not runs(place)}
        for place in {*changed, *gone}:
            for journal in journals:
                journal.remove(place)
            self.strips.remove_of(*place)
            self.objects.remove_of(*place)
            clear(self.thumbnail(*place))
        for place in {*finished, *gone}:
            self.journal("finish").remove(place)
            self.blocks.remove_block(grid.block(*place))

    def _differs(self, changed: list[str], *, can_refresh: bool) -> FingerprintError:
        """All that differs, what it would cost, and what else can be done."""
        changed = [SENTENCES.get(phrase.split()[0], phrase) for phrase in changed]
        kept = len(self.journal("predict").places())
        blocks = "no block is predicted yet" if not kept else f"its {kept:,} predicted blocks would be predicted again"
        is_upgrade = all(phrase.startswith("versions ") for phrase in changed)
        remedy = "install those versions again, give" if is_upgrade else "give"
        less = "with --refresh those that read what has changed, and " if can_refresh else ""
        return FingerprintError(
            f"{self.path} holds another run: {'; '.join(changed)}. To keep both, {remedy} another output folder; {less}"
            f"with --overwrite {blocks}."
        )

    def _recorded(self, path: Path) -> dict[str, Any] | None:
        """The fingerprint of the blocks that are there; None when there are none."""
        if not path.exists():
            return None
        recorded = read_json(path)
        if not isinstance(recorded, dict) and any(self.journal(stage).places() for stage in BLOCK_STAGES):
            raise FingerprintError(
                f"{path} is damaged, so what the blocks beside it were made from is unknown; give --overwrite to start "
                "anew, or another output folder."
            )
        return recorded if isinstance(recorded, dict) else None

    def note_instructions(self, now: set[str]) -> list[str]:
        """Record what workers compute with, and return all that the blocks of this run were computed with."""
        path = self.state / "instructions.json"
        try:
            before = {str(name) for name in json.loads(path.read_text())}
        except (OSError, ValueError, TypeError):  # nothing is known of what came before
            before = set()
        if not now <= before:
            write_json(path, sorted(before | now))
        return sorted(before | now)

    def prepare_objects(self, settings: dict[str, Any]) -> None:
        """Forget how objects were united when it was done with other settings; what was predicted stays.

        Parameters
        ----------
        settings : dict
            All that decides it, as JSON values; another ``min_score`` decides what overlaps too.
        """
        repeated = self.repeated_stages(settings)
        for stage in repeated:
            self.journal(stage).keep(set())
        if "overlap" in repeated:
            self.objects.forget_meetings()
        if repeated:
            write_json(self._uniting, settings)

    def repeated_stages(self, settings: dict[str, Any]) -> tuple[str, ...]:
        """Stages that `prepare_objects` forgets."""
        before = read_json(self._uniting)
        if before == settings:
            return ()
        is_counted = isinstance(before, dict) and before.get("min_score") == settings["min_score"]
        return ("unite", "number") if is_counted else ("unite", "number", "overlap")

    @property
    def _uniting(self) -> Path:
        return self.objects.path / "settings.json"

    def forget_outlines(self, traced: Iterable[Place], joined: Iterable[Place]) -> None:
        """Forget the polygons of blocks and nodes that are made of other labels now.

        Where small faces go, one of them may change what becomes of all others, so all polygons are made again.
        """
        names = [stage.name for stage in TABLE if stage.folder == OUTLINES]
        journals = {name: Journal(self.outlines, self.outlines / name) for name in names}
        if self.has_sieved:
            for journal in journals.values():
                journal.keep(set())
            return
        for stage, places in (("trace", traced), ("join", joined)):
            for place in places:
                journals[stage].remove(place)

    @property
    def has_sieved(self) -> bool:
        """Whether small faces have gone from polygons."""
        return bool(Journal(self.outlines, self.outlines / "survey").places())

    @property
    def corrections(self) -> Path:
        """Where it stands what corrections were made of, and what they came to."""
        return self.state / "corrections"

    @property
    def corrections_settings(self) -> Any:
        """All that decides the corrections that are stored, as JSON values; None where there are none."""
        return read_json(self.corrections / "settings.json")

    def write_corrections_settings(self, settings: dict[str, Any] | None) -> None:
        """Say what corrections are made of from now on."""
        make_folder(self.corrections)
        write_json(self.corrections / "settings.json", settings)

    @property
    def correction_counts(self) -> dict[str, Any] | None:
        """What corrections have come to; None where there are none."""
        counts = read_json(self.corrections / "counts.json")
        return counts if isinstance(counts, dict) and self.corrections_settings else None

    def _sweep(self) -> None:
        """Remove what a killed process was writing; nobody else writes here, the folder is locked."""
        for folder in (self.path, self.state, self.strips.path, self.objects.path, self.thumbnails, self.corrections):
            sweep(folder)
        for stage in BLOCK_STAGES:
            self.journal(stage).sweep()
        for path in self.blocks.path.glob("*/c/**/*.partial"):  # Zarr's name of what is being written
            path.unlink()

    def _forget_damaged(self, grid: TileGrid, *, has_objects: bool) -> None:
        """Remove markers whose files are not there as they were written, and strips that no block waits for."""
        is_united = self.journal("unite").has(RASTER)
        spent = {"predict": "strips/", **({"overlap": "objects/"} if is_united else {})}  # what others have taken in
        for stage in BLOCK_STAGES:
            if stage == "predict" and not has_objects:
                continue  # its files are strips alone, which are compared where a block needs them
            journal, counts = self.journal(stage), partial(_is_needed, spent=spent.get(stage))
            for place in journal.places():
                for path in journal.differing(place, counts):
                    remove(path)
                    journal.remove(place)
        finished = self.journal("finish").places()
        self.strips.remove_consumed(grid, finished)

    def _clear(self) -> None:
        """Remove an earlier run, the fingerprint first: a folder without one holds nothing that counts."""
        for name in ("fingerprint.json", "instructions.json"):
            clear(self.state / name)
        for name in ("blocks.zarr", "strips", "objects", "thumbnails", "corrections", "outlines", *BLOCK_STAGES):
            clear(self.state / name)

    def _create(self, grid: TileGrid, arrays: Collection[str], classes: int) -> None:
        """Create the label store and the folders that are missing."""
        self.blocks.create(grid, arrays, classes)
        for name in ("strips", "objects", *BLOCK_STAGES):
            make_folder(self.state / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second process runs in it; the system lets go when this one dies.

        Raises
        ------
        OutputError
            Another process runs in the folder, or the folder cannot be written.
        """
        with locked(self.lock):
            yield

    @property
    def lock(self) -> Path:
        """The file that is held while a process runs in the folder."""
        return self.state / "lock"

    def journal(self, stage: str) -> Journal:
        """Markers of a stage that labels blocks."""
        return Journal(self.state, self.state / stage)

    @property
    def blocks(self) -> LabelStore:
        """Labels of blocks, and what else is known of their pixels."""
        return LabelStore(self.state)

    @property
    def strips(self) -> StripFolder:
        """Where sums of scores wait for the blocks that need them."""
        return StripFolder(self.state)

    @property
    def objects(self) -> ObjectFolder:
        """Where objects of tiles wait to be united."""
        return ObjectFolder(self.state / "objects")

    @property
    def thumbnails(self) -> Path:
        """What blocks have seen of the imagery; a report reads the imagery again where one is missing or damaged."""
        return self.state / "thumbnails"

    def thumbnail(self, row: int, col: int) -> Path:
        """The file of a block in `thumbnails`."""
        return self.thumbnails / f"{row}-{col}.npz"

    @property
    def outlines(self) -> Path:
        """Where polygons are made."""
        return self.state / "outlines"


def _is_needed(file: str, spent: str | None) -> bool:
    """Whether a file of a marker counts, when those of one folder do not."""
    return spent is None or not file.startswith(spent)
