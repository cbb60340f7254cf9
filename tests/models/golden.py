"""Makes tests/models/golden: tiny random models and the logits that Hugging Face transformers computes for them.

Every folder holds a model as transformers saves it, tokens.json and logits.bin (fp32, [tokens, vocab], little endian).
The logits are of fp32 arithmetic on the saved weights, so those of a bf16 model are exact to fp32 too. For models saved
in bf16 or fp16, tokens.json also has what rounding keys and values to that type does to the same computation:
kv_error, norm(rounded - logits) / norm(logits), and kv_worst, the largest difference in a row over the largest logit of
the row, in the worst row.

golden/rope.json holds angles of full-size rope configs, for positions up to the end of their context.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python golden.py
"""

import json
import pathlib
import shutil

import torch
import transformers
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

OUT = pathlib.Path(__file__).parent / "golden"
VOCAB = 96
NUM_TOKENS = 48
WINDOW = 8
ORIGINAL = 16  # positions before scaling: a third of the tokens

ARCHITECTURES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}

SMALL = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=12, max_position_embeddings=64, rope_theta=100.0, tie_word_embeddings=False,
    attn_implementation="eager")

SCALED = dict(max_position_embeddings=ORIGINAL)
YARN = dict(rope_type="yarn", factor=4.0, beta_fast=2.0, beta_slow=0.25, original_max_position_embeddings=ORIGINAL)
LLAMA3 = dict(
    rope_type="llama3", factor=4.0, low_freq_factor=0.5, high_freq_factor=2.0,
    original_max_position_embeddings=ORIGINAL)
DYNAMIC = dict(rope_type="dynamic", factor=3.0)

# Name, type on disk, config beyond SMALL. The architecture is the first word of the name.
MODELS = [
    ("llama-default", "float32", dict()),
    ("llama-linear", "float32", dict(rope_scaling=dict(type="linear", factor=2.5), tie_word_embeddings=True)),
    ("llama-dynamic", "float32", dict(rope_scaling=DYNAMIC, num_key_value_heads=4, head_dim=None, **SCALED)),
    ("llama-llama3", "float32", dict(rope_scaling=LLAMA3, num_key_value_heads=1)),
    ("llama-yarn", "float32", dict(rope_scaling=YARN, attention_bias=True, mlp_bias=True)),
    ("llama-bf16", "bfloat16", dict(tie_word_embeddings=True)),
    ("llama-fp16", "float16", dict(rope_scaling=LLAMA3)),
    ("llama-sharded", "float32", dict(num_hidden_layers=3)),
    ("mistral-default", "float32", dict(sliding_window=WINDOW)),
    ("mistral-linear", "float32", dict(sliding_window=None, rope_scaling=dict(rope_type="linear", factor=2.0))),
    ("mistral-dynamic", "float32", dict(sliding_window=None, rope_scaling=DYNAMIC, **SCALED)),
    ("mistral-llama3", "float32", dict(sliding_window=WINDOW, rope_scaling=LLAMA3, head_dim=None)),
    ("mistral-yarn", "float32", dict(sliding_window=None, rope_scaling=dict(YARN, mscale=0.8, mscale_all_dim=0.4))),
    ("qwen2-default", "float32", dict(
        use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1, num_hidden_layers=3, head_dim=None)),
    ("qwen2-linear", "float32", dict(rope_scaling=dict(rope_type="linear", factor=4.0), num_key_value_heads=4)),
    ("qwen2-dynamic", "float32", dict(rope_scaling=DYNAMIC, tie_word_embeddings=True, **SCALED)),
    ("qwen2-llama3", "float32", dict(rope_scaling=LLAMA3)),
    ("qwen2-yarn", "float32", dict(
        rope_scaling=dict(rope_type="yarn", factor=4.0, beta_fast=2.0, beta_slow=0.25, truncate=False), **SCALED)),
    ("qwen3-default", "float32", dict(
        use_sliding_window=True, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"])),
    ("qwen3-linear", "float32", dict(rope_scaling=dict(rope_type="linear", factor=2.0), tie_word_embeddings=True)),
    ("qwen3-dynamic", "float32", dict(rope_scaling=DYNAMIC, num_key_value_heads=1, **SCALED)),
    ("qwen3-llama3", "float32", dict(rope_scaling=LLAMA3, attention_bias=True)),
    ("qwen3-yarn", "float32", dict(rope_scaling=dict(YARN, attention_factor=1.3))),
]

# Full-size rope settings: those of Llama 3.1, Qwen 2.5 and others, without a model.
ROPES = [
    ("default", dict(rope_theta=10000.0, max_position_embeddings=4096)),
    ("default, theta 1e6", dict(rope_theta=1e6, max_position_embeddings=32768)),
    ("linear", dict(rope_scaling=dict(rope_type="linear", factor=4.0), max_position_embeddings=4096)),
    ("dynamic", dict(rope_scaling=dict(rope_type="dynamic", factor=2.0), max_position_embeddings=4096)),
    ("llama3", dict(rope_theta=500000.0, max_position_embeddings=131072, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192))),
    ("yarn", dict(rope_theta=1e6, max_position_embeddings=32768, rope_scaling=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=32768))),
    ("yarn, mscale", dict(max_position_embeddings=163840, rope_scaling=dict(
        rope_type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0,
        mscale_all_dim=0.707))),
    ("yarn, attention_factor, no truncation", dict(rope_theta=150000.0, max_position_embeddings=131072, rope_scaling=dict(
        rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, attention_factor=1.25, truncate=False))),
    ("yarn, narrow ramp", dict(rope_theta=1e8, max_position_embeddings=64, rope_scaling=dict(
        rope_type="yarn", factor=2.0, beta_fast=1.0, beta_slow=1.0))),
]
ROPE_HEAD_DIM = 64
ROPE_POSITIONS = [0, 1, 2, 17, 100, 1023, 4095, 4096, 5000, 32767, 131071]


class RoundingCache(DynamicCache):
    """A KV cache that holds its elements in another type."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def update(self, key_states, value_states, *args, **kwargs):
        key, value = (x.to(self.dtype).to(x.dtype) for x in (key_states, value_states))
        return super().update(key, value, *args, **kwargs)


def randomise(model, generator):
    """Weights far enough from their initial ones that each of them shows in the logits."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = 0.6 if "embed" in name or "lm_head" in name else 0.25
        parameter.data = 1 + 0.3 * noise if "norm" in name else scale * noise


def logits_of(model, tokens, cache=None):
    """Token by token with a cache where the angles depend on the length so far, otherwise in one pass."""
    if "dynamic" not in str(getattr(model.config, "rope_scaling", None)):
        return model(tokens[None], past_key_values=cache).logits[0]
    cache = DynamicCache(config=model.config)
    return torch.cat([model(t[None, None], past_key_values=cache).logits[0] for t in tokens])


def make_model(name, dtype, options, seed):
    config_class, model_class = ARCHITECTURES[name.split("-")[0]]
    generator = torch.Generator().manual_seed(seed)
    settings = {key: value for key, value in {**SMALL, **options}.items() if value is not None or key == "sliding_window"}
    if settings.get("head_dim") is None and name.startswith("qwen3"):
        raise ValueError("head_dim of Qwen3 has a default of its own")
    model = model_class(config_class(**settings)).eval()
    randomise(model, generator)
    model.to(getattr(torch, dtype))
    folder = OUT / name
    folder.mkdir(parents=True)
    model.save_pretrained(folder, max_shard_size="40KB" if "sharded" in name else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)

    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.randint(0, VOCAB, (NUM_TOKENS,), generator=generator)
    logits = logits_of(model, tokens)
    about = {"tokens": tokens.tolist()}
    if dtype != "float32":
        rounded = logits_of(model, tokens, RoundingCache(getattr(torch, dtype)))
        about["kv_error"] = (torch.linalg.norm(rounded - logits) / torch.linalg.norm(logits)).item()
        about["kv_worst"] = ((rounded - logits).abs().amax(1) / logits.abs().amax(1)).max().item()
    (folder / "tokens.json").write_text(json.dumps(about) + "\n")
    (folder / "logits.bin").write_bytes(logits.contiguous().numpy().astype("<f4").tobytes())
    print(f"{name}: logits {logits.mean():.2f} +- {logits.std():.2f}", about.get("kv_error", ""), about.get("kv_worst", ""))


def use_rope_parameters(folder):
    """Rewrites a config in the newer notation: rope_parameters instead of rope_theta and rope_scaling."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] = {**(config.pop("rope_scaling") or {}), "rope_theta": config.pop("rope_theta")}
    config["rope_parameters"].setdefault("rope_type", "default")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def rope_cases():
    for name, options in ROPES:
        config = transformers.LlamaConfig(
            vocab_size=VOCAB, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
            head_dim=ROPE_HEAD_DIM, architectures=["LlamaForCausalLM"], **options)
        cos, sin = [], []
        for position in ROPE_POSITIONS:
            rotary = LlamaRotaryEmbedding(config)
            c, s = rotary(torch.zeros(1), torch.tensor([[position]]))
            cos.append(c[0, 0, : ROPE_HEAD_DIM // 2].tolist())
            sin.append(s[0, 0, : ROPE_HEAD_DIM // 2].tolist())
        yield {"name": name, "config": config.to_diff_dict(), "positions": ROPE_POSITIONS, "cos": cos, "sin": sin}


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, dtype, options) in enumerate(MODELS):
        make_model(name, dtype, options, seed)
    use_rope_parameters(OUT / "qwen3-yarn")
    use_rope_parameters(OUT / "llama-sharded")
    (OUT / "rope.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in rope_cases()) + "\n]\n")


if __name__ == "__main__":
    main()
