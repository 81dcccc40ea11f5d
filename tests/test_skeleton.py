"""The house itself: what is installed, what is imported, what travels."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
OTHER_NAMES = {"pytorch": "torch", "huggingface_hub": "huggingface-hub"}


def test_pyproject_and_environment_name_the_same_run_time_packages_with_the_same_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {_split(line) for line in environment if line != "pip"} - {("python", project["requires-python"])}
    assert {_split(line) for line in project["dependencies"]} == conda


def _split(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([a-z0-9_-]+)(.*)", requirement).groups()
    return OTHER_NAMES.get(name, name), bound


def test_importing_geoseg_loads_neither_torch_nor_dask() -> None:
    code = "import sys, geoseg; print([name for name in ('torch', 'dask', 'distributed') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_can_be_used() -> None:
    import geoseg

    for name in geoseg.__all__:
        assert getattr(geoseg, name) is not None


def test_everything_a_workflow_names_ships() -> None:
    from geoseg.catalog import find_imagery, find_model
    from geoseg.workflow import read_workflow

    for path in sorted((ROOT / "workflows").glob("*.yaml")):
        if path.name.startswith("train_"):
            continue
        workflow = read_workflow(path)
        assert find_model(workflow.model).classes
        assert workflow.input is None or find_imagery(workflow.input)


def test_the_list_of_errors_is_complete_and_right() -> None:
    from geoseg import errors

    text = (ROOT / "docs" / "errors.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+Error)` \| `(\w+)` \|", text, re.MULTILINE))
    listed |= dict.fromkeys(re.findall(r"^\| `(\w+Warning)` \|", text, re.MULTILINE), "UserWarning")
    bases = {errors.GeosegError, errors.GeosegWarning}
    known = {
        name: item
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, tuple(bases)) and item not in bases
    }
    assert set(listed) == set(known)
    for name, builtin in listed.items():
        assert builtin in {base.__name__ for base in known[name].__mro__}


def test_every_imported_package_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {_split(line)[0].replace("-", "_") for line in project["dependencies"]}
    packages = {"yaml": "pyyaml", "odc": "odc_geo", "pydantic_core": "pydantic", "PIL": "pillow"}
    packages |= {"skimage": "scikit_image", "google": "protobuf"}
    used = set()
    for path in (ROOT / "geoseg").rglob("*.py"):
        text = path.read_text()
        used |= set(re.findall(r"^ *from (\w+)[\w.]* import ", text, re.MULTILINE))
        used |= set(re.findall(r"^ *import (\w+)", text, re.MULTILINE))
    third_party = used - set(sys.stdlib_module_names) - {"geoseg"}
    optional = {"folium", "lonboard"}  # RunResult.explore() takes the one that is installed, and says so where none is
    optional |= {"IPython"}  # of a notebook's kernel, and used in one alone
    optional |= {"prometheus_client"}  # /metrics has runs where it is installed, as it has Dask's own
    optional |= {"openvino", "nncf", "matplotlib"}  # extras, of which errors say how to install them
    assert {packages.get(name, name) for name in third_party} <= named | optional


def test_the_levels_that_are_told_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(item["layers"] for item in contracts if "layers" in item)
    enforced = {module.strip(): level for level, layer in enumerate(reversed(layers)) for module in layer.split("|")}
    text = (ROOT / "docs" / "architecture.md").read_text()
    told = {name: int(level) for level, name in re.findall(r"^\| (\d+) \| `(\w+)/?` \|", text, re.MULTILINE)}
    assert told == {name: level for name, level in enforced.items() if name != "__main__"}
