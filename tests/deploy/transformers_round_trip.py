"""What Troupe exports, transformers loads with the same logits.

usage: transformers_round_trip.py TROUPE CASE...

TROUPE is the program, a CASE a folder of tests/goldens. Each case is converted with
`troupe convert` to F32, loaded with transformers, and its logits are compared with
expected.safetensors (which `troupe conform` compares Troupe's own with). Needs torch,
transformers >= 5 and safetensors; prints one line a case, exits 1 if a difference is over 2e-4.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import DeepseekV3ForCausalLM

LIMIT = 2e-4


def difference(troupe, case, folder):
    exported = folder / "exported"
    subprocess.run([troupe, "convert", "--from", case, "--to", exported, "--dtype", "f32"], check=True,
                   stdout=subprocess.DEVNULL)
    model, info = DeepseekV3ForCausalLM.from_pretrained(
        exported, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    # transformers has no MTP layer: its tensors alone may be left over.
    if info["missing_keys"]:
        raise SystemExit(f"{case}: transformers misses {sorted(info['missing_keys'])}")
    expected = load_file(pathlib.Path(case) / "expected.safetensors")
    with torch.no_grad():
        logits = model(input_ids=expected["tokens"]).logits
    return (logits - expected["logits"]).abs().max().item()


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    worst = 0.0
    for case in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as folder:
            found = difference(sys.argv[1], case, pathlib.Path(folder))
        print(f"{case}: largest difference of a logit {found:.2e}, limit {LIMIT:.0e}")
        worst = max(worst, found)
    raise SystemExit(0 if worst <= LIMIT else 1)


main()
