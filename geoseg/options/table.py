"""What an option is: a field of pydantic, seen by the command line, the docs, the schema and the signatures.

It knows fields in general, and no option by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from geoseg.errors import WorkflowError, nearest
from geoseg.options.values import Written


class Options(BaseModel):
    """A table of options; the string below a field is its sentence.

    Attributes
    ----------
    panel : str
        Heading above the fields of this class in the help of a command.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    panel: ClassVar[str] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _no_answer_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse yes and no where a number or a name is meant: YAML makes them of words, and 1 and 0 of them follow."""
        field = cls.model_fields[info.field_name or ""]
        given = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, bool) for item in given) and not _takes_answers(field.annotation):
            raise ValueError(
                "yes, no, true and false are no numbers and no names; quote the word, or leave the key out"
            )
        return value


def _takes_answers(annotation: Any) -> bool:
    """Whether a type may be yes or no, or anything at all."""
    return annotation in (bool, Any, dict) or any(map(_takes_answers, get_args(annotation)))


Table = TypeVar("Table", bound=Options)


@dataclass(frozen=True)
class Option:
    """One option, as people meet it.

    Attributes
    ----------
    name : str
        Key in YAML and argument in Python; ``--`` and dashes make it an option of the command line.
    panel : str
        Heading that it stands under.
    sentence : str
        What it means.
    field : FieldInfo
        Its type and default.
    """

    name: str
    panel: str
    sentence: str
    field: FieldInfo

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def members(self) -> list[tuple[Any, tuple[Any, ...]]]:
        """The types that a value may have, and what is annotated beside each; without None."""
        found = list(_members(self.field.annotation, tuple(self.field.metadata)))
        return [(kind, notes) for kind, notes in found if kind is not NoneType]

    @property
    def written(self) -> Written:
        """How a value is written."""
        notes = [note for _, notes in self.members for note in notes if isinstance(note, Written)]
        return notes[0] if notes else Written()

    @property
    def choices(self) -> tuple[Any, ...]:
        """All values that can be given, where those are few."""
        kinds = [kind for kind, _ in self.members]
        is_closed = all(get_origin(kind) is Literal for kind in kinds)
        return tuple(value for kind in kinds for value in get_args(kind)) if is_closed else ()

    @property
    def is_flag(self) -> bool:
        """Whether it is on or off."""
        return [kind for kind, _ in self.members] == [bool]

    @property
    def is_repeated(self) -> bool:
        """Whether it may be given several times on the command line."""
        return self.metavar != "LIST" and any(kind == list[str] for kind, _ in self.members)

    @property
    def metavar(self) -> str:
        """What stands for the value in the help of a command."""
        if self.written.metavar:
            return self.written.metavar
        kinds = {kind for kind, _ in self.members}
        if self.choices:
            return "NAME" if isinstance(self.choices[0], str) else "N"
        return "N" if kinds == {int} else "NUMBER" if kinds <= {int, float} else "TEXT"

    @property
    def default(self) -> str:
        """The default as a person writes it; empty where there is none, or where the sentence says it."""
        value = None if self.field.is_required() else self.field.get_default(call_default_factory=True)
        if value is None or value == [] or (self.is_flag and not value):
            return ""
        if isinstance(value, list | tuple):
            return ",".join(_plain(item) for item in value)
        return "on" if value is True else _plain(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _members(annotation: Any, notes: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The types of a union, each with what is annotated beside it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from _members(inner, (*notes, *more))
    elif get_origin(annotation) in (Union, UnionType):
        for item in get_args(annotation):
            yield from _members(item, notes)
    else:
        yield annotation, notes


def options_of(kind: type[Options], only: Sequence[str] | None = None) -> list[Option]:
    """List the options of a table, panel by panel.

    Parameters
    ----------
    kind : type
        The table.
    only : sequence of str, optional
        Names of those that are wanted.
    """
    return [
        Option(name, _panel_of(kind, name), " ".join((field.description or "").split()), field)
        for name, field in kind.model_fields.items()
        if only is None or name in only
    ]


def _panel_of(kind: type[Options], name: str) -> str:
    """The heading of the class that a field comes from."""
    return [base.panel for base in kind.__mro__ if issubclass(base, Options) and name in get_annotations(base)][-1]


MOST_LISTED = 16
"""Names that an error lists; of more, it says where they stand."""


def nearest_key(key: str, known: Sequence[str]) -> str:
    """Say which option was probably meant."""
    close = get_close_matches(key, known, n=1)
    if not close and len(known) > MOST_LISTED:
        return f"docs/options.md lists the {len(known)} known keys."
    return f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}."


def given_options(kind: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out known options that are None: they are as if they were not given."""
    return {key: value for key, value in values.items() if value is not None or key not in kind.model_fields}


def read_options(kind: type[Table], values: Mapping[str, Any], name: str, *, beside: Collection[str] = ()) -> Table:
    """Check what a person wrote; None is as if it was not given.

    Parameters
    ----------
    kind : type
        The table.
    values : dict
        Values of its options.
    name : str
        Where they come from, for what is said when they cannot be used.
    beside : collection of str
        Keys that stand beside a workflow, in the call or the command.

    Raises
    ------
    WorkflowError
        An unknown key, one that is missing, or a value that cannot be used.
    """
    try:
        return kind(**given_options(kind, values))
    except (ValidationError, WorkflowError) as error:
        cause = error.__cause__ or error  # a Workflow says it in its own name
        if not isinstance(cause, ValidationError):
            raise
        place = "the run" if cause.errors()[0]["loc"][0] in beside else name
        raise WorkflowError(sentence(cause, place, kind)) from cause


def sentence(error: ValidationError, name: str, kind: type[Options]) -> str:
    """The first thing that is wrong, in one sentence.

    Parameters
    ----------
    error : ValidationError
        Of the options.
    name : str
        Where they come from.
    kind : type
        Their table, for the names that are known.
    """
    first = error.errors()[0]
    key, value = str(first["loc"][0]), first.get("input")
    if first["type"] == "extra_forbidden":
        return f"{name} has an unknown key '{key}'; {nearest_key(key, list(kind.model_fields))}"
    if first["type"] == "missing":
        return f"{name} does not say '{key}'; add that key."
    if first["type"] == "value_error":
        return f"{name} has {key}: {value!r}; {first['msg'].removeprefix('Value error, ')}."
    choices = next((option.choices for option in options_of(kind, [key])), ())
    if choices:
        return f"{name} has {key}: {value!r}; {nearest(str(value), [str(item) for item in choices])}"
    return f"{name} has {key}: {value!r}, which cannot be used ({first['msg']}); give another value."
