"""Commands about models: what the catalogs have, what a model needs, and whether it works."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from geoseg.cli.console import console, say
from geoseg.cli.options import TrustModel, Weights
from geoseg.files import local_path

if TYPE_CHECKING:
    from geoseg.models import ModelSpec
    from geoseg.models.availability import Availability

MIB = 2**20

Name = Annotated[str, typer.Argument(help="A name in the catalog, or the path of a STAC MLM item.")]
Item = Annotated[str, typer.Argument(help="A STAC MLM item; its local weights are taken along.")]
Home = Annotated[str | None, typer.Option(help="The catalog's folder; your own (GEOSEG_CATALOG) unless given.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace a model of the same name.")]
CheckDevice = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")]
Write = Annotated[bool, typer.Option("--write", help="Write what was measured into the model's entry.")]

app = typer.Typer(
    help="Say what the catalogs have; add, show and check models.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def models(context: typer.Context) -> None:
    """Say what the catalogs have; add, show and check models."""
    if context.invoked_subcommand is not None:
        return
    from geoseg.catalog import list_models

    for spec in list_models():
        say(f"{spec.name}: {spec.task}, {_resolution(spec)}, {spec.license or 'no licence given'}")
        say(f"    bands    {' '.join(spec.band_names)}")
        say(f"    classes  {', '.join(spec.class_names)}")


@app.command()
def add(item: Item, home: Home = None, overwrite: Replace = False) -> None:
    """Take a model over into your own catalog."""
    from geoseg.catalog import add_model

    path = add_model(item, None if home is None else local_path(home, "home"), overwrite=overwrite)
    say(str(path))
    say(f"added as {path.stem}; geoseg models check {path if home else path.stem} tries it")


@app.command()
def show(model: Name) -> None:
    """Say everything about a model."""
    from geoseg.catalog import find_model, locate_model

    path, spec = locate_model(model), find_model(model)
    say(f"{spec.name}: {spec.task}")
    for key, value in (("description", spec.description), ("entry", str(path)), *_facts(spec)):
        if value:
            say(f"    {key:12} {value}")
    for line in _class_lines(spec):
        console.print(line, soft_wrap=True)


@app.command()
def check(model: Name, weights: Weights = None, trust_model: TrustModel = None, device: CheckDevice = "cpu") -> None:
    """Open a model and run one made-up tile through it; exit code 3 when it is not what its entry says."""
    from geoseg.catalog import find_model
    from geoseg.models import load_model
    from geoseg.models.trial import try_model

    spec = replace(find_model(model), trust_model=bool(trust_model))
    started = time.perf_counter()
    opened = load_model(spec if weights is None else spec.with_weights(weights), device)
    say(f"opened {spec.name} on {device} in {time.perf_counter() - started:.1f} s")
    tried = try_model(opened)
    say(f"ran one made-up tile of {tried.size} x {tried.size} px, {len(spec.bands)} bands, in {tried.seconds:.1f} s")
    say(f"it gave {tried.result}, as its entry says")


def probe(model: Name, weights: Weights = None, trust_model: TrustModel = None, write: Write = False) -> None:
    """Measure how far a tile's edge disturbs a model, and what a forward pass costs; prints JSON."""
    from geoseg.catalog import find_model, locate_model
    from geoseg.models import load_model
    from geoseg.models.probe import measure_cost, measure_edge
    from geoseg.models.stac import update_item

    spec = replace(find_model(model), trust_model=bool(trust_model), refine=None)  # refining adds its own reach
    opened = load_model(spec if weights is None else spec.with_weights(weights))
    cost = asdict(measure_cost(opened))  # first, on a fresh model: memory that torch keeps would not be counted later
    edge = measure_edge(opened)
    errors = {str(distance): float(f"{error:.2g}") for distance, error in edge.errors.items()}
    console.print_json(json.dumps({**cost, "halo": edge.halo, "tolerance": edge.tolerance, "edge_errors": errors}))
    if write:
        measured = cost | {"edge_errors": errors} | ({} if edge.halo is None else {"halo": edge.halo})
        path = update_item(locate_model(model), {f"geoseg:{name}": value for name, value in measured.items()})
        say(f"written to {path}")


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
