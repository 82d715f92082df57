"""Token embeddings that know words beyond the caption grammar, from a sentence encoder (all-MiniLM-L6-v2).

Each whole-word token of the CLIP vocabulary is embedded as a one-word sentence, so that "grime" starts near
"dirt", though no caption holds it. Words of several tokens gain less. The embeddings are brought to the text
tower's width by PCA and stay frozen, so that words that training saw do not leave those it did not.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional

from alfa.files import write_atomic

_BATCH = 512
_LAYERS = 6
_HEADS = 12
_LONGEST = 16
_PAD, _UNKNOWN, _START, _END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
# Typical length of a token embedding at the start of training, as open_clip draws them (std 0.02).
_SPREAD = 0.05


class SentenceEncoder:
    """MiniLM's six BERT layers with mean pooling, read from the model's own files."""

    def __init__(self, directory: Path) -> None:
        self._ids = {
            word: number
            for number, word in enumerate((directory / "vocab.txt").read_text(encoding="utf-8").splitlines())
        }
        self._weights = safetensors.torch.load_file(directory / "model.safetensors")
        self._layers = [self._layer(number) for number in range(_LAYERS)]

    @torch.inference_mode()
    def encode(self, words: list[str]) -> Tensor:
        """(n, 384) unit embeddings of single words."""
        return torch.cat(
            [self._encode(words[start : start + _BATCH]) for start in range(0, len(words), _BATCH)]
        )

    def _encode(self, words: list[str]) -> Tensor:
        pieces = [[_START, *self._pieces(word)[:_LONGEST], _END] for word in words]
        length = max(map(len, pieces))
        ids = torch.tensor([[self._ids[p] for p in [*row, *[_PAD] * (length - len(row))]] for row in pieces])
        padding = ids == self._ids[_PAD]
        hidden = self._embedded(ids)
        for layer in self._layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
        kept = (~padding)[..., None].float()
        return functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=1)

    def _embedded(self, ids: Tensor) -> Tensor:
        get = self._weights
        hidden = get["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + get["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = hidden + get["embeddings.token_type_embeddings.weight"][0]
        norm = "embeddings.LayerNorm"
        return functional.layer_norm(
            hidden, hidden.shape[-1:], get[f"{norm}.weight"], get[f"{norm}.bias"], 1e-12
        )

    def _layer(self, number: int) -> nn.TransformerEncoderLayer:
        width = self._weights["embeddings.word_embeddings.weight"].shape[1]
        layer = nn.TransformerEncoderLayer(
            width, _HEADS, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        layer.load_state_dict(self._layer_weights(f"encoder.layer.{number}"))
        return layer.eval()

    def _layer_weights(self, prefix: str) -> dict[str, Tensor]:
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        found = {
            f"{ours}.{kind}": self._weights[f"{prefix}.{theirs}.{kind}"]
            for ours, theirs in names.items()
            for kind in ("weight", "bias")
        }
        for kind in ("weight", "bias"):
            parts = [
                self._weights[f"{prefix}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")
            ]
            found[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
        return found

    def _pieces(self, word: str) -> list[str]:
        """Greedy longest pieces of BERT's vocabulary."""
        pieces: list[str] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._ids), None)
            if end is None:
                return [_UNKNOWN]
            pieces.append(mark + word[start:end])
            start = end
        return pieces


def token_embeddings_kept(words: Path, width: int, seed: int, cache: Path) -> Tensor:
    """`token_embeddings` of the sentence encoder in `words`; they take minutes, so `cache` keeps them."""
    kept = cache / f"tokens-{width}-{seed}" / "tokens.safetensors"
    if not kept.exists():
        made = token_embeddings(SimpleTokenizer(), SentenceEncoder(words), width, seed)
        write_atomic(kept, safetensors.torch.save({"tokens": made}))
    table: Tensor = safetensors.torch.load_file(kept)["tokens"]
    return table


def token_embeddings(tokenizer: SimpleTokenizer, encoder: SentenceEncoder, width: int, seed: int) -> Tensor:
    """(vocabulary, width) initial embeddings; tokens that are no whole word stay random."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(tokenizer.vocab_size, width, generator=generator) * _SPREAD
    whole = {
        number: token.removesuffix("</w>")
        for number, token in tokenizer.decoder.items()
        if token.endswith("</w>") and token.removesuffix("</w>").isascii() and len(token) > len("</w>")
    }
    embedded = encoder.encode(list(whole.values()))
    centred = embedded - embedded.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    reduced = centred @ directions[:width].T
    table[list(whole)] = reduced / reduced.std() * _SPREAD
    return table
