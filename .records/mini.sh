#!/usr/bin/env bash
# Train the model that ships and its masked-LM control, score both, draw the tables, and ship the pair.
#
#     .records/mini.sh openwebtext/ glue_data/ probes/
#
# `probes/` holds {qqp,mnli}-10k-{train,dev}.jsonl. Every step goes on where it was stopped: start the script again.
set -euo pipefail
text=$1 glue_data=$2 probes=$3
export OMP_NUM_THREADS=1
masked_lm="--size mini --objective mlm --precision fp32 --device cpu"
data="--data runs/shards-8192"
python -m electra prepare "$text" --out runs/shards-8192 --vocab-size 8192

# 1. Masked LM on rows of 16 tokens, 1,024 tokens an update: with short rows the loss beats the unigram baseline sooner.
python train_pretrain.py $data $masked_lm --run-dir runs/m256-short --seq-length 16 --batch-size 64 \
  --num-train-steps 30000 --num-warmup-steps 500 --stop-after 2480
# 2. Masked LM on rows of 128 tokens, 4,096 tokens an update, from there.
rows="--micro-batch-size 16 --num-warmup-steps 200 --eval-rows 512"
python train_pretrain.py $data $masked_lm $rows --run-dir runs/m256-branch --init-from runs/m256-short \
  --num-train-steps 30000 --stop-after 1500
# 3. The pair (the later --objective wins) and the masked-LM control, both from the second run, with equal
#    matrix-product FLOPs, one core each.
long="$data $masked_lm $rows --init-from runs/m256-branch"
long="$long --milestones 0.0625,0.125,0.25,0.5,0.75,1.0"
python train_pretrain.py $long --run-dir runs/m256-pair --objective rtd --init-networks discriminator \
  --num-train-steps 28000 &
python train_pretrain.py $long --run-dir runs/m256-mlm --num-train-steps 30585
wait

# 4. Scores: five seeds of the pair, the control, and random weights.
for start in "runs/m256-pair" "runs/m256-mlm" "runs/m256-pair --from-scratch"; do
  python train_glue.py --task cola,mrpc,rte,stsb,wnli --seeds 5 --data-dir "$glue_data" --checkpoint $start
  python train_glue.py --train-file "$probes/qqp-10k-train.jsonl" --dev-file "$probes/qqp-10k-dev.jsonl" --seeds 5 \
    --text-column question1 --text-pair-column question2 --label-column label --metric accuracy --checkpoint $start
  python train_glue.py --train-file "$probes/mnli-10k-train.jsonl" --dev-file "$probes/mnli-10k-dev.jsonl" --seeds 5 \
    --text-column premise --text-pair-column hypothesis --label-column label --metric accuracy --checkpoint $start
done
for share in 0001750 0003500 0007000 0014000 0021000; do
  python train_glue.py --task cola,mrpc,rte,stsb,wnli --seeds 5 --data-dir "$glue_data" \
    --checkpoint runs/m256-pair/milestones/step-$share
done
python -m electra report runs/ --out report/

# 5. Ship the pair's newest weights in 16 bits, beside the card that is there.
python - runs/m256-pair electra/pretrained/mini <<'END'
import sys
from pathlib import Path
from electra.training.checkpoint import resolve_checkpoint, save_checkpoint, torch_bytes, verify
from tests.benchmarks.rented_gpu import halved

run, shipped = resolve_checkpoint(Path(sys.argv[1])), Path(sys.argv[2])
files = {name: (run / name).read_bytes() for name in ("config.json", "tokenizer.json")}
card = (shipped / "README.md").read_text() if (shipped / "README.md").exists() else ""
save_checkpoint(shipped, {**files, "model.pt": torch_bytes(halved(run / "model.pt"))}, {"step": verify(run)["step"]})
(shipped / "README.md").write_text(card)
END
