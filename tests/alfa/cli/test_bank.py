"""`alfa-bank` on a tiny model: what it writes, shows, deletes and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfa.cli.bank import main
from alfa.files import file_hash
from alfa.memory import MemoryBank

Command = Callable[..., Any]


@pytest.fixture
def bank_file(command: Command, good_images: Path, tiny_config: Path, tmp_path: Path) -> Path:
    """A bank of the first four images."""
    out = tmp_path / "bank.safetensors"
    ended = command(main, "teach", good_images, "--out", out, "--limit", 4, "--config", tiny_config)
    assert ended.exit_code == 0, ended.stderr
    return out


def test_teach_takes_the_first_images_by_name(bank_file: Path, good_images: Path) -> None:
    """The bank knows its sources by content."""
    assert MemoryBank.load(bank_file).info.sources == tuple(
        file_hash(good_images / f"{index:03d}.png") for index in range(4)
    )


def test_a_seed_chooses_other_images_and_skip_takes_the_rest(
    command: Command, good_images: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """With one seed, `--limit 10` and `--skip 10` part the directory in two."""
    sources = []
    for name, choice in (("first", ("--limit", 10)), ("rest", ("--skip", 10))):
        out = tmp_path / name
        options = ("--out", out, "--seed", 5, *choice, "--config", tiny_config)
        assert command(main, "teach", good_images, *options).exit_code == 0
        sources.append(set(MemoryBank.load(out).info.sources))
    assert sources[0].isdisjoint(sources[1])
    assert len(sources[0] | sources[1]) == 30
    assert sources[0] != {file_hash(good_images / f"{index:03d}.png") for index in range(10)}


def test_show_tells_what_the_bank_is(command: Command, bank_file: Path) -> None:
    """Hash, model, images, levels."""
    shown = command(main, "show", bank_file)
    assert shown.exit_code == 0
    for expected in (MemoryBank.load(bank_file).content_hash, "tiny-clip", "4x3", "block-1", "block-2"):
        assert expected in shown.stdout


def test_turns_teach_every_image_in_other_orientations(
    command: Command, good_images: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """Two images, upright and in three more quarters, fill four times the rows; they are still two images."""
    banks = {}
    for turns in (1, 4):
        out = tmp_path / f"{turns}.safetensors"
        options = ("--limit", 2, "--turns", turns, "--config", tiny_config)
        assert command(main, "teach", good_images, "--out", out, *options).exit_code == 0
        banks[turns] = MemoryBank.load(out)
    assert len(banks[4].levels["block-2"]) == 4 * len(banks[1].levels["block-2"])
    assert [(bank.images, bank.info.turns) for bank in banks.values()] == [(2, 1), (2, 4)]
    assert "2, each in 4 orientations" in command(main, "show", tmp_path / "4.safetensors").stdout


def test_another_number_of_turns_is_one_line_and_exit_two(
    command: Command, good_images: Path, tmp_path: Path
) -> None:
    """The line names the choices; nothing is written."""
    ended = command(main, "teach", good_images, "--out", tmp_path / "bank.safetensors", "--turns", 3)
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert "1, 4, 8" in ended.stderr
    assert not (tmp_path / "bank.safetensors").exists()


def test_drop_deletes_the_bank(command: Command, bank_file: Path) -> None:
    """And says which."""
    content = MemoryBank.load(bank_file).content_hash
    dropped = command(main, "drop", bank_file)
    assert content in dropped.stdout
    assert not bank_file.exists()


def test_drop_deletes_nothing_but_banks(command: Command, good_images: Path) -> None:
    """A wrong path costs one line, not a file."""
    ended = command(main, "drop", good_images / "000.png")
    assert ended.exit_code == 2
    assert (good_images / "000.png").exists()


def test_a_missing_directory_is_one_line_and_exit_two(command: Command, tmp_path: Path) -> None:
    """File, problem, advice; nothing written."""
    ended = command(main, "teach", tmp_path / "none", "--out", tmp_path / "bank.safetensors")
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert "none" in ended.stderr
    assert not (tmp_path / "bank.safetensors").exists()


def test_skipping_all_images_is_refused(command: Command, good_images: Path, tmp_path: Path) -> None:
    """A typing error in --skip is told at once."""
    ended = command(main, "teach", good_images, "--out", tmp_path / "bank.safetensors", "--skip", 30)
    assert ended.exit_code == 2
    assert "leaves none of the 30 images" in ended.stderr


def test_an_output_that_is_a_directory_is_refused_before_the_work(
    command: Command, good_images: Path, tmp_path: Path
) -> None:
    """No model is loaded for it."""
    ended = command(main, "teach", good_images, "--out", tmp_path)
    assert ended.exit_code == 2
    assert "--out" in ended.stderr
