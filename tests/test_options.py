"""One table of options: what is added there is everywhere, with the same sentence, and mistakes are said alike."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import click
import jsonschema
import pytest
import yaml
from mypy import api as mypy

import geoseg
from docs import generate
from geoseg import options, signatures
from geoseg.cli import app, main
from geoseg.cli.command import TableOption
from geoseg.errors import WorkflowError
from geoseg.options import Options, Workflow, options_of
from geoseg.workflow import read_workflow

ROOT = Path(__file__).parents[1]
COMMANDS = {"run": "Workflow", "plan": "Workflow", "polygonize": "Polygonizing", "evaluate": "EvaluationOptions"}
COMMANDS |= {
    "train": "TrainOptions",
    "compare": "CompareOptions",
    "areas": "AreaOptions",
    "sample": "SampleOptions",
    "sieve": "SieveOptions",
}


def table_options(name: str) -> dict[str, TableOption]:
    """The options of a command that come from a table, and its arguments as none."""
    command = app.commands[name]
    params = command.get_params(click.Context(command))
    return {item.name or "": item for item in params if isinstance(item, TableOption)}


def help_of(name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((width, 40)))
    monkeypatch.setattr("click.formatting.FORCED_WIDTH", None)
    assert main([name, "--help"]) == 0
    return capsys.readouterr().out


# One field, everywhere


def test_every_option_is_on_the_command_line_in_yaml_in_python_and_in_the_docs_with_the_same_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_command_line = table_options("run")
    shown = " ".join(help_of("run", 120, monkeypatch, capsys).split())
    schema = json.loads((ROOT / "workflows" / "workflow.schema.json").read_text())
    page = (ROOT / "docs" / "options.md").read_text()
    module, arguments = inspect.getsource(signatures), generate.SIGNATURES["RunArguments"].fields()
    for name, field in Workflow.model_fields.items():
        sentence = " ".join((field.description or "").split())
        assert len(sentence.split()) >= 4, f"{name} is not explained"
        assert sentence.endswith("."), sentence
        assert on_command_line[name].option.sentence == sentence
        assert f"{name.replace('_', '-')} " in shown
        assert sentence in shown
        assert schema["properties"][name]["description"] == sentence
        assert f"| `{name}` | " in page
        assert f"| {sentence.replace('<', '&lt;')} |" in page
        assert name in signatures.RunArguments.__annotations__
        assert f'"""{sentence}"""' in " ".join(arguments[name].split())
        assert arguments[name] in module
    keys = set(Workflow.model_fields)
    assert keys == set(on_command_line) == set(schema["properties"]) == set(signatures.RunArguments.__annotations__)


@pytest.mark.parametrize("path", generate.files(), ids=lambda path: path.name)
def test_what_is_made_of_the_table_is_as_the_table_is(path: Path) -> None:
    assert path.read_text() == generate.files()[path], "an option was changed: run `make options`"


@pytest.mark.parametrize(("name", "table"), COMMANDS.items())
def test_every_command_has_all_options_of_its_table(name: str, table: str) -> None:
    kind: type[Options] = getattr(options, table)
    command = app.commands[name]
    arguments = {item.name for item in command.params if isinstance(item, click.Argument)} & set(kind.model_fields)
    assert set(table_options(name)) | arguments == set(kind.model_fields)


def test_a_field_that_is_added_is_an_option_at_once() -> None:
    class Longer(Workflow):
        panel = "New"

        speed: Literal["slow", "fast"] = "slow"
        """How fast the map is made."""

    (added,) = options_of(Longer, ["speed"])
    assert (added.panel, added.sentence, added.choices) == ("New", "How fast the map is made.", ("slow", "fast"))
    assert TableOption(added).opts == ["--speed"]
    assert generate.python_type(added) == 'Literal["slow", "fast"] | None'
    assert generate.row(added) == "| `speed` | `slow`, `fast` | slow | How fast the map is made. |\n"
    assert json.loads(generate.schema(Longer, "x"))["properties"]["speed"]["enum"] == ["slow", "fast"]


# What people see


@pytest.mark.parametrize("name", app.commands)
@pytest.mark.parametrize("width", [80, 120])
def test_the_help_fits_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = help_of(name, width, monkeypatch, capsys).splitlines()
    assert max(map(len, lines)) <= width


def test_the_help_has_panels_choices_and_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of("run", 100, monkeypatch, capsys)
    panels = re.findall(r"^(\w+):$", shown, re.MULTILINE)
    assert panels == ["Arguments", *(kind.panel for kind in reversed(Workflow.__bases__)), "General"]
    flat = " ".join(shown.split())
    assert "[first|newest|least_cloudy|median; default: first]" in flat
    assert "--[no-]report" in flat
    assert "[may be repeated; default: features.gpkg]" in flat


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_choices(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    assert "_GEOSEG_COMPLETE" in capsys.readouterr().out
    for words, found in (
        ("geoseg pol", "polygonize"),
        ("geoseg run --tile", "--tile-size"),
        ("geoseg run --mosaic le", "least_cloudy"),
        ("geoseg plan --region ao", "file"),
    ):
        monkeypatch.setenv("_GEOSEG_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1) if shell != "fish" else words.split()[-1])
        assert main([]) == 0
        assert found in capsys.readouterr().out
    monkeypatch.delenv("_GEOSEG_COMPLETE")
    assert main(["completion", "bsh"]) == 2
    assert "there is no completion for 'bsh'; did you mean 'bash'?" in capsys.readouterr().err


def test_help_and_import_load_nothing_heavy() -> None:
    code = "import sys; from geoseg.cli import main; main({}); print([name for name in {} if name in sys.modules])"
    for arguments, names in (
        (["--help"], ["pydantic", "numpy", "torch", "dask"]),
        (["run", "--help"], ["numpy", "torch", "dask", "rasterio", "pandas"]),
        (["train", "--help"], ["numpy", "torch", "dask", "rasterio", "pandas"]),
    ):
        command = [sys.executable, "-c", code.format(arguments, names)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert printed.splitlines()[-1] == "[]", arguments


# Mistakes


def test_a_mistyped_option_is_answered_with_the_nearest_one_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.yaml").write_text("model: buildings\ntreshold: 0.5\n")
    for wrong in (
        lambda: read_workflow(tmp_path / "map.yaml"),
        lambda: geoseg.run("land_use", treshold=0.5),
        lambda: geoseg.Workflow(model="buildings", treshold=0.5),
    ):
        with pytest.raises(WorkflowError, match=r"has an unknown key 'treshold'; did you mean 'threshold'\?"):
            wrong()
    with pytest.raises(WorkflowError) as caught:
        geoseg.Workflow(model="buildings", mosaic="frist")
    assert str(caught.value) == "Workflow has mosaic: 'frist'; did you mean 'first'?"
    with pytest.raises(WorkflowError, match=r"^Workflow does not say 'model'; add that key\.$"):
        geoseg.Workflow()
    (tmp_path / "workflow.yaml").write_text("model: buildings\n")
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
        (geoseg.plan, ("land_use",), {"worker": None}, "workers"),
        (geoseg.resume, (tmp_path,), {"retrys": 1}, "retries"),
        (geoseg.polygonize, ("a.tif", "a.gpkg"), {"simplfy": 1}, "simplify"),
        (geoseg.evaluate, ("a.tif", "b.tif"), {"toleranze": 1}, "tolerance"),
        (geoseg.segment, ("a.tif", "buildings"), {"mosiac": "first"}, "mosaic"),
        (geoseg.train, ("train_land_cover",), {"dat": "x"}, "data"),
    ]
    for function, given, settings, meant in calls:
        with pytest.raises(WorkflowError, match=f"unknown key '{next(iter(settings))}'; did you mean '{meant}'"):
            function(*given, **settings)
    with pytest.raises(WorkflowError, match=r"unknown key 'aoi'; docs/options\.md lists the \d+ known keys\."):
        geoseg.run("land_use", aoi="a.gpkg")  # type: ignore[call-arg]
    for arguments, meant in (
        (
            ["run", "land_use", "--treshold", "0.5"],
            "geoseg run has no option '--treshold'; did you mean '--threshold'?",
        ),
        (["run", "land_use", "-q"], "geoseg run has no option '-q'; did you mean '--query' or '--quiet'?"),
        (
            ["run", "land_use", "--zzz"],
            "geoseg run has no option '--zzz'; `geoseg run --help` lists its options.",
        ),
        (["runn"], "there is no command 'runn'; did you mean 'run'?"),
        (["models", "chek"], "there is no command 'chek'; did you mean 'check'?"),
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"{meant}\n"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mosaic", "frist", "the run has mosaic: 'frist'; did you mean 'first'?"),
        ("connectivity", "6", "the run has connectivity: 6; known: 4, 8"),
        ("halo", "far", "the run has halo: 'far', which cannot be used"),
        (
            "threshold",
            "2",
            "the run has threshold: '2', which cannot be used (Input should be less than or equal to 1)",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_said_alike(
    key: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkflowError) as error:
        read_workflow("land_use", **{key: value})
    assert words in str(error.value)
    assert main(["plan", "land_use", f"--{key}", value]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("key", ["bands", "classes", "keep_classes"])
def test_an_empty_list_never_stands_for_all(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkflowError, match=rf"^the run has {key}: \[\]; name at least one, or leave it out\.$"):
        read_workflow("land_use", **{key: []})
    (tmp_path / "map.yaml").write_text(f"model: buildings\n{key}: []\n")
    with pytest.raises(WorkflowError, match=rf"has {key}: \[\]; name at least one, or leave it out\.$"):
        read_workflow(tmp_path / "map.yaml")
    assert main(["plan", "land_use", f"--{key.replace('_', '-')}", ""]) == 2
    assert "name at least one, or leave it out" in capsys.readouterr().err
    assert getattr(read_workflow("land_use", **{key: None}), key) is None


def test_what_is_missing_is_said_with_the_way_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "a.tif"]) == 2
    assert capsys.readouterr().err == "missing argument 'TRUTH'; see `geoseg evaluate --help`.\n"
    assert main(["run", "land_use", "--halo"]) == 2
    assert capsys.readouterr().err.endswith("; see `geoseg run --help`.\n")


def test_lists_are_written_alike_everywhere(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("model: buildings\nclasses: 'water, 3'\nfeatures: a.gpkg\nblock_tiles: 2,3\n")
    read = read_workflow(tmp_path / "map.yaml")
    assert read.classes == ["water", 3]
    assert (read.features, read.block_tiles) == (["a.gpkg"], (2, 3))
    assert read_workflow("land_use", classes="water, 3").classes == ["water", 3]
    assert read_workflow("land_use", classes=("water", 3), features=Path("a.gpkg")).features == ["a.gpkg"]


# Editors


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_by_the_schema_that_it_names(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    schema = json.loads((path.parent / first.removeprefix("# yaml-language-server: $schema=")).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    content = yaml.safe_load(path.read_text())
    assert not list(validator.iter_errors(content))
    assert list(validator.iter_errors(content | {"treshold": 1}))
    assert list(validator.iter_errors(content | {"nodata": "nothing"}))


def test_the_schema_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("workflow", "recipe", "legend"):
        assert main(["schema", kind]) == 0
        assert capsys.readouterr().out == (ROOT / "workflows" / f"{kind}.schema.json").read_text()
    assert main(["schema", "workflo"]) == 2
    assert "there is no schema of 'workflo'; did you mean 'workflow'?" in capsys.readouterr().err


def check_types(path: Path) -> list[str]:
    """What mypy says of a file, strict."""
    kept = ["--cache-dir", str(ROOT / ".mypy_cache"), "--config-file", str(ROOT / "pyproject.toml")]
    printed, errors, _ = mypy.run([*kept, "--no-error-summary", "--hide-error-context", str(path)])
    assert not errors
    return printed.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mypy_knows_every_argument_of_every_public_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    right = ROOT / "tests" / "typed.py"
    functions = {name for name in geoseg.__all__ if inspect.isfunction(getattr(geoseg, name))}
    assert functions <= set(re.findall(r"geoseg\.(\w+)\(", right.read_text()))
    assert check_types(right) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mypy_finds_wrong_names_and_wrong_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wrong = {
        'geoseg.run("land_use", treshold=0.5)': "treshold",
        'geoseg.run("land_use", tile_size="large")': "tile_size",
        'geoseg.plan("land_use", mosaic="frist")': "mosaic",
        'geoseg.resume("out", worker=2)': "worker",
        'geoseg.polygonize("a.tif", "a.gpkg", simplfy=1.0)': "simplfy",
        'geoseg.polygonize("a.tif", "a.gpkg", connectivity=6)': "connectivity",
        'geoseg.evaluate("a.tif", "b.tif", task="semantics")': "task",
        'geoseg.evaluate("a.tif", "b.tif", ignored=[0])': "ignored",
        'geoseg.compare("a.tif", "b.tif", min_aera=5)': "min_aera",
        'geoseg.train("recipe.yaml", devise="cpu")': "devise",
        'geoseg.segment("a.tif", "buildings", mosiac="first")': "mosiac",
        'geoseg.segment("a.tif", "buildings", mosaic="frist")': "mosaic",
    }
    path = tmp_path / "wrong.py"
    path.write_text("import geoseg\n" + "".join(f"{line}\n" for line in wrong))
    said = check_types(path)
    for number, (line, name) in enumerate(wrong.items(), start=2):
        assert any(f":{number}: error" in item and (name in item or "overload" in item) for item in said), (line, said)
