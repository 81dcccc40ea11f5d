"""The one table of options: each is a field with its sentence, and everything that a person sees comes from it.

The command line, keys of YAML and their JSON schema, arguments in Python with their types, and docs/options.md are made
of these fields, so that a new option is one field here and the code that obeys it. Nothing heavier than pydantic is
imported: the command line shows its help at once.
"""

from geoseg.options.areas import AreaOptions, SampleOptions
from geoseg.options.comparison import CompareOptions
from geoseg.options.evaluation import LIMITS, EvaluationOptions
from geoseg.options.legend import LegendClass, LegendFile
from geoseg.options.preview import PreviewOptions
from geoseg.options.table import Option, Options, given_options, options_of, read_options
from geoseg.options.training import TrainOptions
from geoseg.options.values import OTHERS, words
from geoseg.options.workflow import (
    DASHBOARD,
    OPENING,
    RECORD,
    RESUMABLE,
    RUN_FILE,
    DeviceOptions,
    ImageryOptions,
    ModelOptions,
    Mosaic,
    OutlineOptions,
    OutputOptions,
    Polygonizing,
    ShapeOptions,
    SieveOptions,
    TilingOptions,
    WorkerOptions,
    Workflow,
)

__all__ = [
    "DASHBOARD",
    "LIMITS",
    "OPENING",
    "OTHERS",
    "RECORD",
    "RESUMABLE",
    "RUN_FILE",
    "AreaOptions",
    "CompareOptions",
    "DeviceOptions",
    "EvaluationOptions",
    "ImageryOptions",
    "LegendClass",
    "LegendFile",
    "ModelOptions",
    "Mosaic",
    "Option",
    "Options",
    "OutlineOptions",
    "OutputOptions",
    "Polygonizing",
    "PreviewOptions",
    "SampleOptions",
    "ShapeOptions",
    "SieveOptions",
    "TilingOptions",
    "TrainOptions",
    "WorkerOptions",
    "Workflow",
    "given_options",
    "options_of",
    "read_options",
    "words",
]
