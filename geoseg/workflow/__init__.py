"""From what a person writes to files on disk: settings -> plan -> engine -> labels, polygons, manifest.

A workflow's keys, the command line's options and the arguments of functions are the same words. This package joins the
parts; it computes nothing of its own.
"""

from geoseg.options import Polygonizing, Workflow
from geoseg.workflow.manifest import RunResult
from geoseg.workflow.planning import plan
from geoseg.workflow.polygons import PolygonizeResult, polygonize
from geoseg.workflow.reporting import make_report, preview
from geoseg.workflow.running import resume, run
from geoseg.workflow.settings import read_workflow
from geoseg.workflow.sieving import sieve

__all__ = [
    "PolygonizeResult",
    "Polygonizing",
    "RunResult",
    "Workflow",
    "make_report",
    "plan",
    "polygonize",
    "preview",
    "read_workflow",
    "resume",
    "run",
    "sieve",
]
