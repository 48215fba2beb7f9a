"""Records of softmax cross entropy and its gradient."""

from hw.kernels.cpu.common import cpu_record, row_terms

SOFTMAX = (
    cpu_record("softmax_cross_entropy", "softmax_cross_entropy", row_terms("softmax_cross_entropy")),
    cpu_record("softmax_cross_entropy_grad", "softmax_cross_entropy_grad", row_terms("softmax_cross_entropy_grad")),
)
