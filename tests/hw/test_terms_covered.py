"""The calibration grid leaves no term of a kernel without a coefficient: whatever a net asks for can be priced."""

import pytest

from graph.zoo import MODELS, NETS
from hw.kernels import KERNELS
from hw.kernels.record import Platform
from hw.lower import lower

COVERED = {
    name: {term for s in k.sizes() for term, n in k.terms(s.types, s.attrs).items() if n}
    for name, k in KERNELS.items()
    if k.platform is Platform.CPU
}
GRID = {(name, s.types) for name, k in KERNELS.items() if k.platform is Platform.CPU for s in k.sizes()}


@pytest.mark.parametrize("model", ["lenet", "mlp"])
@pytest.mark.parametrize("width", [0.5, 2.0, 16.0])
@pytest.mark.parametrize(("image", "batch"), [((8, 8, 1), 1), ((8, 8, 1), 512), ((28, 28, 1), 256)])
def test_every_term_that_a_net_needs_is_in_the_grid(trained, planned, model, width, image, batch):
    graph = trained(model, batch, image=image, width=width, dropout=0.1)
    for call in lower(planned(graph), "worker", Platform.CPU).calls:
        needed = {term for term, n in KERNELS[call.kernel].terms(call.types, call.attrs).items() if n}
        assert needed <= COVERED[call.kernel], f"{call.kernel} {[str(t) for t in call.types]}"


@pytest.mark.parametrize("model", [m for m in NETS if m not in ("lenet", "mlp")])
@pytest.mark.parametrize(("image", "batch"), [((75, 75, 3), 2), (None, 32)], ids=["small", "published"])
def test_and_those_of_the_large_nets_none_of_whose_calls_is_in_it(trained, planned, model, image, batch):
    graph = trained(model, batch, image=image or MODELS[model].image, width=1.0, classes=1000, depth=None)
    for call in lower(planned(graph, bucket_bytes=1 << 22), "worker", Platform.CPU).calls:
        needed = {term for term, n in KERNELS[call.kernel].terms(call.types, call.attrs).items() if n}
        assert needed <= COVERED[call.kernel], f"{call.kernel} {[str(t) for t in call.types]}"
        assert not call.types or (call.kernel, call.types) not in GRID
