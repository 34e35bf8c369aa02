"""Base models of the families' kinds and a fraction of their width and depth, as `--random` writes them."""

from dataclasses import replace

import pytest

from lorakiln.doctor.random_base import KINDS, write_random_base

WORDS = 600  # in the vocabulary; 512 letters and the two marks are needed
SMALL = {
    "vae": {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 64},
    "text_encoder": {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2},
    "text_encoder_2": {
        "hidden_size": 40,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "projection_dim": 20,
    },
}
UNETS = {
    "sd15": {"block_out_channels": [8, 16, 16, 16], "cross_attention_dim": 24, "attention_head_dim": 2},
    "sd21": {"block_out_channels": [8, 16, 16, 16], "cross_attention_dim": 24, "attention_head_dim": [1, 2, 2, 2]},
    "sdxl": {
        "block_out_channels": [8, 16, 24],
        "cross_attention_dim": 64,
        "attention_head_dim": [1, 2, 3],
        "transformer_layers_per_block": [1, 1, 2],
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 20,
    },
}


def shrunk(kind):
    """The architecture with narrow parts."""
    whole = KINDS[kind]
    parts = {}
    for part, config in whole.parts.items():
        small = UNETS[kind] | {"norm_num_groups": 4, "sample_size": 8} if part == "unet" else SMALL[part]
        parts[part] = {**config, **small}
        if part.startswith("text"):
            marks = {"vocab_size": WORDS, "bos_token_id": WORDS - 2, "eos_token_id": WORDS - 1}
            parts[part] |= marks | {"pad_token_id": min(config["pad_token_id"], WORDS - 1)}
    return replace(whole, parts=parts)


@pytest.fixture
def write_small(tmp_path):
    """Write a small random base of one of `KINDS`; its folder."""

    def write(kind):
        write_random_base(tmp_path / kind, shrunk(kind))
        return tmp_path / kind

    return write
