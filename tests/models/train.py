"""Trains a fixture model on the corpus that corpus.py wrote, and exports it as a Hugging Face folder.

    python train.py --work DIR --model tiny-java       --minutes 110 --out tiny-java
    python train.py --work DIR --model tiny-java-draft --minutes 20  --out tiny-java-draft

The architecture is LlamaForCausalLM with tied embeddings. Two additions make layer skipping and early exit possible
(LayerSkip, arXiv 2404.16710): layer dropout that grows with depth, and an early-exit loss on every layer through the shared
final norm and LM head, each layer on its own random eighth of the positions.

Hidden matrices are trained with Muon, embeddings and norms with AdamW. The learning rate follows the share of --minutes that
has passed, so a slow machine gets a model trained on fewer tokens, not an unfinished one.
"""

import argparse
import contextlib
import json
import math
import pathlib
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

CONTEXT = 1024
VOCAB = 2048
ROPE_THETA = 10000.0
NORM_EPS = 1e-5
SHAPES = {
    "tiny-java": dict(layers=8, hidden=256, q_heads=4, kv_heads=2, head_dim=64, intermediate=512, batch=4),
    "tiny-java-draft": dict(layers=2, hidden=128, q_heads=2, kv_heads=1, head_dim=64, intermediate=256, batch=4),
}
LAYER_DROPOUT = 0.1
EARLY_EXIT_WEIGHT = 0.3
EARLY_EXIT_SHARE = 8


class RmsNorm(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, NORM_EPS)


def rope(x, cos, sin):
    half = x.shape[-1] // 2
    rotated = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + rotated * sin


class Layer(nn.Module):
    def __init__(self, s: dict):
        super().__init__()
        self.s = s
        q, kv, h, f = s["q_heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"], s["hidden"], s["intermediate"]
        self.input_layernorm = RmsNorm(h)
        self.q_proj = nn.Linear(h, q, bias=False)
        self.k_proj = nn.Linear(h, kv, bias=False)
        self.v_proj = nn.Linear(h, kv, bias=False)
        self.o_proj = nn.Linear(q, h, bias=False)
        self.post_attention_layernorm = RmsNorm(h)
        self.gate_proj = nn.Linear(h, f, bias=False)
        self.up_proj = nn.Linear(h, f, bias=False)
        self.down_proj = nn.Linear(f, h, bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        s = self.s
        h = self.input_layernorm(x)
        q = self.q_proj(h).view(b, t, s["q_heads"], s["head_dim"]).transpose(1, 2)
        k = self.k_proj(h).view(b, t, s["kv_heads"], s["head_dim"]).transpose(1, 2)
        v = self.v_proj(h).view(b, t, s["kv_heads"], s["head_dim"]).transpose(1, 2)
        q, k = rope(q, cos, sin).to(v.dtype), rope(k, cos, sin).to(v.dtype)
        group = s["q_heads"] // s["kv_heads"]
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(a.transpose(1, 2).reshape(b, t, -1))
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class Llama(nn.Module):
    def __init__(self, s: dict):
        super().__init__()
        self.s = s
        self.embed_tokens = nn.Embedding(VOCAB, s["hidden"])
        self.layers = nn.ModuleList(Layer(s) for _ in range(s["layers"]))
        self.norm = RmsNorm(s["hidden"])
        inv = 1.0 / ROPE_THETA ** (torch.arange(0, s["head_dim"], 2).float() / s["head_dim"])
        angle = torch.outer(torch.arange(CONTEXT).float(), inv).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        for name, p in self.named_parameters():
            if p.ndim == 2 and "proj" in name:
                nn.init.normal_(p, std=0.5 / math.sqrt(p.shape[1]))
                if "o_proj" in name or "down_proj" in name:
                    nn.init.normal_(p, std=0.5 / math.sqrt(p.shape[1] * 2 * s["layers"]))

    def states(self, ids, dropout: float):
        """The residual stream after every layer."""
        t = ids.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        x = self.embed_tokens(ids)
        out = []
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            p = dropout * (math.exp(i * math.log(2) / last) - 1)
            if not (p > 0 and torch.rand(()).item() < p):
                x = layer(x, cos, sin)
            out.append(x)
        return out

    def loss(self, x, targets):
        return F.cross_entropy(F.linear(self.norm(x), self.embed_tokens.weight).float().flatten(0, -2), targets.flatten())


def orthogonalize(g):
    """Newton-Schulz iteration of Muon: the nearest matrix with singular values near one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(5):
        m = x @ x.T
        x = a * x + (b * m + c * m @ m) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:  # its layer was dropped in this step
                    continue
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalize(p.grad.lerp(m, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def autocast(device):
    return torch.autocast(device, dtype=torch.bfloat16) if BF16 else contextlib.nullcontext()


@torch.no_grad()
def held_out_loss(model, ids, device, windows: int | None):
    """Mean cross-entropy in nats per token, for the exit after every layer."""
    model.eval()
    n = (len(ids) - 1) // CONTEXT
    chosen = range(n) if windows is None else range(0, n, max(1, n // windows))
    sums, count = torch.zeros(len(model.layers)), 0
    for w in chosen:
        block = torch.from_numpy(ids[w * CONTEXT: (w + 1) * CONTEXT + 1].astype(np.int64))[None].to(device)
        with autocast(device):
            for i, x in enumerate(model.states(block[:, :-1], 0.0)):
                sums[i] += model.loss(x, block[:, 1:]).float().cpu()
        count += 1
    model.train()
    return (sums / count).tolist()


def export(model, s: dict, work: pathlib.Path, out: pathlib.Path):
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, p in model.state_dict().items():
        part = "self_attn." if any(k in name for k in ("q_proj", "k_proj", "v_proj", "o_proj")) else ""
        part = "mlp." if any(k in name for k in ("gate_proj", "up_proj", "down_proj")) else part
        pieces = name.split(".")
        full = ".".join([*pieces[:2], part + ".".join(pieces[2:])]) if pieces[0] == "layers" else name
        tensors["model." + full] = p.detach().to(torch.bfloat16).cpu().contiguous()
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": s["hidden"],
        "intermediate_size": s["intermediate"], "num_hidden_layers": s["layers"], "num_attention_heads": s["q_heads"],
        "num_key_value_heads": s["kv_heads"], "head_dim": s["head_dim"], "hidden_act": "silu",
        "max_position_embeddings": CONTEXT, "rms_norm_eps": NORM_EPS, "rope_theta": ROPE_THETA, "rope_scaling": None,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "bos_token_id": 0, "eos_token_id": 0}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": [0]}, indent=2) + "\n")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False}, indent=2) + "\n")
    shutil.copy(work / "tokenizer.json", out / "tokenizer.json")


def main() -> None:
    global BF16
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--model", choices=SHAPES, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.003)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work; --minutes counts all runs")
    parser.add_argument("--fp32", action="store_true", help="no bf16 autocast")
    args = parser.parse_args()
    BF16 = not args.fp32
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    s = SHAPES[args.model]
    batch = args.batch or s["batch"]
    train = np.fromfile(args.work / "train.bin", dtype=np.uint16)
    held = np.fromfile(args.work / "heldout.bin", dtype=np.uint16)
    model = Llama(s).to(device)
    matrices = [p for n, p in model.named_parameters() if "proj" in n]
    rest = [p for n, p in model.named_parameters() if "proj" not in n]
    optimizers = [Muon(matrices, args.muon_lr),
                  torch.optim.AdamW(rest, args.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]
    base = [o.param_groups[0]["lr"] for o in optimizers]
    args.out.mkdir(parents=True, exist_ok=True)
    log = open(args.out / "train.log", "a" if args.resume else "w", encoding="utf-8")

    def say(line: str) -> None:
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    say(f"{args.model}: {sum(p.numel() for p in model.parameters())} parameters, {s}, batch {batch} x {CONTEXT}, "
        f"train {len(train)} tokens, held out {len(held)} tokens, {device}, torch {torch.__version__}, bf16 {BF16}")
    last = len(model.layers) - 1
    exit_weight = [i + 1 for i in range(last)]
    start, step, tokens, mean, next_eval = time.time(), 0, 0, None, 0.02
    order, at = rng.permutation((len(train) - 1) // CONTEXT - 1), 0
    offset = rng.integers(CONTEXT)
    checkpoint = args.work / f"{args.model}.checkpoint"
    if args.resume:
        c = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(c["model"])
        for o, state in zip(optimizers, c["optimizers"]):
            o.load_state_dict(state)
        order, at, offset, step, tokens, mean = (c[k] for k in ("order", "at", "offset", "step", "tokens", "mean"))
        start -= c["seconds"]
        next_eval = c["seconds"] / (60 * args.minutes) + 0.1
        say(f"resumed at step {step}, {c['seconds'] / 60:.1f} minutes")
    while True:
        share = (time.time() - start) / (60 * args.minutes)
        if share >= 1:
            break
        rate = min(1.0, (step + 1) / 40) * min(1.0, (1 - share) / 0.5)
        for o, lr in zip(optimizers, base):
            o.param_groups[0]["lr"] = lr * max(rate, 0.01)
        if at + batch > len(order):
            order, at, offset = rng.permutation(len(order)), 0, rng.integers(CONTEXT)
        rows = [train[w * CONTEXT + offset: w * CONTEXT + offset + CONTEXT + 1] for w in order[at: at + batch]]
        at += batch
        block = torch.from_numpy(np.stack(rows).astype(np.int64)).to(device)
        ids, targets = block[:, :-1], block[:, 1:]
        with autocast(device):
            states = model.states(ids, LAYER_DROPOUT if last > 2 else 0.0)
            final = model.loss(states[-1], targets)
            loss = final
            for i in range(last):
                keep = torch.randperm(targets.numel(), device=device)[: targets.numel() // EARLY_EXIT_SHARE]
                early = model.loss(states[i].flatten(0, 1)[keep], targets.flatten()[keep])
                loss = loss + EARLY_EXIT_WEIGHT * exit_weight[i] / sum(exit_weight) * early
        for o in optimizers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for o in optimizers:
            o.step()
        step += 1
        tokens += ids.numel()
        mean = final.item() if mean is None else 0.95 * mean + 0.05 * final.item()
        if step % 20 == 0:
            seconds = time.time() - start
            say(f"step {step} tokens {tokens} loss {mean:.4f} minutes {seconds / 60:.1f} tokens/s {tokens / seconds:.0f}")
        if share >= next_eval:
            losses = held_out_loss(model, held, device, windows=24)
            say(f"held out (24 windows) by exit layer: {' '.join(f'{l:.3f}' for l in losses)}")
            export(model, s, args.work, args.out)
            torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "order": order,
                        "at": at, "offset": offset, "step": step, "tokens": tokens, "mean": mean,
                        "seconds": time.time() - start}, checkpoint)
            next_eval = share + 0.1
    export(model, s, args.work, args.out)
    losses = held_out_loss(model, held, device, windows=None)
    say(f"held out, all {(len(held) - 1) // CONTEXT} windows of {CONTEXT}, nats per token by exit layer: "
        f"{' '.join(f'{l:.4f}' for l in losses)}")
    say(f"done: {step} steps, {tokens} tokens, {tokens / len(train):.2f} epochs")


if __name__ == "__main__":
    main()
