"""One command for the weights of alfa-mini: patch tokens of the frozen tower, head, text tower."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import open_clip
import torch
import typer

from alfa.cli.entry import run
from tools.alfa_mini.export import PATCH_DIM, config, write_model
from tools.alfa_mini.features import Picture, extract
from tools.alfa_mini.head import Alignment, fit
from tools.alfa_mini.plan import Plan
from tools.alfa_mini.sets import SETS, Domain, domains
from tools.alfa_mini.training import TEMPERATURE, TextSide, train
from tools.alfa_mini.words import token_embeddings_kept

_PER_KIND = 60
_PAIRS = 40

app = typer.Typer(add_completion=False)


@app.command()
def make(
    data: Annotated[Path, typer.Option("--data", help="Folder of the training sets.")],
    weights: Annotated[Path, typer.Option("--weights", help="The frozen image tower, DINOv2 ViT-S/14.")],
    words: Annotated[
        Path, typer.Option("--words", help="Folder of all-MiniLM-L6-v2: vocab.txt, model.safetensors.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Model directory to write.")],
    cache: Annotated[Path, typer.Option("--cache", help="Folder for features, outside the repository.")],
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 2,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Instead one model a set, OUT/SET, that never saw it.")
    ] = False,
) -> None:
    """Make alfa-mini's three files anew."""
    started = time.monotonic()
    torch.set_num_threads(threads)
    plan = Plan()
    bare = _write_bare_tower(cache / "bare", weights)
    found = domains(data, _PER_KIND, _PAIRS, plan.seed)
    pictures = [extract(bare, plan.blocks, [*each.sources], cache, threads) for each in found]
    tokens = token_embeddings_kept(words, plan.width, plan.seed, cache)
    for name in [each.name for each in SETS] if leave_one_out else [""]:
        kept, their_pictures = _without(name, found, pictures)
        alignment = fit(kept, their_pictures, plan)
        side = train(TextSide(_text_tower(plan, tokens)), alignment, plan)
        write_model(out / name, _config(plan), weights, _tensors(side, alignment))
        print(f"{out / name}: {sum(map(len, their_pictures))} pictures, {time.monotonic() - started:.0f} s")


def _without(
    name: str, found: list[Domain], pictures: list[list[Picture]]
) -> tuple[list[Domain], list[list[Picture]]]:
    """All domains but those of one set; nor does a picture stay on which its photographs lie as donors."""
    kept, theirs = [], []
    for domain, seen in zip(found, pictures, strict=True):
        if name and domain.training_set == name:
            continue
        pairs = [
            (source, picture)
            for source, picture in zip(domain.sources, seen, strict=True)
            if not (name and source.donor is not None and name in source.donor.parts)
        ]
        kept.append(replace(domain, sources=tuple(source for source, _ in pairs)))
        theirs.append([picture for _, picture in pairs])
    return kept, theirs


def _write_bare_tower(directory: Path, weights: Path) -> Path:
    """The tower with an empty head and text tower, so that the product's own pass gives its tokens."""
    head = {"blocks": [*Plan().blocks], "sharpness": 0.0}
    description = config(PATCH_DIM, width=16, layers=1, heads=2, patch_head=head)
    tensors = {
        f"text.{name}": torch.zeros_like(value) for name, value in _text(description).state_dict().items()
    }
    tensors["logit_scale"] = torch.tensor(1 / TEMPERATURE).log()
    tensors["patch_head.projection.weight"] = torch.zeros(PATCH_DIM - 1, len(Plan().blocks) * PATCH_DIM)
    tensors["patch_head.query"] = torch.zeros(PATCH_DIM - 1)
    write_model(directory, description, weights, tensors)
    return directory


def _text_tower(plan: Plan, tokens: torch.Tensor) -> Any:  # noqa: ANN401 - open_clip is untyped
    torch.manual_seed(plan.seed)
    text = _text(_config(plan))
    text.token_embedding.weight.data.copy_(tokens)
    text.token_embedding.weight.requires_grad_(False)
    return text


def _tensors(side: TextSide, alignment: Alignment) -> dict[str, torch.Tensor]:
    """By the names of the model's file."""
    tensors = {f"text.{name}": tensor for name, tensor in side.text.state_dict().items()}
    tensors["logit_scale"] = torch.tensor(1 / TEMPERATURE).log()
    tensors["patch_head.projection.weight"] = alignment.projection
    tensors["patch_head.query"] = alignment.direction
    return tensors


def _config(plan: Plan) -> dict[str, Any]:
    head = {"blocks": [*plan.blocks], "sharpness": plan.sharpness}
    return config(len(plan.blocks) * PATCH_DIM + 1, plan.width, plan.layers, plan.heads, head)


def _text(description: dict[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    arguments = {key: value for key, value in description["model_cfg"].items() if key != "custom_text"}
    return open_clip.CustomTextCLIP(**arguments).text


def main() -> None:
    """Entry."""
    run(app)


if __name__ == "__main__":
    main()
