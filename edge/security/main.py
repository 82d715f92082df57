"""`edge-keys`: makes, lists and revokes the keys of those who speak TCP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from alfa.cli import entry
from edge.security.keys import KeyDirectory, Role

app = typer.Typer(
    help="Keys of cameras, services and subscribers.", no_args_is_help=True, add_completion=False
)

Name = Annotated[str, typer.Argument(help="Of the key; stands in config.toml and logs.", show_default=False)]
Keys = Annotated[Path, typer.Option("--keys", help="The directory, `network.keys` in config.toml.")]
_KEYS = Path("keys")


@app.command()
def new(
    name: Name,
    role: Annotated[Role, typer.Option("--role", help="What its owner is.", show_default=False)],
    keys: Keys = _KEYS,
) -> None:
    """Make a key pair: NAME.key for its owner's host alone, NAME.pub for every host that it speaks to."""
    KeyDirectory(keys).create(name, role)
    print(f"{keys / name}.key: secret; for the host of {name} alone, mode 0600")
    print(
        f"{keys / name}.pub: role {role}; for {keys} on every host that {name} speaks to; then reload there"
    )


@app.command("list")
def list_keys(keys: Keys = _KEYS) -> None:
    """Show who is let in, and who is no more."""
    directory = KeyDirectory(keys)
    table = Table("name", "role", "made", Column("public key", overflow="fold"))
    for certificate in directory.certificates():
        made = certificate.created.isoformat(sep=" ", timespec="minutes")
        table.add_row(certificate.name, certificate.role, made, certificate.public)
    for name in directory.revoked():
        table.add_row(name, "revoked", "", "")
    Console(soft_wrap=True).print(table, markup=False)


@app.command()
def revoke(name: Name, keys: Keys = _KEYS) -> None:
    """Let a key in no more; to be done on every host, and taken up by its services when they reload."""
    KeyDirectory(keys).revoke(name)
    print(f"{name} is revoked in {keys}; reload the services of this host, and revoke it on the others")


def main() -> None:
    """Entry point of the console script."""
    entry.run(app)


if __name__ == "__main__":
    main()
