"""Vision-language models in miniature, random, each in transformers' layout as its architecture's folders are."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SENTENCES = "red blue green cat dog sun moon tree house a the of in on and with small large old new"
WORDS = SENTENCES.split()
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SQUARE = {"height": 16, "width": 16}
SEEING = {**SHAPE, "image_size": 16, "patch_size": 8}
# What Qwen's own template comes to for a picture and a text, less the system's sentence.
TALK = (
    "{% for message in messages %}<|im_start|>{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %} {{ part['text'] }} {% endif %}{% endfor %}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


def make_tokenizer(special: list[str], **named) -> PreTrainedTokenizerFast:
    """Of WORDS and special tokens, which have the first numbers."""
    words = {word: number for number, word in enumerate([*special, "<unk>", *WORDS])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", **named)
    tokenizer.add_special_tokens({"additional_special_tokens": [one for one in special if one not in named.values()]})
    return tokenizer


def save(model, folder: Path, seed: int = 0) -> None:
    """With large weights: else it would say the same about all pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)


def make_qwen(folder: Path, name: str, patch: int, text: dict, **seeing) -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    special.append("<|video_pad|>")
    tokenizer = make_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TALK
    tokenizer.save_pretrained(folder)
    area = patch * patch
    Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, min_pixels=4 * area, max_pixels=64 * area).save_pretrained(
        folder
    )
    config = getattr(transformers, f"{name}Config")(
        text_config={
            **{**SHAPE, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2},
            **{"vocab_size": len(tokenizer), "max_position_embeddings": 512},
            **{"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0},
            **text,
        },
        vision_config={"depth": 1, "num_heads": 2, "patch_size": patch, **seeing},
        **{"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4},
    )
    save(getattr(transformers, f"{name}ForConditionalGeneration")(config), folder)


MROPE = {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}


def make_qwen2_vl(folder: Path) -> None:
    make_qwen(folder, "Qwen2VL", 14, MROPE, embed_dim=16, hidden_size=32, mlp_ratio=2)


def make_qwen2_5_vl(folder: Path) -> None:
    seeing = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "fullatt_block_indexes": [0]}
    make_qwen(folder, "Qwen2_5_VL", 14, MROPE, **seeing)


def make_qwen3_vl(folder: Path) -> None:
    text = {"head_dim": 8, "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
    seeing = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "num_position_embeddings": 64}
    make_qwen(folder, "Qwen3VL", 16, text, **seeing, deepstack_visual_indexes=[0])


def make_blip_2(folder: Path) -> None:
    tokenizer = make_tokenizer(["<pad>", "</s>", "<image>"], eos_token="</s>", bos_token="</s>", pad_token="<pad>")
    pictures = BlipImageProcessorPil(size=SQUARE)
    transformers.Blip2Processor(pictures, tokenizer, num_query_tokens=4).save_pretrained(folder)
    config = transformers.Blip2Config(
        vision_config=SEEING,
        qformer_config={**SHAPE, "encoder_hidden_size": 16, "vocab_size": 30, "max_position_embeddings": 32},
        text_config={
            **{"model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 16, "ffn_dim": 32},
            **{"num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 16},
            **{"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
        },
        num_query_tokens=4,
        image_text_hidden_size=16,
        image_token_index=2,
    )
    save(transformers.Blip2ForConditionalGeneration(config), folder)


def make_git(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=SQUARE)
    transformers.GitProcessor(pictures, tokenizer).save_pretrained(folder)
    numbers = {"vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = transformers.GitConfig(vision_config=SEEING, **SHAPE, **numbers, max_position_embeddings=64)
    save(transformers.GitForCausalLM(config), folder)


def make_florence2(folder: Path) -> None:
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    extra = {"image_token": "<image>"}
    tokenizer = make_tokenizer(["<s>", "<pad>", "</s>", "<image>"], **named, extra_special_tokens=extra)
    size = {"height": 32, "width": 32}
    pictures = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    pictures.image_seq_length = 2
    transformers.Florence2Processor(pictures, tokenizer).save_pretrained(folder)
    numbers = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    sides = [f"{side}_{what}" for side in ("encoder", "decoder") for what in ("layers", "attention_heads", "ffn_dim")]
    config = transformers.Florence2Config(
        text_config={
            **{"model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "max_position_embeddings": 128},
            **dict(zip(sides, (1, 2, 32) * 2, strict=True)),
            **numbers,
            "forced_eos_token_id": 2,
        },
        vision_config={
            **{"patch_size": [7, 3, 3, 3], "patch_stride": [4, 2, 2, 2], "patch_padding": [3, 1, 1, 1]},
            **{"embed_dim": [8] * 4, "num_heads": [2] * 4, "num_groups": [2] * 4, "depths": [1] * 4, "window_size": 1},
            **{"projection_dim": 16, "max_temporal_embeddings": 4, "max_position_embeddings": 8},
        },
        image_token_id=3,
    )
    save(transformers.Florence2ForConditionalGeneration(config), folder, seed=2)


def make_vit_gpt2(folder: Path) -> None:
    """Its folder has no processor's config: an encoder's pictures and a decoder's tokens."""
    tokenizer = make_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
    decoder = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": len(tokenizer)}
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**SEEING),
        transformers.GPT2Config(**decoder, bos_token_id=0, eos_token_id=0, add_cross_attention=True, is_decoder=True),
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=0,
    )
    save(transformers.VisionEncoderDecoderModel(config), folder)


QWENS = {"qwen2_vl": make_qwen2_vl, "qwen2_5_vl": make_qwen2_5_vl, "qwen3_vl": make_qwen3_vl}
OTHERS = {"blip_2": make_blip_2, "git": make_git, "florence2": make_florence2, "vit_gpt2": make_vit_gpt2}
