"""`python -m benchmarks.fuzz --messages 1000000`: a table of what every decoder did. Exit 1 on a crash.

A decoder may take a message or refuse it by an error of its own; anything else is a crash, and the message
is kept as a regression test.
"""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from alfa.cli.entry import run
from alfa.errors import BadInput
from benchmarks.fuzz.campaign import Outcome, fuzz
from benchmarks.fuzz.decoders import Decoder, decoders
from benchmarks.fuzz.regressions import keep

REGRESSIONS = Path(__file__).resolve().parents[2] / "tests" / "edge" / "regressions"
_WIDTH = 160

app = typer.Typer(add_completion=False)


@app.command()
def fuzz_all(
    messages: Annotated[int, typer.Option(min=1, help="How many, shared out to the decoders.")] = 100_000,
    seconds: Annotated[float, typer.Option(min=0.0, help="At most, for all together; 0 for no end.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same messages.")] = 0,
    only: Annotated[str, typer.Option(help="Names of decoders, with commas between; else all.")] = "",
    crashes: Annotated[Path, typer.Option(help="Directory for messages that crash.")] = REGRESSIONS,
) -> None:
    """Give every decoder mutated messages."""
    # What the libraries say of bad bytes is not what is looked for.
    logging.disable(logging.CRITICAL)
    console = Console(width=_WIDTH)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        chosen = _chosen(decoders(Path(directory)), only)
        shares = sum(decoder.share for decoder in chosen)
        outcomes = []
        for decoder in chosen:
            part = decoder.share / shares
            outcome = fuzz(
                decoder,
                max(round(messages * part), 1),
                seconds / len(chosen) if seconds else math.inf,
                Random(f"{seed}/{decoder.name}"),  # noqa: S311 - reproducible, and no secret
            )
            outcomes.append(outcome)
    console.print(_table(outcomes))
    found = [crash for outcome in outcomes for crash in outcome.crashes.values()]
    for crash in found:
        console.print(f"{crash.decoder}: {crash.where}: {crash.error[:300]}", markup=False)
        console.print(f"  kept in {keep(crash, crashes)}", markup=False)
    if found:
        raise typer.Exit(1)


def _chosen(every: dict[str, Decoder], only: str) -> list[Decoder]:
    names = [name.strip() for name in only.split(",")] if only else list(every)
    for name in names:
        if name not in every:
            raise BadInput("fuzz", "--only", name, f"is not one of {', '.join(every)}")
    return [every[name] for name in names]


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("decoder", "messages", "accepted", "refused", "crashes", "slowest ms", "growth B/message")
    for outcome in outcomes:
        refused = ", ".join(f"{reason} {count}" for reason, count in outcome.refused.most_common())
        table.add_row(
            outcome.decoder,
            str(outcome.messages),
            str(outcome.accepted),
            refused,
            str(len(outcome.crashes)),
            f"{1000 * outcome.slowest_s:.1f}",
            f"{outcome.growth:.1f}",
        )
    total = sum(outcome.messages for outcome in outcomes)
    table.caption = f"{total} messages, {sum(len(outcome.crashes) for outcome in outcomes)} crashes"
    return table


if __name__ == "__main__":
    run(app)
