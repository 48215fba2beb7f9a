"""CPU kernels, one file a family; the list below is what is loaded."""

FAMILIES = ("tile", "matmul", "conv", "pool", "elementwise", "reduce", "softmax", "dropout", "update")
