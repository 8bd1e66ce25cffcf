"""python -m tests.postgres start DIR | stop DIR: a private Postgres for whoever has none."""

import sys
from pathlib import Path

import click

from controller.demo.postgres import LackingError, PrivatePostgres


@click.group()
def main() -> None:
    """Start and stop a private Postgres."""


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def start(directory: Path) -> None:
    """Start one below DIRECTORY, which must have a short path; the last line is its DATABASE_URL."""
    try:
        server = PrivatePostgres(directory.absolute())
        server.start()
    except LackingError as error:
        click.echo(f"tests.postgres: {error}", err=True)
        sys.exit(1)
    click.echo(server.url())


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def stop(directory: Path) -> None:
    """End the one below DIRECTORY, and remove all it had."""
    PrivatePostgres(directory.absolute()).remove()


if __name__ == "__main__":
    main()
