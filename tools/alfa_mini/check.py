"""How the shipped text tower reads prompts it was not trained on: `python -m tools.alfa_mini.check`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import typer
from torch import Tensor
from torch.nn import functional

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.prompting.promptset import available_classes, load_prompt_set, sides
from alfa.prompting.templates import PROMPTS_PER_LABEL, template_prompts
from alfa.settings import ModelSettings
from tools.alfa_mini.captions import held_out_captions

app = typer.Typer(add_completion=False)


@app.command()
def check() -> None:
    """Print how many prompts, held-out sentences and descriptors are on their side."""
    backbone = Backbone.load(ModelSettings(device="cpu"))
    print("prompts of the shipped files:", _counted(_file_prompts(backbone)))
    print("held-out sentences:", _counted(_held_out(backbone, noun) for noun in ("bottle", "object")))
    print("descriptors:", _counted(_descriptors(backbone)))


def _file_prompts(backbone: Backbone) -> list[Tensor]:
    """Per class and side, which of the file's own prompts are nearer to the mean of their side."""
    found = []
    for path in available_classes().values():
        normal, abnormal = (backbone.encode_text(side) for side in sides(load_prompt_set(path)))
        direction = _unit_mean(abnormal) - _unit_mean(normal)
        found += [
            normal[PROMPTS_PER_LABEL:] @ direction < 0,
            abnormal[PROMPTS_PER_LABEL:] @ direction > 0,
        ]
    return found


def _held_out(backbone: Backbone, noun: str) -> Tensor:
    """Sentences in held-out words, against the templates' direction."""
    normal, abnormal = (backbone.encode_text(side) for side in held_out_captions(noun))
    direction = _template_direction(backbone, noun)
    return torch.cat([normal @ direction < 0, abnormal @ direction > 0])


def _descriptors(backbone: Backbone) -> list[Tensor]:
    """Bare descriptions of defects, which name no side, against the templates' direction."""
    direction = _template_direction(backbone, "object")
    sets = (load_prompt_set(path) for path in available_classes().values())
    return [backbone.encode_text(each.descriptors) @ direction > 0 for each in sets if each.descriptors]


def _template_direction(backbone: Backbone, noun: str) -> Tensor:
    normal, abnormal = (backbone.encode_text(side) for side in template_prompts(noun))
    return _unit_mean(abnormal) - _unit_mean(normal)


def _unit_mean(embedded: Tensor) -> Tensor:
    return functional.normalize(embedded.mean(0), dim=0)


def _counted(right: Iterable[Tensor]) -> str:
    every = torch.cat(list(right))
    return f"{int(every.sum())} of {len(every)} on their side"


def main() -> None:
    """Entry."""
    run(app)


if __name__ == "__main__":
    main()
