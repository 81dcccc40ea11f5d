"""Objects of a program where a file has a path or a name: arrays as imagery, networks as model.

In the file they stand as ``memory:`` and what they are; whoever reads it later has to give them again. It knows no
kind of object.
"""

from __future__ import annotations

from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticOmit, core_schema

from geoseg.errors import InputTypeError

MEMORY = "memory:"
"""How a file says that something was an object of a program."""


class Held:
    """An object of the program that calls, as the value of an option.

    Parameters
    ----------
    value : object
        What it is.
    name : str
        What messages and files call it.
    """

    def __init__(self, value: Any, name: str) -> None:
        self.value, self.name = value, name

    def __repr__(self) -> str:
        return f"{MEMORY}{self.name}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        text = core_schema.plain_serializer_function_ser_schema(repr, when_used="json")
        return core_schema.is_instance_schema(cls, serialization=text)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler) -> Any:
        raise PydanticOmit  # no file can hold one


def is_lost(given: Any) -> bool:
    """Say whether an option names an object of a program that may have ended."""
    return isinstance(given, str) and given.startswith(MEMORY)


def value_of(given: Any, key: str) -> Any:
    """What an option holds: the object itself where it is held.

    Raises
    ------
    InputTypeError
        It was an object of a program that has ended.
    """
    if is_lost(given):
        more = " and its spec" if key == "model" else ""
        raise InputTypeError(
            f"the {key} of this run was an object of a program ({given.removeprefix(MEMORY)}), which no file holds; "
            f"give it{more} again, such as geoseg.resume(folder, {key}=...)."
        )
    return given.value if isinstance(given, Held) else given


def folder_of(given: Any) -> Any:
    """The folder of a run where its result is given; anything else as it is, tables with such a column too."""
    return given.folder if type(given).__name__ == "RunResult" else given
