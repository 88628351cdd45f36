#!/usr/bin/env bash
# Train the model that ships and its masked-LM control, score both, and draw the tables.
#
#     .records/mini.sh openwebtext/ glue_data/ probes/
#
# The text is that of mini's card. `probes/` holds {qqp,mnli}-10k-{train,dev}.jsonl of moritzlad/BabyLM-Tiny.
# Every step goes on where it was stopped: start the script again.
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
# 3. The pair and the masked-LM control, both from the second run, 16,384 tokens an update, equal matrix-product FLOPs.
#    Side by side on an H200 they take six minutes; on a CPU core of its own each takes about two days.
long="--size mini --batch-size 128 --learning-rate 7e-4 --num-warmup-steps 1000 --eval-rows 512 --eval-every 2000"
long="$data $long --init-from runs/m256-branch --milestones 0.0625,0.125,0.25,0.5,0.75,1.0"
python train_pretrain.py $long --run-dir runs/m256-pair --init-networks discriminator --num-train-steps 24000 &
pair=$!
python train_pretrain.py $long --run-dir runs/m256-mlm --objective mlm --num-train-steps 26216
wait "$pair"
# 4. The pair's discriminator on short rows against a new generator, whose words are odd: 14 minutes on a CPU core.
python train_pretrain.py $data --size mini --run-dir runs/m256-odd --init-from runs/m256-pair --init-networks discriminator \
  --seq-length 32 --batch-size 128 --learning-rate 2e-4 --num-warmup-steps 50 --num-train-steps 400 --eval-rows 256 \
  --precision fp32 --device cpu

# 5. Ship the discriminator of run 4 and the generator of run 3 in 16 bits, beside the card that is there.
python - runs/m256-odd runs/m256-pair electra/pretrained/mini <<'END'
import sys
from pathlib import Path
from electra.training.checkpoint import resolve_checkpoint, save_checkpoint, torch_bytes, verify
from tests.benchmarks.rented_gpu import halved

last, pair = (resolve_checkpoint(Path(run)) for run in sys.argv[1:3])
shipped = Path(sys.argv[3])
shared = "generator.encoder.embeddings."  # the discriminator's too
generator = {name: t for name, t in halved(pair / "model.pt").items() if name.startswith("generator.")}
weights = halved(last / "model.pt") | {name: t for name, t in generator.items() if not name.startswith(shared)}
files = {name: (pair / name).read_bytes() for name in ("config.json", "tokenizer.json")}
card = (shipped / "README.md").read_text() if (shipped / "README.md").exists() else ""
save_checkpoint(shipped, {**files, "model.pt": torch_bytes(weights)}, {"step": verify(pair)["step"]})
(shipped / "README.md").write_text(card)
END

# 6. Scores: five seeds of the pair, the control, random weights, and what ships.
for start in "runs/m256-pair" "runs/m256-mlm" "runs/m256-pair --from-scratch" mini; do
  python train_glue.py --task cola,mrpc,rte,stsb,wnli --seeds 5 --precision fp32 --data-dir "$glue_data" --checkpoint $start
  python train_glue.py --train-file "$probes/qqp-10k-train.jsonl" --dev-file "$probes/qqp-10k-dev.jsonl" --seeds 5 \
    --text-column question1 --text-pair-column question2 --label-column label --metric accuracy --precision fp32 --checkpoint $start
  python train_glue.py --train-file "$probes/mnli-10k-train.jsonl" --dev-file "$probes/mnli-10k-dev.jsonl" --seeds 5 \
    --text-column premise --text-pair-column hypothesis --label-column label --metric accuracy --precision fp32 --checkpoint $start
done
for share in 0001500 0003000 0006000 0012000 0018000; do
  python train_glue.py --task cola,mrpc,rte,stsb,wnli --seeds 5 --precision fp32 --data-dir "$glue_data" \
    --checkpoint runs/m256-pair/milestones/step-$share
done
python -m electra report runs/ --out report/
