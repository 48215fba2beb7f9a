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
# # Fixed point on an NFU
#
# An accelerator such as DianNao computes in words of 16 bits. A net that was trained in float32 is put into them: each number
# $x$ becomes $q\,2^{-F}$ with a whole $q$ of 16 bits. How many bits $F$ belong behind the point? And a product of two such
# words has $2F$ of them: where are they cut off, and how?
#
# We compute every layer bit by bit, as the NFU would.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

from graph.fixed_point import Fixed, Rounding
from hw.nfu.config import Arithmetic, Cut, Nfu, Overflow
from trainscape.nfu.accuracy import Study, digits_accuracy, rows_of, sweep
from trainscape.nfu.nets import net
from trainscape.report.nfu_accuracy_figure import COLOURS, MARKS, accuracy_figure, layers_figure

lenet = net("lenet")
study = Study(lenet, Nfu())
exact = study.float32()
print(f"{lenet.name}, {lenet.origin}: {exact['accuracy']:.1%} of {len(lenet.images)} digits that it has not seen, in float32")
print(f"the greatest number is {exact['greatest']:.1f}, in {exact['greatest_in']}")

# %% [markdown]
# ## Bits, places, rules
#
# All numbers have the same format. Products are cut one by one (in the multipliers, as DianNao does), once a cycle (behind
# the adder trees), or once a neuron (the sum is exact until then). Four rules of rounding; sums that do not fit saturate or
# wrap around. *Ideal* is what remains when only the words themselves are rounded, and everything between is computed in
# floats.

# %%
found = sweep(study, (3, 4, 5, 6, 8, 10, 11, 12), layers_at=10)
found["word"] = 16
accuracy_figure(found)

# %% [markdown]
# To the left steps are too coarse; to the right numbers do not fit: each bit behind the point is one less in front of it.
# Between them is a broad valley in which every arithmetic is good enough for digits. But not equally good: look at the
# errors.

# %%
for cut in Cut:
    at = {r["rounding"]: r["error"] for r in rows_of(found, fraction=10, cut=cut, overflow=Overflow.SATURATE)}
    print(f"{cut:8}", "   ".join(f"{rule} {at[rule]['rms']:.4f} (bias {at[rule]['bias']:+.4f})" for rule in Rounding))

# %% [markdown]
# ## Half a step for each product
#
# Cutting off downwards takes half a step from each product on average, so a sum of $N$ products should lie $N\,2^{-F-1}$ too
# low; in Q6.10 that is $N\,2^{-11}$. Is it so? Each layer is given what it would be given by exact layers before it, and its
# sums are held against exact ones.

# %%
biases = study.biases(10)
step = 2.0**-10
names = [b["layer"].split("/")[0] for b in biases]
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
at = np.arange(len(names))
for k, (label, key, colour) in enumerate(
    (("$-N/2$", "predicted", "#DDDDDD"), ("by operands", "predicted_by_operands", "#56B4E9"), ("measured", None, "#D55E00"))
):
    values = [(b["measured"][Rounding.FLOOR] if key is None else b[key]) / step for b in biases]
    axis.bar(at + 0.27 * (k - 1), values, 0.25, color=colour, label=label)
axis.set(xticks=at, xticklabels=names, ylabel="mean error, steps", title="sums of products that are cut off downwards")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# The rule of thumb is an upper bound. Neurons behind a ReLU are zero half of the time, and a product that is zero loses
# nothing; pixels are sixteenths, so most of what is cut off is zero anyway. Adding up what each product *can* lose hits the
# mark.

# %%
for b in biases:
    measured = b["measured"][Rounding.FLOOR] / step
    print(
        f"{b['layer']:14} {b['products']:4} products, {b['nonzero_products']:5.1f} of them not zero: "
        f"expected {b['predicted_by_operands'] / step:7.2f}, measured {measured:7.2f} steps; "
        f"nearest {b['measured'][Rounding.NEAREST] / step:+.2f}, stochastic {b['measured'][Rounding.STOCHASTIC] / step:+.2f}"
    )

# %% [markdown]
# ## Deeper nets, longer sums
#
# What is harmless in a LeNet adds up. An AlexNet of a quarter of the width, with random weights, sees an image of noise:

# %%
alexnet = net("alexnet", ["model.width=0.25", "model.input=[99,99,3]", "model.classes=100"])
deep = Study(alexnet, Nfu())
result = sweep(deep, (10,), (Overflow.SATURATE,), layers_at=10)
result["word"] = 16
layers_figure(result)

# %% [markdown]
# Where each product is cut off downwards, sums end up so low that ReLUs pass ever less on. In the full size, with up to 9,216
# products in a sum, nothing is left of the signal from `conv5` on (`trainscape nfu accuracy --model alexnet`). One exact sum,
# rounded once, is as good as can be, whatever the rule.
#
# ## Nearest or at random?
#
# Gupta et al. (2015) trained nets in 16 bits, and needed stochastic rounding: updates of less than half a step would be
# forgotten by rounding to nearest, again and again. Inference adds up no updates. Is there a use for chance? Only where steps
# are so large that many products are less than half of one.

# %%
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for rule in (Rounding.NEAREST, Rounding.STOCHASTIC):
    rows = rows_of(found, cut=Cut.PRODUCT, rounding=rule, overflow=Overflow.SATURATE)
    rows = [r for r in rows if r["fraction"] <= 10]
    axis.semilogy(
        [r["fraction"] for r in rows], [r["error"]["rms"] for r in rows], MARKS[rule] + "-", color=COLOURS[rule], label=rule
    )
axis.set(xlabel="fraction bits", ylabel="error of the logits, rms", title="each product rounded")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## An NFU of your own
#
# A word of 12 bits, sums of 20, products cut towards zero:

# %%
word = Fixed(bits=12, fraction=7)
sums = Arithmetic(cut=Cut.PRODUCT, rounding=Rounding.ZERO, product_bits=12, tree_bits=20, sum_bits=20)
print(f"{digits_accuracy(Nfu(neuron=word, synapse=word, arithmetic=sums)):.1%} of the digits are told right")
