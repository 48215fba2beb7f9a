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
# # The story of a step
#
# One training step of a small network, told twice: first as it *should* happen, then as it *did*. Both times from the same plan.
#
# We follow a LeNet that learns to read 8×8 digits on two workers of this computer:
# what is computed → who computes, sends and waits → which kernels run, and where their numbers lie → how long that should
# take → how long it took.

# %%
from collections import defaultdict
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt

from graph.ir import Phase
from graph.parallel.text import plan_text
from graph.step_stats import step_of
from graph.timeline import Timeline, action_name
from trainscape.build import Built
from trainscape.calibrate import calibrate
from trainscape.host_profile import state
from trainscape.load import load
from trainscape.predict import predict
from trainscape.validate import validate

COLOURS = {"forward": "#56B4E9", "backward": "#0072B2", "update": "#009E73", "allreduce": "#E69F00", "input": "#CC79A7"}
scenario = load(str(Path("..") / "scenarios" / "digits-lenet-2workers.yaml")).scenario
scenario.settings()

# %% [markdown]
# ## What is computed
#
# The model is a graph of operators. Each knows its exact work, and the gradient of each is written in operators too, so the
# backward pass is more graph. Backward costs about twice forward, except in the first layer, which owes nobody a gradient.

# %%
built = Built(scenario, profile=state().profile or calibrate(quick=True))
graph = built.lowered["worker"].graph
layers = graph.layers(Phase.FORWARD)
figure, axis = plt.subplots(figsize=(8, 2.6), layout="constrained")
left = [0.0] * len(layers)
for phase in (Phase.FORWARD, Phase.BACKWARD):
    mflop = [sum(graph.work(n).flop for n in graph if n.layer == layer and n.phase is phase) / 1e6 for layer in layers]
    axis.barh(layers, mflop, left=left, color=COLOURS[phase.value], label=phase.value)
    left = [a + b for a, b in zip(left, mflop, strict=True)]
axis.invert_yaxis()
axis.set(xlabel="Mflop in a step of one worker", title=f"{scenario.model.name}, {scenario.micro_batch} samples a worker")
axis.legend()
plt.show()

# %% [markdown]
# ## Who computes, sends and waits
#
# The plan is the same for every worker. It does not say in which order things happen across streams: that follows from the
# buffers which the actions read and write. A bucket's all-reduce may begin as soon as its gradients are there, while
# the backward pass goes on with the layers below.

# %%
print(plan_text(built.plan))

# %% [markdown]
# ## Which kernels run, and where their numbers lie
#
# Lowering fuses a convolution with its bias and its ReLU, and gives every value a place in one block of memory. Values that
# never live at the same time share a place. What comes out is both what the workers execute and what the cost model prices.

# %%
(lowered,) = built.lowered.values()
for segment, calls in lowered.segments.items():
    for call in calls:
        kflop, intensity = call.work.flop / 1e3, call.work.flop / max(call.work.nbytes, 1)
        print(f"{segment:18} {call.kernel:34} {'+'.join(call.fused):14} {kflop:10,.1f} kflop {intensity:8.2f} flop/B")

# %%
between = lowered.layout.values
alone = sum(graph.type_of(v).nbytes for v in between)
print(
    f"one block of {lowered.layout.nbytes:,} bytes; the {len(between)} values between kernels would take {alone:,} by themselves"
)

# %% [markdown]
# ## How long it should take
#
# Every kernel has exact counts of what its loops do; calibration found what one of each costs on this computer, on shapes that
# this network does not have. The simulator then plays the plan in virtual time. Nothing of this network has been timed yet.

# %%
prediction = predict(built)
low, high = prediction.interval
print(f"a step should take {prediction.stats.step_s * 1e6:.1f} us (80 %: {low * 1e6:.1f} to {high * 1e6:.1f})")


# %%
def draw(axis: plt.Axes, timeline: Timeline, step: int, title: str) -> None:
    """One step as bars: a row for each rank, time from left to right."""
    records = [r for r in timeline.of(step) if r.is_leaf]
    ranks = sorted({r.rank for r in records})
    zero = min(r.start for r in records if r.id[1] != "input")
    for r in records:
        colour = COLOURS.get(str(r.id[1]), "#999999")
        axis.barh(
            ranks.index(r.rank), 1e6 * r.seconds, left=1e6 * (r.start - zero), height=0.7, color=colour, edgecolor="white", lw=0.3
        )
    axis.set(yticks=range(len(ranks)), yticklabels=[str(r) for r in ranks], title=title)
    axis.invert_yaxis()


figure, axis = plt.subplots(figsize=(10, 2.2), layout="constrained")
draw(axis, prediction.timeline, 2, "predicted")
axis.set(xlabel="us")
axis.legend(
    [plt.Rectangle((0, 0), 1, 1, color=c) for c in COLOURS.values()],
    COLOURS,
    ncols=5,
    loc="upper center",
    bbox_to_anchor=(0.5, -0.3),
)
plt.show()

# %% [markdown]
# ## How long it took
#
# Two processes, real kernels, real messages through shared memory. Most of the run is not timed inside, for clocks cost time;
# the last block is.

# %%
validation = validate(built)
measured = validation.measured_timeline
step = sorted({r.id[0] for r in measured})[len({r.id[0] for r in measured}) // 2]
figure, axes = plt.subplots(2, 1, figsize=(10, 3.8), sharex=True, layout="constrained")
draw(axes[0], prediction.timeline, 2, "predicted")
draw(axes[1], measured, step, f"measured, step {step}")
axes[1].set(xlabel="us")
plt.show()

# %% [markdown]
# ## The one against the other
#
# Actions have the same names on both sides, so they can be compared one kind at a time. Waiting for the other worker is not
# work: an all-reduce counts by its transfers, and what the workers wait for one another shows in the step alone. A
# single error says little without the band in which the machine repeats itself.


# %%
def typical(timeline: Timeline) -> dict[str, float]:
    """Median microseconds of work of each kind of action, over ranks and steps; an all-reduce is the sum of its transfers."""
    work: dict[str, dict[object, float]] = defaultdict(lambda: defaultdict(float))
    for r in timeline:
        if r.is_leaf:
            name = action_name(r).removesuffix("/send").removesuffix("/recv")
            work[name][r.rank, step_of(r)] += r.seconds
    return {name: 1e6 * median(seconds.values()) for name, seconds in work.items()}


predicted_us, measured_us = typical(prediction.timeline), typical(measured)
print(f"{'':20} {'predicted':>10} {'measured':>10}    error")
for name, us in {"a step": prediction.stats.step_s * 1e6, **predicted_us}.items():
    took = validation.step_s * 1e6 if name == "a step" else measured_us[name]
    print(f"{name:20} {us:7.1f} us {took:7.1f} us {us / took - 1:+8.1%}")
print(f"\nsteps repeat within ±{validation.repeat_band:.1%}; verdict: {validation.verdict}")

# %%
figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
for name, us in predicted_us.items():
    axis.loglog(measured_us[name], us, "o", color=COLOURS.get(name.split("/")[0], "#999999"))
ends = [0.5 * min(measured_us.values()), 2 * max(measured_us.values())]
axis.plot(ends, ends, color="black", lw=0.8)
axis.set(xlabel="measured, us", ylabel="predicted, us", title="each kind of action; on the line the prediction is exact")
plt.show()

# %% [markdown]
# ## And elsewhere?
#
# The same plan, played on a machine that is not here. Kernels are then priced by a roofline made from data sheets: good enough to
# see that so small a network is bound by the launching of kernels and by latency, and that eight GPUs would wait for one another.

# %%
there = load(str(Path("..") / "scenarios" / "lenet-dgx1.yaml")).scenario
elsewhere = predict(Built(there))
stats, where = elsewhere.stats, f"{there.parallel.ranks} ranks of {there.system.name}"
print(f"{there.model.name}, batch {there.model.batch}, on {where}: {stats.step_s * 1e6:.0f} us a step, of which")
print(f"{stats.compute_s * 1e6:.0f} us computing and {stats.exposed_comm_s * 1e6:.0f} us waiting for gradients")
