"""Writes what is made of the tables of options: the page, the signatures, the schemas, parameters of the QGIS plugin.

Run it with ``make options`` after a change of `geoseg.options` or of the training recipe; a test says when it was
forgotten.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic_core import PydanticUndefined

from geoseg.cli import app
from geoseg.options import (
    RESUMABLE,
    AreaOptions,
    CompareOptions,
    EvaluationOptions,
    ImageryOptions,
    LegendClass,
    LegendFile,
    Option,
    Options,
    OutlineOptions,
    Polygonizing,
    PreviewOptions,
    SampleOptions,
    ShapeOptions,
    SieveOptions,
    TrainOptions,
    WorkerOptions,
    Workflow,
    options_of,
)
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import (
    LAYERS,
    Augmentation,
    ClassEntry,
    Loss,
    ScalingEntry,
    Validation,
    WatershedEntry,
)

ROOT = Path(__file__).parents[1]

GIVEN = ("input", "bands", "crs", "resolution", "region")
"""Options of imagery that are arguments of their own in `geoseg.segment`."""


@dataclass(frozen=True)
class Signature:
    """Keyword arguments of a function.

    Attributes
    ----------
    kind : type
        Their table.
    without : sequence of str
        Options of the table that are no such arguments.
    bases : sequence of str
        Names of signatures whose arguments are among them.
    """

    kind: type[Options]
    without: Sequence[str] = ()
    bases: Sequence[str] = ()

    def fields(self) -> dict[str, str]:
        """Name and source text of each argument, those of bases too."""
        options = [option for option in options_of(self.kind) if option.name not in self.without]
        return {item.name: f"    {item.name}: {python_type(item)}\n{_string(item.sentence)}" for item in options}


SIGNATURES = {
    "WorkerArguments": Signature(WorkerOptions),
    "ShapeArguments": Signature(ShapeOptions),
    "OutlineArguments": Signature(OutlineOptions, bases=("ShapeArguments",)),
    "ImageryArguments": Signature(ImageryOptions, without=GIVEN),
    "ResumeArguments": Signature(
        Workflow, without=[key for key in Workflow.model_fields if key not in RESUMABLE], bases=("WorkerArguments",)
    ),
    "RunArguments": Signature(Workflow, bases=("ResumeArguments", "OutlineArguments", "ImageryArguments")),
    "PolygonizeArguments": Signature(
        Polygonizing, without=("input", "output"), bases=("WorkerArguments", "OutlineArguments")
    ),
    "SieveArguments": Signature(SieveOptions, bases=("WorkerArguments",)),
    "EvaluateArguments": Signature(EvaluationOptions),
    "CompareArguments": Signature(CompareOptions, bases=("WorkerArguments", "ShapeArguments")),
    "AreaArguments": Signature(AreaOptions),
    "SampleArguments": Signature(SampleOptions),
    "PreviewArguments": Signature(PreviewOptions),
    "TrainArguments": Signature(TrainOptions),
}
"""Keyword arguments of functions, by the name of their type; bases come first."""

HEAD = '''"""Keyword arguments of the public functions as types, so that editors complete them and mypy checks them.

Made of `geoseg.options` by ``make options``; change it there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from geoseg.models.own import ModelLike
from geoseg.raster.given import ImageryLike
from geoseg.vector import RegionLike, TableLike
'''

INTRODUCTION = """\
# Options

Every option has one name: `tile_size` is a key of a workflow, the argument `tile_size=` in Python, and `--tile-size`
on the command line, where a list is written with commas (`--classes water,trees`) or by repeating the option, and
`--no-report` turns off what is on. `null`, and None in Python, is as if the option was not given. This page is made of
the fields in `geoseg/options/` by `make options`.

Editors complete and check workflows, training recipes and legends by a JSON schema, which the YAML language server
finds by a line such as this; the files in `workflows/` have it.

```yaml
# yaml-language-server: $schema=workflow.schema.json
```

The schemas, for files of your own, and what lets a shell complete commands, options and their values (bash, zsh or
fish; `eval "$(geoseg completion bash)"` in a shell's start-up file) are printed:

```
geoseg schema workflow
geoseg schema recipe
geoseg schema legend
geoseg completion bash
```
"""

PARTS: dict[str, type[Options]] = {
    **{f"labels: {key}": kind for key, kind in LAYERS.items()},
    "classes": ClassEntry,
    "validation": Validation,
    "scaling": ScalingEntry,
    "watershed": WatershedEntry,
    "loss": Loss,
    "augmentation": Augmentation,
}
"""Entries of a recipe, by the key that they stand under."""


def _told(kind: type[Options]) -> str:
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].replace("``", "`").split())


SECTIONS: list[tuple[str, str, type[Options], Sequence[str] | None]] = [
    ("Runs", "Keys of a workflow; `geoseg run`, `geoseg plan`, `geoseg.run`, `geoseg.plan`.", Workflow, None),
    ("Classes of a legend", "Keys of each of `classes` in a [legend.yaml](outputs.md).", LegendClass, None),
    ("Continued runs", "`geoseg resume`, `geoseg.resume`.", Workflow, RESUMABLE),
    ("Polygons of label rasters", "`geoseg polygonize`, `geoseg.polygonize`.", Polygonizing, None),
    ("Sieves", "`geoseg sieve`, `geoseg.sieve`.", SieveOptions, None),
    ("Evaluations", "`geoseg evaluate`, `geoseg.evaluate`.", EvaluationOptions, None),
    ("Comparisons", "`geoseg compare`, `geoseg.compare`.", CompareOptions, None),
    ("Areas", "`geoseg areas`, `geoseg.areas`.", AreaOptions, None),
    ("Samples", "`geoseg sample`, `geoseg.sample`.", SampleOptions, None),
    ("Pictures of runs", "`geoseg preview`, `geoseg.preview`.", PreviewOptions, None),
    ("Trainings", "`geoseg train`, `geoseg.train`; each replaces the recipe's.", TrainOptions, None),
    (
        "Training recipes",
        "Keys of a recipe, beside those of trainings; [training.md](training.md) explains them.",
        Recipe,
        None,
    ),
    *((f"`{key}` of a recipe", _told(kind), kind, None) for key, kind in PARTS.items()),
]


COMMANDS: dict[str, tuple[type[Options] | None, Sequence[str]]] = {
    "run": (Workflow, ("input", "model", "region", "output")),
    "plan": (Workflow, ("input", "model", "region", "output")),
    "polygonize": (Polygonizing, ("input", "output", "region")),
    "sieve": (SieveOptions, ("region",)),
    "evaluate": (EvaluationOptions, ("region",)),
    "compare": (CompareOptions, ("region",)),
    "areas": (AreaOptions, ("zones", "sample")),
    "sample": (SampleOptions, ()),
    "preview": (PreviewOptions, ()),
    "models": (None, ()),
}
"""Commands that are algorithms of the QGIS plugin: the table of their options, and what the plugin asks for itself."""


def files() -> dict[Path, str]:
    """Every file that is made, by its path."""
    return {
        ROOT / "docs" / "options.md": options_page(),
        ROOT / "geoseg" / "signatures.py": signatures(),
        ROOT / "workflows" / "workflow.schema.json": schema(Workflow, "geoseg workflow"),
        ROOT / "workflows" / "recipe.schema.json": schema(Recipe, "geoseg training recipe"),
        ROOT / "workflows" / "legend.schema.json": schema(LegendFile, "geoseg legend"),
        ROOT / "qgis" / "geoseg_processing" / "commands.json": commands(),
    }


def signatures() -> str:
    """The module of types of keyword arguments."""
    return HEAD + "".join(_typed_dict(name, signature) for name, signature in SIGNATURES.items())


def _typed_dict(name: str, signature: Signature) -> str:
    """A class of the arguments that no base has."""
    known = {text for base in signature.bases for text in SIGNATURES[base].fields().values()}
    fields = "\n\n".join(text for text in signature.fields().values() if text not in known)
    bases = ", ".join(signature.bases or ["TypedDict"])
    told = f'    """Of `geoseg.options.{signature.kind.__name__}`."""'
    return f"\n\nclass {name}({bases}, total=False):\n{told}\n\n{fields}\n"


def _string(sentence: str) -> str:
    """A docstring of a field."""
    return textwrap.fill(
        f'"""{sentence}"""', 120, initial_indent="    ", subsequent_indent="    ", break_long_words=False
    )


def python_type(option: Option) -> str:
    """The type of a keyword argument; None is as if it was not given."""
    if option.written.python:
        return f"{option.written.python} | None"
    parts = (part for kind, notes in option.members for part in _parts(_input_type(kind, notes)))
    return " | ".join([*dict.fromkeys(parts), "None"])


def _input_type(kind: Any, notes: Sequence[Any]) -> Any:
    """What may be written where a field holds ``kind``."""
    told = [note.json_schema_input_type for note in notes if isinstance(note, BeforeValidator)]
    return next((item for item in told if item is not PydanticUndefined), kind)


def _parts(kind: Any) -> Iterator[str]:
    """The members of a type, as they are written."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        for item in inner:
            yield from _parts(item)
    elif origin is Annotated:
        yield from _parts(inner[0])
    elif origin is Literal:
        yield f"Literal[{', '.join(json.dumps(value) for value in inner)}]"
    elif origin in (list, tuple, dict):
        name = {list: "Sequence", tuple: "tuple", dict: "Mapping"}[origin]
        yield f"{name}[{', '.join(' | '.join(_parts(item)) for item in inner)}]"
    elif kind is not NoneType:
        yield "Any" if kind is Any else kind.__name__


def schema(kind: type[Options], title: str) -> str:
    """The JSON schema of what a person writes."""
    content = _plain(kind.model_json_schema())
    for name in [name for name, field in kind.model_fields.items() if field.exclude]:
        del content["properties"][name]
    return (
        json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **content, "title": title}, indent=2)
        + "\n"
    )


def _plain(content: Any, *, is_named: bool = False) -> Any:
    """Leave out what versions of pydantic write or not: titles that repeat names, line breaks, what is so anyway."""
    if isinstance(content, float) and content.is_integer():
        return int(content)
    if isinstance(content, list):
        return [_plain(item) for item in content]
    if not isinstance(content, dict):
        return content
    idle = {"title": content.get("title"), "additionalProperties": True, "enum": [content.get("const")]}
    kept = {key: value for key, value in content.items() if is_named or key not in idle or value != idle[key]}
    told = {key: _plain(value, is_named=key in ("properties", "$defs")) for key, value in kept.items()}
    if not is_named and isinstance(told.get("description"), str):
        told["description"] = " ".join(told["description"].split())
    return told


def commands() -> str:
    """Commands and their options for the QGIS plugin."""
    shipped = ", ".join(sorted(path.stem for path in (ROOT / "catalogs" / "models").glob("*/*.json")))
    found = {}
    for name, (kind, without) in COMMANDS.items():
        options = [] if kind is None else [item for item in options_of(kind) if item.name not in without]
        told = {"help": app.commands[name].help, "options": [_parameter(item) for item in options]}
        if "model" in without:
            (model,) = options_of(kind, ["model"])
            told["model"] = f"{model.sentence} Shipped: {shipped}."
        found[name] = told
    return json.dumps(found, indent=1) + "\n"


def _parameter(option: Option) -> dict[str, Any]:
    """An option as a parameter of QGIS."""
    if option.is_flag or option.choices:
        kind = "flag" if option.is_flag else "choice"
    elif option.metavar in ("N", "NUMBER"):
        kind = "integer" if option.metavar == "N" else "number"
    else:
        kind = "text"
    default = None if option.field.is_required() else option.field.get_default(call_default_factory=True)
    if kind in ("choice", "text"):
        default = option.default or None
    return {
        "name": option.name,
        "flag": option.flag,
        "kind": kind,
        "default": default,
        "repeated": option.is_repeated,
        "choices": [str(item) for item in option.choices],
        "help": option.sentence,
    }


def options_page() -> str:
    """The page of all options."""
    parts = [INTRODUCTION, *(_section(*section) for section in SECTIONS)]
    return "\n".join(parts)


def _section(title: str, place: str, kind: type[Options], only: Sequence[str] | None) -> str:
    panels: dict[str, list[str]] = {}
    for option in options_of(kind, only):
        if option.field.exclude:
            continue
        panels.setdefault(option.panel, []).append(row(option))
    text = f"## {title}\n\n{place}\n"
    for panel, rows in panels.items():
        heading = f"\n### {panel}\n" if len(panels) > 1 else ""
        text += f"{heading}\n| option | value | default | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)
    return text


def row(option: Option) -> str:
    """A row of the page."""
    value = (
        "yes or no" if option.is_flag else ", ".join(f"`{item}`" for item in option.choices) or option.metavar.lower()
    )
    return f"| `{option.name}` | {value} | {option.default} | {_escaped(option.sentence)} |\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
