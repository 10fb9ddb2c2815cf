"""Trains the demo's captioners and its judge on two CPU cores.

    python -m demo.train caption --out demo/checkpoints --steps 800 --save 200,300
    python -m demo.train caption --out demo/checkpoints --init demo/checkpoints/step-0800 --shuffled \\
        --steps 40 --hold 1 --save 9 --seed 1
    python -m demo.train judge --out demo/judge --steps 3000

The second line is a faulty training run: it continues the good checkpoint with the captions of other images.
Checkpoints are named by their step in the whole series: step-0800, then step-0809 and step-0840.
"""

import argparse
import json
import math
import random
import re
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from demo import model as tiny
from demo.batches import IGNORED, VALUE, Batch, Batches

WARM_UP = 60  # steps


def compute_learning_rate(step: int, steps: int, peak: float, hold: float) -> float:
    """Linear warm-up, `hold` of the run at the peak, then a cosine to a fiftieth of it."""
    rate, done = peak * min(1.0, step / WARM_UP), step / steps
    if done > hold:
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (done - hold) / (1 - hold)))
    return rate


def build_optimizer(*modules: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only."""
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def find_verdict_tokens(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """The tokens " true" and " false"."""
    return torch.tensor([tokenizer(word, add_special_tokens=False).input_ids[0] for word in (" true", " false")])


class Loss(torch.nn.Module):
    """Weighted cross entropy of the answers, and of a probe that is discarded after training.

    Below the last layer, at the place of each verdict, the probe reads the attribute's value in the caption and in the
    image. From "true" and "false" alone the judge never learned to look up both values for colour and shape. When the
    layer below has both, the last layer compares them.
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.verdicts = find_verdict_tokens(tokenizer)
        self.weights = torch.ones(len(tokenizer))
        self.weights[self.verdicts] = 6.0  # so that the six verdicts count against forty tokens of form
        self.probe = torch.nn.Linear(model.config.text_config.hidden_size, 2 * (len(VALUE) + 1))

    def forward(self, model: Qwen2_5_VLForConditionalGeneration, batch: Batch, image_start: int) -> torch.Tensor:
        *_, below, last = tiny.compute_states(model, batch.pixels, batch.ids, image_start)
        labels = batch.labels[:, 1:]
        answered = labels != IGNORED
        loss = F.cross_entropy(model.lm_head(last[:, :-1][answered]), labels[answered], weight=self.weights)
        if len(batch.value_pairs):
            read = self.probe(below[:, :-1][torch.isin(labels, self.verdicts)]).view(len(batch.value_pairs), 2, -1)
            loss = loss + F.cross_entropy(read.flatten(0, 1), batch.value_pairs.flatten())
        return loss


def count_steps_before(init: Path | None) -> int:
    """The training steps of the checkpoint that the run continues, read from its name; 0 without one."""
    if init is None:
        return 0
    match = re.fullmatch(r"step-(\d+)", init.name)
    if match is None:
        raise SystemExit(f"{init} is not called step-<number>: its steps are unknown")
    return int(match[1])


def record_time(times: Path, checkpoint: str, steps: int, seconds: float) -> None:
    """Write the time of training a checkpoint, for RESULTS.md. Replaces the line of an earlier training of it."""
    lines = times.read_text().splitlines() if times.exists() else []
    other_lines = [line for line in lines if json.loads(line)["checkpoint"] != checkpoint]
    command = "python -m demo.train " + " ".join(sys.argv[1:])
    entry = {"checkpoint": checkpoint, "steps": steps, "seconds": round(seconds, 1), "command": command}
    times.write_text("\n".join([*other_lines, json.dumps(entry)]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["caption", "judge", "fields"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="go on from this checkpoint")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--save", default="", help="steps to save at, comma-separated; the last one always is")
    parser.add_argument("--shuffled", action="store_true", help="captions of other images")
    parser.add_argument("--confused", action="store_true", help="fields: pink is called red, green blue")
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--hold", type=float, default=0.6, help="share of the run at the peak learning rate")
    parser.add_argument("--eyes", type=float, default=0.3, help="judge: share of the run spent on captions alone")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=Path, help="note here how long each checkpoint took")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    if args.init:
        model, tokenizer = tiny.load(args.init)
    else:
        tokenizer = tiny.build_tokenizer()
        model = tiny.build_model(tokenizer, **(tiny.JUDGE if args.task == "judge" else tiny.CAPTIONER))
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(tokenizer)} tokens", flush=True)
    model.train()
    loss_of = Loss(model, tokenizer)
    optimizer = build_optimizer(model, loss_of.probe)
    batches = Batches(
        tokenizer,
        random.Random(args.seed),
        has_shuffled_captions=args.shuffled,
        has_confused_colours=args.confused,
    )
    if args.task == "fields":
        batches.fields_share = 0.7  # the other rows ask for captions, so that captioning stays as good as it was
    saves = {int(step) for step in args.save.split(",") if step} | {args.steps}
    before, start, losses = count_steps_before(args.init), time.monotonic(), []
    for step in range(1, args.steps + 1):
        if args.task == "judge" and step > args.eyes * args.steps:
            batches.judge_share = 0.9  # the other rows ask for captions, so that the vision encoder stays trained
        for group in optimizer.param_groups:
            group["lr"] = compute_learning_rate(step, args.steps, args.peak, args.hold)
        loss = loss_of(model, batches.next(args.batch), len(batches.before_image()))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            mean = sum(losses[-50:]) / 50
            print(f"step {before + step} loss {mean:.4f} {time.monotonic() - start:.0f} s", flush=True)
        if step in saves:
            single = args.task == "judge" and step == args.steps
            directory = args.out if single else args.out / f"step-{before + step:04d}"
            seconds = time.monotonic() - start
            tiny.save(model, tokenizer, directory)
            print(f"saved {directory} after {seconds:.0f} s", flush=True)
            if args.times:
                record_time(args.times, directory.name, before + step, seconds)


if __name__ == "__main__":
    main()
