"""What the operators of a training step have to do at least: floating-point operations and bytes.

Estimates for a model of MLA and experts in FP32 whose gradients and moments are Troupe's: each
operand is read and each result written once. Caches hold much of what is passed from one operator
to the next, so the bytes are an upper bound of what comes from memory. An operator without a
formula does a few operations an element and is bound by memory.
"""

import collections
import re

Work = collections.namedtuple("Work", "flop bytes")

EXP_FLOP = 20  # of an exponential with its division


def read_model(path):
    """The numbers of a model's textproto, by field."""
    fields = re.findall(r"^(\w+):\s*(\d+)\s*$", path.read_text(), re.MULTILINE)
    return collections.defaultdict(int, {name: int(value) for name, value in fields})


def product(m, n, k, groups=1):
    """m rows in all; each group has a matrix [k, n] of its own."""
    return Work(2 * m * n * k, 4 * (m * k + groups * n * k + m * n))


def total(works):
    return Work(*map(sum, zip(*works)))


def attention_products(model, rows):
    heads, nope, rope = model["heads"], model["qk_nope_head_dim"], model["qk_rope_head_dim"]
    hidden, q, kv = model["hidden_size"], model["q_lora_rank"], model["kv_lora_rank"]
    value = model["v_head_dim"]
    return [product(rows, q, hidden), product(rows, heads * (nope + rope), q),
            product(rows, kv + rope, hidden), product(rows, heads * (nope + value), kv),
            product(rows, hidden, heads * value)]


def feed_forward_products(model, rows):
    """Of the dense layers, of the shared experts and of the routed ones."""
    hidden, width = model["hidden_size"], model["expert_intermediate_size"]
    moe = model["layers"] - model["dense_layers"]
    works = []
    for count, inner, its_rows, groups in (
            (model["dense_layers"], model["dense_intermediate_size"], rows, 1),
            (moe, width * model["shared_experts"], rows, 1),
            (moe, width, rows * model["experts_per_token"], model["experts"])):
        works += count * [product(its_rows, inner, hidden, groups),
                          product(its_rows, inner, hidden, groups),
                          product(its_rows, hidden, inner, groups)]
    return works


def scale(work, times):
    return Work(work.flop * times, work.bytes * times)


def count_parameters(model):
    """Of the matrices: embedding, head, attention, feed-forward, gates."""
    hidden, layers = model["hidden_size"], model["layers"]

    def count(works):  # a product of no rows moves its matrices alone
        return total(works).bytes // 4

    return (2 * model["vocab_size"] * hidden + layers * count(attention_products(model, 0))
            + count(feed_forward_products(model, 0))
            + (layers - model["dense_layers"]) * model["experts"] * hidden)


def estimate(model, rows, sequence):
    """Work of a step on `rows` tokens in sequences of `sequence`, by operator."""
    layers, hidden, heads = model["layers"], model["hidden_size"], model["heads"]
    moe = layers - model["dense_layers"]
    qk = model["qk_nope_head_dim"] + model["qk_rope_head_dim"]
    value = model["v_head_dim"]
    routed = rows * model["experts_per_token"]
    dense = total(layers * attention_products(model, rows)
                  + moe * [product(rows, model["experts"], hidden)]
                  + [product(rows, model["vocab_size"], hidden)])
    forward = total(feed_forward_products(model, rows))
    activated = (model["dense_layers"] * rows * model["dense_intermediate_size"]
                 + moe * model["expert_intermediate_size"]
                 * (rows * model["shared_experts"] + routed))
    # Causal: half of the pairs. Backward forms the scores anew: 5 products to forward's 2.
    pairs = rows * sequence // 2 * heads * layers
    row_elements = rows * heads * layers
    logits = rows * model["vocab_size"]
    parameters = count_parameters(model)

    def elementwise(elements, flop, numbers):
        return Work(elements * flop, 4 * elements * numbers)

    return {
        "gemm": scale(dense, 3),
        "grouped_gemm": scale(forward, 2),
        "grouped_gemm_weights": forward,
        "attention": Work(pairs * (2 * (qk + value) + EXP_FLOP),
                          4 * row_elements * 2 * (qk + value)),
        "attention_backward": Work(pairs * (2 * (3 * qk + 2 * value) + EXP_FLOP),
                                   4 * row_elements * 4 * (qk + value)),
        "swiglu": elementwise(activated, EXP_FLOP + 3, 3),
        "swiglu_backward": elementwise(activated, EXP_FLOP + 8, 5),
        "cross_entropy": elementwise(logits, EXP_FLOP, 1),
        "cross_entropy_backward": elementwise(logits, EXP_FLOP + 2, 2),
        "rms_norm": elementwise(rows * hidden * (2 * layers + 1), 4, 2),
        "combine_rows": elementwise(moe * 2 * (routed + rows) * hidden, 2, 1),
        "gather_rows": elementwise(moe * 2 * routed * hidden, 0, 2),
        # Fixed-point gradients have 8 bytes; the weight and two moments are read and written.
        "adamw": elementwise(parameters, 15, 2 + 3 + 3),
        "accumulate_unit": elementwise(parameters, 3, 1 + 2 + 2),
        "squared_norm": elementwise(parameters, 3, 2),
    }


def bounds(operators, works, gemm_flops, bytes_a_second):
    """For each of bench operators' entries: what bounds it, and the bound over what it took."""
    rows = []
    for operator in operators:
        work = works.get(operator["name"])
        seconds = 1e-3 * operator["step_ms"]
        row = {"name": operator["name"], "share": operator["share"],
               "step_ms": operator["step_ms"]}
        if work and seconds > 0:
            compute, memory = work.flop / gemm_flops, work.bytes / bytes_a_second
            row |= {"gflop": 1e-9 * work.flop, "mb": 1e-6 * work.bytes,
                    "gflops": 1e-9 * work.flop / seconds, "gb_s": 1e-9 * work.bytes / seconds,
                    "bound": "compute" if compute > memory else "memory",
                    "of_bound": max(compute, memory) / seconds}
        rows.append(row)
    return rows
