"""Training and decode speed of Hugging Face transformers' DeepseekV3: the peer of bench step.

  transformers_step.py [--device cpu|cuda] [--model 12m|2b] [--experts eager|grouped_mm]
                       [--dtype float32|bfloat16] [--steps N] [--threads N] [--decode N]

Needs torch and transformers >= 5. Prints one line of JSON: tokens a second of training steps
(forward, backward, AdamW), the median of them, and of greedy decoding.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

MODELS = {
    "12m": dict(
        hidden_size=256, num_hidden_layers=6, first_k_dense_replace=1, num_attention_heads=8,
        num_key_value_heads=8, q_lora_rank=96, kv_lora_rank=64, qk_nope_head_dim=32,
        qk_rope_head_dim=16, v_head_dim=32, n_routed_experts=16, n_group=4, topk_group=2,
        num_experts_per_tok=4, n_shared_experts=1, moe_intermediate_size=128,
        intermediate_size=768, vocab_size=4096),
    "2b": dict(
        hidden_size=2048, num_hidden_layers=6, first_k_dense_replace=1, num_attention_heads=16,
        num_key_value_heads=16, q_lora_rank=768, kv_lora_rank=512, qk_nope_head_dim=128,
        qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=64, n_group=8, topk_group=4,
        num_experts_per_tok=8, n_shared_experts=1, moe_intermediate_size=1024,
        intermediate_size=8192, vocab_size=32768),
}
BATCH = {"12m": (4, 256), "2b": (8, 2048)}  # sequences, tokens of each
WARM_UP = 3  # steps


def build(options):
    config = DeepseekV3Config(
        max_position_embeddings=4096,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0), **MODELS[options.model])
    config._attn_implementation = "sdpa"
    config._experts_implementation = options.experts
    model = DeepseekV3ForCausalLM(config)
    return model.to(getattr(torch, options.dtype)).to(options.device)


def train(model, tokens, steps, synchronise):
    """Seconds of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    seconds = []
    for _ in range(steps + WARM_UP):
        synchronise()
        begin = time.perf_counter()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        synchronise()
        seconds.append(time.perf_counter() - begin)
    return seconds[WARM_UP:]


def decode(model, prompt, count, synchronise):
    """Tokens a second."""
    model.eval()
    with torch.no_grad():
        model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)
        synchronise()
        begin = time.perf_counter()
        model.generate(prompt, max_new_tokens=count, min_new_tokens=count, do_sample=False,
                       pad_token_id=0)
        synchronise()
        return count / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="12m", choices=MODELS)
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decode", type=int, default=48, help="tokens; 0: not measured")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = build(options)
    sequences, length = BATCH[options.model]
    tokens = torch.randint(0, model.config.vocab_size, (sequences, length), device=options.device)
    synchronise = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    seconds = train(model, tokens, options.steps, synchronise)
    result = dict(
        model=options.model, device=options.device, experts=options.experts, dtype=options.dtype,
        threads=options.threads, parameters=sum(p.numel() for p in model.parameters()),
        train_tokens_per_second=round(sequences * length / statistics.median(seconds), 1),
        torch=torch.__version__)
    if options.decode:
        result["decode_tokens_per_second"] = round(
            decode(model, tokens[:1, :32], options.decode, synchronise), 1)
    print(json.dumps(result))


main()
