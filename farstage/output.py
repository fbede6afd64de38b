"""What commands print: tables and progress for people, one JSON object on standard output for machines."""

import sys
from typing import Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

errors = Console(stderr=True, highlight=False)
console = Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON object, one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong on standard error and end the command."""
    errors.print(f"[bold red]farstage:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_figures(title: str, figures: dict[str, Any]) -> None:
    """A two-column table; nested figures get dotted names."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in _flat(figures):
        table.add_row(name, "–" if value is None else str(value))
    console.print(table)


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in figures.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows
