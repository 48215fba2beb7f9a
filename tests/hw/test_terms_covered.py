"""The calibration grid leaves no term of a kernel without a coefficient: whatever a net asks for can be priced."""

import pytest

from hw.kernels import KERNELS
from hw.kernels.record import Platform
from hw.lower import lower

COVERED = {
    name: {term for s in k.sizes() for term, n in k.terms(s.types, s.attrs).items() if n}
    for name, k in KERNELS.items()
    if k.platform is Platform.CPU
}


@pytest.mark.parametrize("model", ["lenet", "mlp"])
@pytest.mark.parametrize("width", [0.5, 2.0, 16.0])
@pytest.mark.parametrize(("image", "batch"), [((8, 8, 1), 1), ((8, 8, 1), 512), ((28, 28, 1), 256)])
def test_every_term_that_a_net_needs_is_in_the_grid(trained, planned, model, width, image, batch):
    graph = trained(model, batch, image=image, width=width, dropout=0.1)
    for call in lower(planned(graph), "worker", Platform.CPU).calls:
        needed = {term for term, n in KERNELS[call.kernel].terms(call.types, call.attrs).items() if n}
        assert needed <= COVERED[call.kernel], f"{call.kernel} {[str(t) for t in call.types]}"
