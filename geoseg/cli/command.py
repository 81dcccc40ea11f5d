"""Commands of the command line, whose options are read from the tables of `geoseg.options` when they are needed.

So ``geoseg --help`` and a command without such a table load no table. Options are checked where the table is, not here:
what is wrong is said in the same sentence for the command line, YAML and Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from geoseg.errors import nearest

if TYPE_CHECKING:
    from geoseg.options import Option


Function = TypeVar("Function", bound=Callable[..., Any])


class Argument(click.Argument):
    """An argument that the help explains."""

    def __init__(self, *given: Any, sentence: str, **more: Any) -> None:
        super().__init__(*given, **more)
        self.sentence = sentence


class TableOption(click.Option):
    """An option of a table: on or off, or text that the table reads."""

    def __init__(self, option: Option) -> None:
        flag = f"{option.flag}/--no{option.flag[1:]}" if option.is_flag else option.flag
        super().__init__(
            [flag, option.name],
            default=None,
            type=bool if option.is_flag else str,
            multiple=option.is_repeated,
            shell_complete=self._complete,
        )
        self.option = option

    def _complete(self, _ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
        """What a shell may write behind the option: one of a few, or a file."""
        if self.option.metavar in ("PATH", "REGION"):
            return [CompletionItem(begun, type="file")]
        words = map(str, self.option.choices)
        return [CompletionItem(word) for word in words if word.startswith(begun)]


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; one value of those that may be repeated by itself."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in values.items()
        if value not in (None, [])
    }


class Command(click.Command):
    """A command with options of a table.

    Parameters
    ----------
    table : str, optional
        Name of the table in `geoseg.options`.
    only : str
        Name of the list there that has the options which the command takes; all of the table's unless given.
    """

    def __init__(self, *given: Any, table: str = "", only: str = "", **more: Any) -> None:
        super().__init__(*given, **more)
        self.table, self.only = table, only
        self._options: list[click.Parameter] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed; an error says of which command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Arguments, the table's options, and those of the command itself."""
        if self._options is None:
            self._options = list(self._read_table())
        taken = {item.name for item in self.params}
        own, rest = super().get_params(ctx), [item for item in self._options if item.name not in taken]
        arguments = [item for item in own if isinstance(item, click.Argument)]
        return [*arguments, *rest, *(item for item in own if not isinstance(item, click.Argument))]

    def _read_table(self) -> Iterator[click.Parameter]:
        if self.table:
            from geoseg import options

            only = getattr(options, self.only) if self.only else None
            yield from map(TableOption, options.options_of(getattr(options, self.table), only))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write options by panel, arguments first."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for item in self.get_params(ctx):
            if isinstance(item, Argument):
                rows.setdefault("Arguments", []).append((item.metavar or "", item.sentence))
            elif isinstance(item, TableOption):
                rows.setdefault(item.option.panel, []).append(_row(item.option))
            elif (record := item.get_help_record(ctx)) is not None:
                rows.setdefault("General", []).append(record)
        width = max(len(first) for lines in rows.values() for first, _ in lines)
        for panel, lines in rows.items():
            with formatter.section(panel):  # columns of all panels begin alike
                formatter.write_dl([(first.ljust(width), rest) for first, rest in lines])


def _row(option: Option) -> tuple[str, str]:
    """An option in the help: how it is written, and what it means."""
    notes = []
    if option.choices:
        notes.append("|".join(str(item) for item in option.choices))
    if option.is_repeated:
        notes.append("may be repeated")
    if option.default:
        notes.append(f"default: {option.default}")
    written = f"--[no-]{option.flag[2:]}" if option.is_flag else f"{option.flag} {option.metavar}"
    return written, f"{option.sentence} [{'; '.join(notes)}]" if notes else option.sentence


class Group(click.Group):
    """Commands that answer a mistyped name with the nearest one."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command by its name."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command '{args[0]}'; {nearest(args[0], [*self.commands])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with all of its sentence."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, item.help or "") for name, item in self.commands.items()])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are told."""
        del ctx
        return list(self.commands)


Group.group_class = Group


def usage_sentence(error: click.UsageError) -> str:
    """What is wrong with what was typed, and the remedy, in one sentence."""
    command = error.ctx.command_path if error.ctx is not None else "geoseg"
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [
            name for item in error.ctx.command.get_params(error.ctx) for name in (*item.opts, *item.secondary_opts)
        ]
        flags = [name for name in known if name.startswith("--")]
        return f"{command} has no option '{error.option_name}'; {_nearest_option(error.option_name, flags, command)}"
    said = error.format_message().rstrip(".")
    return f"{said[:1].lower()}{said[1:]}" + ("" if ";" in said else f"; see `{command} --help`.")


def _nearest_option(name: str, flags: list[str], command: str) -> str:
    """Say which option was probably meant: one that is spelt alike, or begins as a short one does."""
    begun = [flag for flag in flags if flag.startswith(f"-{name}" if len(name) == 2 else name)]
    meant = begun if 0 < len(begun) <= 3 else get_close_matches(name, flags, n=1)
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else f"`{command} --help` lists its options."


def argument(name: str, metavar: str, sentence: str, **more: Any) -> Callable[[Function], Function]:
    """Give a command an argument that its help explains."""
    return click.argument(name, cls=Argument, metavar=metavar, sentence=sentence, **{"required": True, **more})


quiet = click.option("--quiet", is_flag=True, help="Print errors only.")
json = click.option("--json", is_flag=True, help="Print progress as JSON Lines.")
home = click.option("--home", metavar="PATH", help="Folder of the catalog (default: your own, GEOSEG_CATALOG).")
