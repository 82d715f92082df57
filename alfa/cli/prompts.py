"""`alfa-prompts`, what it does with files: from a language model's answers to a checked prompt file.

The console script is `edge.prompts.main`, which adds what it does with the lines of a box.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from alfa.cli.entry import run
from alfa.cli.options import PROMPTS_DIRECTORY, ConfigOption
from alfa.cli.outputs import require_writable, writing
from alfa.errors import BadInput, Fault
from alfa.images import list_images
from alfa.prompting.answerfile import answer_sheet, read_answers
from alfa.prompting.answers import Parsed
from alfa.prompting.generation import Harvest, harvest
from alfa.prompting.lint import Finding, every_text, lint, over_long
from alfa.prompting.llm import ask_all, find_key, load_llm_settings, require_address
from alfa.prompting.promptset import (
    LONGEST_NAME,
    PromptSet,
    Provenance,
    file_stem,
    find_prompt_file,
    load_prompt_set,
    save_prompt_set,
)
from alfa.prompting.queries import Answer, Query, queries_for
from alfa.prompting.templates import DEFAULT_DOMAIN, PROMPTS_PER_LABEL
from alfa.settings import LlmSettings, ModelSettings, load_model_settings

if TYPE_CHECKING:
    from alfa.backbone import Backbone

app = typer.Typer(no_args_is_help=True, help="Generate, import, check and show prompt files.")

EXIT_FINDINGS = 1

ClassOption = Annotated[
    str, typer.Option("--class", help="What is on the images, such as `metal nut`.", show_default=False)
]
DomainOption = Annotated[str, typer.Option("--domain", help="First domain of the template prompts.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Prompt file to write.", show_default="prompts/CLASS.toml")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


@app.command()
def generate(
    class_name: ClassOption,
    domain: DomainOption = DEFAULT_DOMAIN,
    out: OutOption = None,
    force: ForceOption = False,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="OpenAI-compatible endpoint, ending in /v1.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model name at the endpoint.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the queries as an answer sheet; connect to nothing.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="config.toml; only its `llm` table is read.")
    ] = None,
) -> None:
    """Ask a language model about a class and write its prompt file.

    The key is read from ALFA_LLM_KEY, OPENAI_API_KEY or systemd's credential `llm-key`.
    """
    class_name, domain = _name("--class", class_name), _name("--domain", domain)
    queries = queries_for(class_name)
    if dry_run:
        print(answer_sheet(class_name, queries))
        return
    settings = _llm_settings(config, base_url, model)
    target = _target(out, class_name, force)
    answers = _ask(queries, settings)
    harvested = harvest(answers, class_name)
    if harvested.shortage:
        raise Fault("too_few_prompts", f"{settings.model}: {harvested.shortage}; nothing was written")
    provenance = _provenance("alfa-prompts generate", settings.model, (query.text for query in queries))
    _write(harvested, harvested.prompt_set(class_name, domain, provenance), target)


@app.command("import")
def import_answers(
    answers_file: Annotated[
        Path, typer.Argument(metavar="ANSWERS", help="Filled-in sheet of `generate --dry-run`.")
    ],
    class_name: ClassOption,
    domain: DomainOption = DEFAULT_DOMAIN,
    out: OutOption = None,
    force: ForceOption = False,
    model: Annotated[str, typer.Option("--model", help="Which model gave the answers.")] = "unknown",
) -> None:
    """Write a prompt file from the answers of a language model used elsewhere."""
    class_name, domain = _name("--class", class_name), _name("--domain", domain)
    target = _target(out, class_name, force)
    answers = read_answers(answers_file)
    harvested = harvest(answers, class_name)
    if harvested.shortage:
        advice = (
            f"too few prompts about {class_name!r} ({harvested.shortage}); ask again, nothing was written"
        )
        raise BadInput(answers_file, "", None, advice)
    provenance = _provenance("alfa-prompts import", model, (answer.query.text for answer in answers))
    _write(harvested, harvested.prompt_set(class_name, domain, provenance), target)


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE|CLASS...", help="Prompt files or classes.")],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Also report how far the sides stand apart on these images."),
    ] = None,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Load no model: leaves out length in tokens and images.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Look for what is wrong in prompt files. Exit 0: clean, 1: findings, 2: a file cannot be used."""
    if text_only and images is not None:
        raise BadInput(
            "--text-only", "", None, "comparing the sides on images needs the model; leave one out"
        )
    settings = load_model_settings(config)
    paths = [find_prompt_file(file, PROMPTS_DIRECTORY) for file in files]
    prompt_sets = [load_prompt_set(path) for path in paths]
    findings = [lint(prompt_set) for prompt_set in prompt_sets]
    console = Console()
    if not text_only:
        findings = _with_model(console, settings, images, prompt_sets, findings)
    for path, found in zip(paths, findings, strict=True):
        _print_findings(console, path, found)
    if any(findings):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def show(
    file: Annotated[str, typer.Argument(metavar="FILE|CLASS", help="Prompt file or class.")],
) -> None:
    """Print a prompt set."""
    path = find_prompt_file(file, PROMPTS_DIRECTORY)
    prompt_set = load_prompt_set(path)
    provenance = prompt_set.provenance
    console = Console()
    summary = Table(title=escape(prompt_set.class_name), show_header=False)
    for key, value in (
        ("file", str(path)),
        ("hash", prompt_set.content_hash),
        ("domain", prompt_set.domain),
        ("prompts a side", _counts(prompt_set)),
        ("generator", provenance.generator),
        ("model", provenance.model),
        ("date", provenance.date),
        ("queries", "\n".join(provenance.queries)),
    ):
        summary.add_row(key, escape(value))
    console.print(summary)
    for title, texts in _sections(prompt_set):
        table = Table(title=f"{title} ({len(texts)})", show_header=False)
        for index, text in enumerate(texts):
            table.add_row(str(index), escape(text))
        console.print(table)


def _name(option: str, given: str) -> str:
    name = " ".join(given.split())
    if not file_stem(name) or not name.isprintable() or len(name) > LONGEST_NAME:
        raise BadInput(
            option, "", given, f"give one to {LONGEST_NAME} printable characters, letters among them"
        )
    return name


def _llm_settings(config: Path | None, base_url: str | None, model: str | None) -> LlmSettings:
    """Options win over config.toml, that over the client's own environment variable."""
    given = {key: value for key, value in (("base_url", base_url), ("model", model)) if value}
    settings = load_llm_settings(config).model_copy(update=given)
    address = settings.base_url or os.environ.get("OPENAI_BASE_URL", "")
    require_address("--base-url" if base_url else "llm.base_url", address)
    return settings.model_copy(update={"base_url": address})


def _target(out: Path | None, class_name: str, force: bool) -> Path:
    """Where the prompt file goes; refused before a model is asked, not after."""
    target = out if out is not None else PROMPTS_DIRECTORY / f"{file_stem(class_name)}.toml"
    require_writable("--out", target)
    if target.exists() and not force:
        raise BadInput("--out", "", str(target), "exists; give --force to replace it, or another name")
    return target


def _ask(queries: tuple[Query, ...], settings: LlmSettings) -> list[Answer]:
    key = find_key(os.environ, settings.base_url)
    answers = ask_all(queries, settings, key)
    console = Console(stderr=True)
    return list(
        track(
            answers,
            description=f"asking {escape(settings.model)}",
            total=len(queries),
            console=console,
            transient=True,
            # Off a terminal nothing is drawn but an empty line.
            disable=not console.is_terminal,
        )
    )


def _provenance(generator: str, model: str, queries: Iterable[str]) -> Provenance:
    return Provenance(generator, model, date.today().isoformat(), tuple(queries))


def _write(harvested: Harvest, prompt_set: PromptSet, target: Path) -> None:
    with writing(target):
        save_prompt_set(prompt_set, target)
    parts = (
        ("normal", harvested.normal, len(prompt_set.normal)),
        ("abnormal", harvested.abnormal, len(prompt_set.abnormal)),
        ("descriptors", harvested.descriptors, len(prompt_set.descriptors)),
    )
    console = Console(soft_wrap=True, highlight=False)
    for name, parsed, taken in parts:
        console.print(f"{name}: {taken} ({_losses(parsed, taken)})")
    console.print(
        f"{target}: written, hash {prompt_set.content_hash}; look at it: alfa-prompts check {target}"
    )


def _losses(parsed: Parsed, taken: int) -> str:
    return (
        f"{parsed.repaired} repaired, {parsed.dropped} lines dropped, {parsed.duplicates} duplicates, "
        f"{len(parsed.prompts) - taken} beyond the limit"
    )


def _with_model(
    console: Console,
    settings: ModelSettings,
    images: Path | None,
    prompt_sets: list[PromptSet],
    findings: list[list[Finding]],
) -> list[list[Finding]]:
    """Add what only the model can tell: length in its tokens and, on images, how far the sides overlap."""
    # Seconds to import, and not needed with --text-only.
    from alfa.backbone import Backbone

    pictures = list_images(images) if images is not None else []
    backbone = Backbone.load(settings)
    long = [
        over_long(prompt_set, backbone.token_counts(every_text(prompt_set)), backbone.context_length)
        for prompt_set in prompt_sets
    ]
    if pictures:
        usable = [prompt_set for prompt_set, found in zip(prompt_sets, long, strict=True) if not found]
        _print_overlap(console, backbone, pictures, usable)
    return [[*found, *more] for found, more in zip(findings, long, strict=True)]


def _print_overlap(
    console: Console, backbone: Backbone, pictures: list[Path], prompt_sets: list[PromptSet]
) -> None:
    import torch

    from alfa.adaptation import embed_prompts
    from alfa.cli.image_batches import image_batches
    from alfa.prompting.overlap import side_overlap

    embeddings = [
        features.image
        for _, batch in image_batches(pictures, "comparing the sides")
        for _, features in backbone.encode(batch)
    ]
    table = Table(title=f"sides on {len(pictures)} images (median, least to most)")
    for column in ("class", "overlap of intervals", "normal kept", "abnormal kept", "a side kept whole"):
        table.add_column(column)
    for prompt_set in prompt_sets:
        text = embed_prompts(backbone, prompt_set)
        seen = side_overlap(torch.cat(embeddings), text, backbone.settings.contextual_k)
        table.add_row(
            escape(prompt_set.class_name),
            _spread(seen.overlap, ".2f"),
            f"{_spread(seen.kept_normal, 'g')} of {len(text.normal)}",
            f"{_spread(seen.kept_abnormal, 'g')} of {len(text.abnormal)}",
            f"{sum(seen.side_was_empty)} images",
        )
    console.print(table)


def _spread(values: tuple[float, ...] | tuple[int, ...], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _print_findings(console: Console, path: Path, findings: list[Finding]) -> None:
    if not findings:
        console.print(f"{path}: clean", markup=False, highlight=False, soft_wrap=True)
    for finding in findings:
        shown = f" = {finding.text!r}" if finding.text else ""
        line = f"{path}: {finding.key}{shown}: {finding.kind}: {finding.detail}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _sections(prompt_set: PromptSet) -> list[tuple[str, tuple[str, ...]]]:
    return [
        ("normal", prompt_set.normal),
        ("abnormal", prompt_set.abnormal),
        ("descriptors", prompt_set.descriptors),
    ]


def _counts(prompt_set: PromptSet) -> str:
    own = f"{len(prompt_set.normal)} normal, {len(prompt_set.abnormal)} abnormal"
    return f"{own}, and {PROMPTS_PER_LABEL} template prompts each"


def main() -> None:
    """These commands alone, where there is no line."""
    run(app)


if __name__ == "__main__":
    main()
