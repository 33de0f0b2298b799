#!/bin/sh
# How the load of the experts is balanced, and what MTP does: arms on one seed that differ in
# nothing else. Prints the held-out score after the last step and MaxVio, the load of the fullest
# expert over the mean minus 1, as a mean over the last 20 steps.
# Usage: tests/bench/ablation.sh TROUPE [STEPS [RUN]]      (needs python3; runs go to runs/ablation)
set -eu
troupe=$(realpath "$1")
steps=${2:-200}
run=${3:-config/runs/pretrain_tiny.textproto}
cd "$(dirname "$0")/../.."

arm() {
  name=$1
  shift
  rm -rf "runs/ablation/$name"
  "$troupe" train "$run" --out "runs/ablation/$name" --set "train.steps=$steps" \
    --set train.hash_every=0 "$@" > "runs/ablation/$name.log"
  python3 - "$name" "runs/ablation/$name/metrics.jsonl" <<'TABLE'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[2])]
steps = [line for line in lines if "max_violation" in line]
heldout = [line for line in lines if "heldout_nats" in line][-1]
last = [line["max_violation"] for line in steps[-20:]]
print(f"{sys.argv[1]:<14} {steps[-1]['loss']:>10.4f}"
      f" {heldout['heldout_nats'] / heldout['heldout_tokens']:>13.4f}"
      f" {heldout['heldout_bits_per_byte']:>14.4f} {sum(last) / len(last):>7.3f}"
      f"   {steps[-1].get('hash', '')}")
TABLE
}

mkdir -p runs/ablation
printf '%-14s %10s %13s %14s %7s   %s\n' arm 'last loss' 'held-out loss' 'bits per byte' MaxVio hash
arm bias --set train.routing.gamma=1e-3 --set train.routing.balance_alpha=1e-4
arm auxiliary_loss --set train.routing.gamma=0 --set train.routing.balance=MICRO_BATCH \
  --set train.routing.balance_alpha=1e-2
arm none --set train.routing.gamma=0 --set train.routing.balance=NONE
arm bias_no_mtp --set train.routing.gamma=1e-3 --set train.routing.balance_alpha=1e-4 \
  --set model.with.mtp_layers=0
