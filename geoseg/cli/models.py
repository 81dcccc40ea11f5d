"""Commands about models: what the catalogs have, what a model needs, and whether it works."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from geoseg.cli.command import Command, Group, argument, home
from geoseg.cli.console import console, say
from geoseg.files import local_path, refuse_read, refuse_to_replace

if TYPE_CHECKING:
    from geoseg.models import ModelSpec
    from geoseg.models.availability import Availability

MIB = 2**20

name = argument(
    "model",
    "MODEL",
    "Name in the catalog, path or address of a STAC MLM item or of what describes itself, or hub:ORG/NAME.",
)


@click.group("models", cls=Group, invoke_without_command=True)
@click.pass_context
def app(context: click.Context) -> None:
    """List the models of the catalogs; add, show and check models."""
    if context.invoked_subcommand is not None:
        return
    from geoseg.catalog import list_models

    for spec in list_models():
        say(f"{spec.name}: {spec.task}, {_resolution(spec)}, {spec.license or 'no licence given'}")
        say(f"    bands    {' '.join(spec.band_names)}")
        say(f"    classes  {', '.join(spec.class_names)}")


@app.command()
@argument("item", "ITEM", "STAC MLM item, or what describes itself, or its address; local weights are copied too.")
@home
@click.option("--overwrite", is_flag=True, help="Replace a model of the same name.")
def add(item: str, home: str | None, overwrite: bool) -> None:
    """Copy a model into your own catalog."""
    from geoseg.catalog import add_model

    path = add_model(item, None if home is None else local_path(home, "home"), overwrite=overwrite)
    say(str(path))
    say(f"added as {path.stem}; geoseg models check {path if home else path.stem} tries it")


@app.command()
@argument("source", "SOURCE", "File or folder that describes itself, or its address.")
@click.option("--output", metavar="PATH", help="File of the item (default: the source's name, in this folder).")
@click.option(
    "--scaling", metavar="HOW", help="How pixels are scaled: 255 (divides), 0,3000 (limits), imagenet or none."
)
@click.option(
    "--classes", metavar="NAMES", help="Names of the network's classes in its order, such as background,roof."
)
@click.option("--bands", metavar="NAMES", help="Names of its bands in its order, such as B04,B03,B02 or 3,2,1.")
@click.option("--resolution", metavar="METRES", type=float, help="Metres per pixel that it was trained for.")
@click.option("--trust-model", is_flag=True, help="Run TorchScript, which can read and write files, to ask it.")
def new(
    source: str,
    output: str | None,
    scaling: str | None,
    classes: str | None,
    bands: str | None,
    resolution: float | None,
    trust_model: bool,
) -> None:
    """Write the STAC MLM item of a file or folder, with what it does not say itself."""
    from geoseg.models.packagings import write_new_item
    from geoseg.models.packagings.gaps import Gaps

    gaps = Gaps(scaling, _names(classes), _names(bands), resolution)
    target = None if output is None else local_path(output, "output")
    path, unsaid = write_new_item(source, target, gaps=gaps, trust_model=trust_model)
    say(str(path))
    if unsaid:
        say(f"not told by {source}: {', '.join(unsaid)}")
    if "value_scaling" in unsaid:
        say("fill in value_scaling before you use it, or give --scaling")


def _names(text: str | None) -> list[str]:
    """Names that are written with commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


@app.command(table="Workflow", only="OPENING")
@name
@argument("output", "FILE", "The file; its ending is .onnx, .pt2 or .safetensors.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def export(model: str, output: str, overwrite: bool, weights: str | None, trust_model: bool | None) -> None:
    """Write a model into one file, with its weights and its STAC MLM item inside."""
    from geoseg.catalog import find_entry
    from geoseg.models.exporting import export_model

    spec, document = find_entry(model)
    spec = replace(spec, trust_model=bool(trust_model))
    spec = spec if weights is None else spec.with_weights(weights)
    path = local_path(output, "output")
    refuse_read(path, model, spec.weights)
    if not overwrite:
        refuse_to_replace(path)
    export_model(document, spec, path)
    say(str(path))
    say(f"opens by itself: geoseg models check {path}")


@app.command()
@name
@argument("repository", "hub:ORG/NAME", "Repository on the Hugging Face hub, made unless it is there.")
@click.option("--private", is_flag=True, help="A new repository is seen by its owners alone.")
@click.option("--weights", metavar="PATH", help="Weights file in place of the entry's.")
def push(model: str, repository: str, private: bool, weights: str | None) -> None:
    """Write a model to the Hugging Face hub, from which hub:ORG/NAME opens it."""
    from geoseg.catalog import find_entry
    from geoseg.models.pushing import push_model

    spec, document = find_entry(model)
    spec = spec if weights is None else spec.with_weights(weights)
    pushed = push_model(document, spec, repository, private=private)
    say(pushed)
    say(f"opens by itself: geoseg models check {pushed.partition('@')[0]}")


@app.command()
@name
def show(model: str) -> None:
    """Show everything about a model."""
    from geoseg.catalog import find_model, locate_model

    path, spec = locate_model(model), find_model(model)
    say(f"{spec.name}: {spec.task}")
    for key, value in (("description", spec.description), ("entry", str(path)), *_facts(spec)):
        if value:
            say(f"    {key:12} {value}")
    for line in _class_lines(spec):
        console.print(line, soft_wrap=True)


@app.command(table="Workflow", only="OPENING")
@name
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or mps.")
def check(model: str, weights: str | None, trust_model: bool | None, device: str) -> None:
    """Open a model and run a synthetic tile through it; exit code 3 if it differs from its entry."""
    from geoseg.catalog import find_model
    from geoseg.models import load_model
    from geoseg.models.trial import try_model

    spec = replace(find_model(model), trust_model=bool(trust_model))
    started = time.perf_counter()
    opened = load_model(spec if weights is None else spec.with_weights(weights), device)
    say(f"opened {spec.name} on {device} in {time.perf_counter() - started:.1f} s")
    tried = try_model(opened)
    say(f"ran one synthetic tile of {tried.size} x {tried.size} px, {len(spec.bands)} bands, in {tried.seconds:.1f} s")
    say(f"it gave {tried.result}, as its entry says")


@click.command(cls=Command, table="Workflow", only="OPENING")
@name
@click.option("--input", "imagery", metavar="RASTER", help="Imagery on which labels in bfloat16 are compared.")
@click.option("--write", is_flag=True, help="Write the measurements into the model's entry.")
def probe(model: str, weights: str | None, trust_model: bool | None, imagery: str | None, write: bool) -> None:
    """Measure a model's edge effects, the cost of a forward pass, and what bfloat16 changes; prints JSON."""
    from geoseg.catalog import find_model
    from geoseg.models import load_model
    from geoseg.models.probe import measure_cost, measure_edge, measure_half_precision
    from geoseg.models.stac import update_item

    entry = _entry(model) if write else None
    spec = replace(find_model(model), trust_model=bool(trust_model), refine=None)  # refining adds its own reach
    spec = spec if weights is None else spec.with_weights(weights)
    opened = load_model(spec, precision="float32")
    cost = asdict(measure_cost(opened))  # first, on a fresh model: memory that torch keeps would not be counted later
    edge = measure_edge(opened)
    errors = {str(distance): float(f"{error:.2g}") for distance, error in edge.errors.items()}
    half = {}
    if imagery is not None:
        from geoseg.workflow.sampling import sample_tiles

        tiles = sample_tiles(model, imagery)
        half = {"bfloat16": asdict(measure_half_precision(opened, load_model(spec, precision="bfloat16"), tiles))}
    shown = {**cost, "halo": edge.halo, "tolerance": edge.tolerance, "edge_errors": errors, **half}
    console.print_json(json.dumps(shown))
    if entry is not None:
        measured = cost | {"edge_errors": errors} | ({} if edge.halo is None else {"halo": edge.halo}) | half
        path = update_item(entry, {f"geoseg:{name}": value for name, value in measured.items()})
        say(f"written to {path}")


@app.command()
@name
@click.option(
    "--input", "imagery", metavar="RASTER", required=True, multiple=True, help="Imagery of the training; give several."
)
@click.option("--validation", metavar="RASTER", required=True, help="Imagery on which labels are compared.")
@click.option(
    "--full-range",
    is_flag=True,
    help="Weights of 8 bits instead of 7: keeps more labels on CPUs with VNNI or AMX, fewer on others.",
)
def quantize(model: str, imagery: tuple[str, ...], validation: str, full_range: bool) -> None:
    """Make 8-bit weights of a model for OpenVINO, calibrated on imagery, and write them into its entry."""
    from geoseg.catalog import find_model
    from geoseg.models.item_assets import INT8
    from geoseg.models.item_writing import quantized_asset
    from geoseg.models.quantizing import CALIBRATION_TILES, quantize
    from geoseg.models.stac import update_item
    from geoseg.workflow.sampling import sample_tiles

    source = _entry(model)
    spec = replace(find_model(model), refine=None, tta=None)
    each = -(-CALIBRATION_TILES // len(imagery))
    tiles = (tile for scene in imagery for tile in sample_tiles(model, scene, each))
    path = source.with_name(f"{source.stem}.int8.safetensors")
    made = quantize(spec, tiles, sample_tiles(model, validation), path, full_range=full_range)
    update_item(source, {}, {INT8: quantized_asset(made, source)})
    say(f"{made.agreement:.2%} of labels as in float32, {made.seconds_per_mpx:g} s per Mpx; written to {made.graph}")


def _entry(model: str) -> Path:
    """The file of a model's entry, which can be written into."""
    from geoseg.catalog import locate_model
    from geoseg.errors import CatalogError
    from geoseg.models.packagings import find_packaging

    source = locate_model(model)
    if isinstance(source, str) or find_packaging(source) is not None:
        raise CatalogError(
            f"'{model}' has no entry to write into; write one with `geoseg models new {model}` (of an item at an "
            f"address with `geoseg models add {model}`), and use that."
        )
    return source


def _facts(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """What there is to say of a model, by heading."""
    from geoseg.models.availability import find_availability

    named = (
        f"{band.name} ({band.common_name})" if band.common_name not in (None, band.name) else band.name
        for band in spec.bands
    )
    yield "bands", " ".join(named)
    yield "resolution", _resolution(spec)
    ramp = "" if spec.ramp is None else f", ramp {spec.ramp} px"
    yield "tile", f"{spec.tile_size} px, halo {spec.halo} px{ramp}, a multiple of {spec.multiple} px"
    yield "edge errors", ", ".join(f"{error:g} at {distance} px" for distance, error in spec.edge_errors)
    yield "opened as", f"{spec.architecture} ({spec.framework})"
    if spec.threshold is not None:
        yield "labels", f"where a probability is above {spec.threshold:g}"
    if spec.things:
        yield "objects", f"with a score of at least {spec.min_score:g}"
    if spec.refine is not None:
        yield "refined by", ", ".join(f"{name} {value}" for name, value in asdict(spec.refine).items())
    yield "metrics", ", ".join(f"{name} {value:g}" for name, value in spec.metrics)
    yield "licence", spec.license or "none given"
    yield "weights", _weights(find_availability(spec))


def _weights(found: Availability) -> str:
    """Where weights are, and whether they are the right ones."""
    size = "" if found.size is None else f", {found.size / MIB:,.1f} MiB"
    verdicts = {True: ", checksum as in the entry", False: ", CHECKSUM DIFFERS from the entry's", None: ""}
    return f"{found.state}: {found.place}{size}{verdicts[found.intact]}"


def _class_lines(spec: ModelSpec) -> Iterator[Text]:
    """One line a class, with a spot of its colour."""
    for item in spec.classes:
        kind = " (thing)" if item.isthing else ""
        described = f": {item.description}" if item.description else ""
        line = Text(f"    {item.value:>4} ").append("\u25a0", style=item.color.lower())
        yield line.append(f" {item.color}  {item.name}{kind}{described}")


def _resolution(spec: ModelSpec) -> str:
    return "any resolution" if spec.resolution is None else f"{spec.resolution:g} m"
