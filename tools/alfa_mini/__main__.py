"""One command for the weights of alfa-mini: features of the frozen tower, then the text side."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import open_clip
import safetensors.torch
import torch
import typer
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from alfa.cli.entry import run
from alfa.files import write_atomic
from tools.alfa_mini.export import PATCH_DIM, config, write_model
from tools.alfa_mini.features import extract, joined
from tools.alfa_mini.sets import sources
from tools.alfa_mini.training import TEMPERATURE, Plan, TextSide, patch_whitening, train, whitened
from tools.alfa_mini.words import SentenceEncoder, token_embeddings

_PER_KIND = 60
_PAIRS = 40
_FEW_WINDOWS = 7

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
) -> None:
    """Make alfa-mini's three files anew."""
    started = time.monotonic()
    torch.set_num_threads(threads)
    plan = Plan()
    bare = _write_bare_tower(cache / "bare", weights)
    found, varied = sources(data, _PER_KIND, _PAIRS, plan.seed)
    parts = extract(bare, found, cache, threads)
    # Windows cost most of the time, and the other samples have them.
    features = joined(parts + extract(bare, varied, cache, threads, _FEW_WINDOWS))
    whitening = patch_whitening(features, plan.whitening)
    side = train(TextSide(_text_tower(plan, words, cache), whitening), whitened(features, whitening), plan)
    write_model(out, _config(plan), weights, side.tensors())
    print(f"{out}: {len(features.group)} samples, {plan.steps} steps, {time.monotonic() - started:.0f} s")


def _write_bare_tower(directory: Path, weights: Path) -> Path:
    """The tower as a model with nothing behind it, so that the product's own passes give its features."""
    description = config(PATCH_DIM, width=16, layers=1, heads=2)
    text = {
        f"text.{name}": torch.zeros_like(value) for name, value in _text(description).state_dict().items()
    }
    identity: dict[str, Tensor] = {
        "visual.head.proj.weight": torch.eye(PATCH_DIM),
        "logit_scale": torch.tensor(1 / TEMPERATURE).log(),
    }
    write_model(directory, description, weights, text | identity)
    return directory


def _text_tower(plan: Plan, words: Path, cache: Path) -> Any:  # noqa: ANN401 - open_clip is untyped
    torch.manual_seed(plan.seed)
    text = _text(_config(plan))
    text.token_embedding.weight.data.copy_(_tokens(plan, words, cache))
    text.token_embedding.weight.requires_grad_(False)
    return text


def _tokens(plan: Plan, words: Path, cache: Path) -> Tensor:
    """The token embeddings; they take minutes, so they are kept beside the features."""
    kept = cache / f"tokens-{plan.width}-{plan.seed}" / "tokens.safetensors"
    if not kept.exists():
        made = token_embeddings(SimpleTokenizer(), SentenceEncoder(words), plan.width, plan.seed)
        write_atomic(kept, safetensors.torch.save({"tokens": made}))
    table: Tensor = safetensors.torch.load_file(kept)["tokens"]
    return table


def _config(plan: Plan) -> dict[str, Any]:
    return config(2 * PATCH_DIM, plan.width, plan.layers, plan.heads)


def _text(description: dict[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    arguments = {key: value for key, value in description["model_cfg"].items() if key != "custom_text"}
    return open_clip.CustomTextCLIP(**arguments).text


def main() -> None:
    """Entry."""
    run(app)


if __name__ == "__main__":
    main()
