# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When does the hybrid win?
#
# Eight GPUs train AlexNet. *Data parallelism* gives every GPU the whole net and some of the images; then all must add up their
# gradients. In 2014 Krizhevsky proposed a *hybrid*: only the convolutions are treated so, while the fully connected layers are
# cut into eight pieces, and GPUs send one another activations instead of gradients ("One weird trick for parallelizing
# convolutional neural networks", arXiv 1404.5997).
#
# Which is faster depends on the links and on the batch. We count bytes by hand, then sweep over both.

# %%
from dataclasses import replace
from math import log2
from pathlib import Path

import matplotlib.pyplot as plt

from graph.summary import summary
from hw.system import System
from trainscape.build import Built
from trainscape.compare import as_variant
from trainscape.load import load
from trainscape.predict import Prediction, predict
from trainscape.scenario import Scenario
from trainscape.strategies import variant_of

RING, SCHEMES = "ring", ("hybrid", "hybrid_turns", "hybrid_parts")
COLOURS = {RING: "#0072B2", "hybrid": "#E69F00", "hybrid_turns": "#CC79A7", "hybrid_parts": "#009E73"}
FILE = str(Path("..") / "scenarios" / "krizhevsky-2014.yaml")


def scenario(strategy: str, batch: int) -> Scenario:
    """The scenario of the paper under a strategy, all gradients applied once a step."""
    loaded = load(FILE, [f"model.batch={batch}", "parallel.fc_update=step"])
    return as_variant(loaded.scenario, variant_of(strategy))


paper = load(FILE).scenario
paper.settings()

# %% [markdown]
# ## A net of two halves
#
# Convolutions have nearly all of the arithmetic, fully connected layers nearly all of the parameters.

# %%
layers = [x for x in summary(Built(paper).model_graph)["layers"] if x["parameters"]]
names = [x["name"] for x in layers]
figure, axes = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True, layout="constrained")
for axis, key, title in zip(axes, ("macs", "parameters"), ("multiply-adds of an image", "parameters"), strict=True):
    axis.barh(names, [x[key] / 1e6 for x in layers], color=["#0072B2" if n.startswith("conv") else "#E69F00" for n in names])
    axis.set(xlabel="million", title=title)
axes[0].invert_yaxis()
plt.show()

# %%
fc = [x for x in layers if not x["name"].startswith("conv")]
held, in_all = sum(x["parameters"] for x in fc), sum(x["parameters"] for x in layers)
work = 1 - sum(x["macs"] for x in fc) / sum(x["macs"] for x in layers)
print(f"convolutions: {work:.0%} of the arithmetic; fully connected layers: {held / in_all:.0%} of {in_all:,} parameters")

# %% [markdown]
# ## Bytes by hand
#
# A ring over $N$ GPUs moves each buffer $2 (N-1)$ times when it is summed, and $N-1$ times when it is gathered or scattered. So
# with $P$ parameters in all, of which $P_c$ in the convolutions, and $B$ images in a step:
#
# * data parallelism sends $4 (N-1) \cdot 2 P$ bytes, whatever the batch;
# * the hybrid sends $4 (N-1) (2 P_c + B\,(2 f + 2 h_1 + 2 h_2 + c + 2))$ bytes: features, hidden units and their gradients,
#   logits, and a label of 8 bytes.
#
# The second grows with the batch, so there is a batch from which on it is the greater one.

# %%
ranks, convolutions = paper.parallel.ranks, in_all - held
features = fc[0]["parameters"] // fc[0]["output_shape"][-1] - 1  # a unit has a weight for each feature, and a bias
hidden, classes = [x["output_shape"][-1] for x in fc[:-1]], fc[-1]["output_shape"][-1]
per_image = 2 * features + 2 * sum(hidden) + classes + 2


def by_hand(strategy: str, batch: int) -> int:
    """Bytes that all GPUs send in a step."""
    numbers = 2 * in_all if strategy == RING else 2 * convolutions + batch * per_image
    return 4 * (ranks - 1) * numbers


crossing = 2 * held / per_image
for batch in (256, 1024):
    for strategy in (RING, *SCHEMES):
        p = predict(Built(scenario(strategy, batch)), steps=2)
        sent = p.stats.bytes_sent_total // p.stats.steps
        print(f"batch {batch:5}, {strategy:12}: by hand {by_hand(strategy, batch):13,} bytes, simulated {sent:13,}")
        assert sent == by_hand(strategy, batch)
print(f"the hybrid sends fewer bytes up to {crossing:,.0f} images a step")

# %% [markdown]
# ## Bytes are not seconds
#
# Fully connected layers are the last of the net, so their gradients are the first to be known, and a ring can send them beside
# the whole backward pass of the convolutions. The hybrid has less to send, but somebody waits for it: the next layer needs what
# is gathered. So we sweep: links from a quarter of those of 2014 to four times as fast, and batches from 128 to 1024.

# %%
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
BATCHES = (128, 256, 512, 1024)


def with_links(system: System, factor: float) -> System:
    """The system with all links so many times as fast; latencies stay."""
    wires = (replace(w, link=replace(w.link, bytes_per_second=factor * w.link.bytes_per_second)) for w in system.wires)
    return replace(system, wires=tuple(wires))


def sweep(strategy: str, batch: int) -> dict[float, Prediction]:
    """Speed of the links -> prediction. Plan and kernels do not depend on it, so they are made once."""
    base = Built(scenario(strategy, batch))
    found = {}
    for factor in SPEEDS:
        built = Built(base.scenario, system=with_links(base.system, factor), like=base)
        found[factor] = predict(built, steps=2)
    return found


steps = {(s, b, f): p for s in (RING, *SCHEMES) for b in BATCHES for f, p in sweep(s, b).items()}
seconds = {key: p.stats.step_s for key, p in steps.items()}
link = next(w.link for w in Built(paper).system.wires)
print(f"links of 2014: {link.name}, {link.capacity / 1e9:.1f} GB/s; {len(steps)} predictions")

# %%
best = {(b, f): min(SCHEMES, key=lambda s: seconds[s, b, f]) for b in BATCHES for f in SPEEDS}
gain = {(b, f): seconds[RING, b, f] / seconds[best[b, f], b, f] for b in BATCHES for f in SPEEDS}
figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
reach = max(abs(log2(g)) for g in gain.values())
doublings = [[log2(gain[b, f]) for f in SPEEDS] for b in BATCHES]
image = axis.imshow(doublings, cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
for y, b in enumerate(BATCHES):
    for x, f in enumerate(SPEEDS):
        name = best[b, f] if gain[b, f] > 1 else RING
        axis.text(x, y, f"{gain[b, f]:.2f}\n{name}", ha="center", va="center", fontsize=8)
axis.set(xticks=range(len(SPEEDS)), xticklabels=[f"{f * link.capacity / 1e9:.1f}" for f in SPEEDS], xlabel="GB/s of a link")
axis.set(yticks=range(len(BATCHES)), yticklabels=BATCHES, ylabel="images in a step")
axis.set_title("how many times as fast the best hybrid is as the ring, and who wins")
figure.colorbar(image, label="log2")
plt.show()

# %% [markdown]
# ## Where the time goes
#
# Two corners of the map: few images on slow links, many images on fast ones.

# %%
corners = [(BATCHES[0], SPEEDS[0]), (BATCHES[-1], SPEEDS[-1])]
figure, axes = plt.subplots(len(corners), 1, figsize=(9, 4.2), layout="constrained")
PARTS = {"computing": "#0072B2", "transfers that nothing hides": "#E69F00", "waiting for other things": "#DDDDDD"}
for axis, (b, f) in zip(axes, corners, strict=True):
    for y, strategy in enumerate((RING, *SCHEMES)):
        p = steps[strategy, b, f]
        left = 0.0
        parts = (p.stats.compute_s, p.stats.exposed_comm_s, p.waiting_s)
        for (label, colour), part in zip(PARTS.items(), parts, strict=True):
            axis.barh(y, 1e3 * part, left=1e3 * left, color=colour, edgecolor="white", lw=0.5, label=label if y == 0 else None)
            left += part
    axis.set(yticks=range(1 + len(SCHEMES)), yticklabels=(RING, *SCHEMES), xlabel="ms a step")
    axis.set_title(f"{b} images in a step, links of {f * link.capacity / 1e9:.1f} GB/s", fontsize=10)
    axis.invert_yaxis()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
plt.show()

# %% [markdown]
# ## The answer, batch by batch
#
# A difference below 1 % is none: no prediction is that good.

# %%
CLEAR = 0.01
for b in BATCHES:
    won_at = [f"{f * link.capacity / 1e9:g}" for f in SPEEDS if gain[b, f] > 1 + CLEAR]
    lost_at = [f"{f * link.capacity / 1e9:g}" for f in SPEEDS if gain[b, f] < 1 - CLEAR]
    top = max(SPEEDS, key=lambda f, b=b: gain[b, f])
    said = [f"{who} with links of {', '.join(at)} GB/s" for who, at in (("the hybrid", won_at), ("the ring", lost_at)) if at]
    print(f"{b:5} images: {'; '.join(said) or 'nobody'}; at best the hybrid is {gain[b, top]:.2f} times as fast")

# %%
won = [cell for cell, g in gain.items() if g > 1 + CLEAR]
wins = {s: sum(best[cell] == s for cell in won) for s in SCHEMES}
fewer = [cell for cell in gain if cell[0] < crossing]
print(f"The hybrid wins in {len(won)} of {len(gain)} cells, though it sends fewer bytes in {len(fewer)}.")
print("Where it wins, the best scheme is " + ", ".join(f"{s} in {n}" for s, n in wins.items() if n) + ".")
ours = gain[1024, 1.0]
verdict = "faster" if ours > 1 else "slower"
print(
    f"On the machine of 2014 with 1024 images, by kernels and links alone, it would be {abs(ours - 1):.1%} {verdict} than a ring."
)
