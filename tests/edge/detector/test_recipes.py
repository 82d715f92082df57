"""What lines are judged with is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alfa.errors import BadInput
from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings
from edge.detector.recipes import check_files, load, reload
from edge.settings import load_settings

WriteConfig = Callable[..., Path]


@pytest.fixture
def config_of(write_config: WriteConfig, runtime_dir: Path, tiny_settings: ModelSettings) -> WriteConfig:
    """`config_of("line1", ..., keys="")` is a config.toml with these lines, all of the class `plate`."""
    prompts = PromptSet("plate", ("A normal image of a plate.",), ("An abnormal image of a plate.",))
    save_prompt_set(prompts, runtime_dir / "prompts" / "plate.toml")

    def write(*lines: str, keys: str = "") -> Path:
        text = f'[model]\nname = "{tiny_settings.name}"\npretrained = "{tiny_settings.pretrained}"\n'
        for line in lines:
            text += f'[lines.{line}]\nprompts = "plate"\nsource = {{ kind = "synthetic" }}\n{keys}\n'
        return write_config(text)

    return write


@pytest.mark.parametrize("key", ["bank", "calibration"])
def test_a_missing_file_of_a_line_is_told_without_the_model(config_of: WriteConfig, key: str) -> None:
    """The line names the file, and nothing was loaded yet."""
    config = config_of("line1", keys=f'{key} = "taught.bin"')
    with pytest.raises(BadInput, match=r"taught\.bin"):
        check_files(config, load_settings(config), "main")


def test_prompts_that_nobody_wrote_are_told_without_the_model(write_config: WriteConfig) -> None:
    """File, key and class are named."""
    config = write_config('[lines.line1]\nprompts = "no_such_part"\nsource = { kind = "synthetic" }\n')
    with pytest.raises(BadInput, match=r"config\.toml: lines\.line1\.prompts = 'no_such_part': "):
        check_files(config, load_settings(config), "main")


def test_lines_of_one_product_share_a_recipe(config_of: WriteConfig) -> None:
    """The prompts are encoded once and kept once, whatever the number of lines."""
    recipes = load(load_settings(config_of("line1", "line2")), "main").recipes
    assert recipes["line1"].recipe is recipes["line2"].recipe


def test_a_verdict_is_stamped_with_the_lines_recipe_number(config_of: WriteConfig) -> None:
    """The number the PLC sees comes from the config; a reload takes a new one."""
    config = config_of("line1", keys="recipe = 7")
    loaded = load(load_settings(config), "main")
    config_of("line1", keys="recipe = 8")
    changed = reload(loaded, config, "main")
    assert (loaded.recipes["line1"].stamp.recipe, changed["line1"].stamp.recipe) == (7, 8)


def test_other_lines_need_a_restart(config_of: WriteConfig) -> None:
    """A reload changes what lines are judged with, not which there are."""
    config = config_of("line1")
    loaded = load(load_settings(config), "main")
    config_of("line1", "line2")
    with pytest.raises(BadInput, match="restart"):
        reload(loaded, config, "main")
