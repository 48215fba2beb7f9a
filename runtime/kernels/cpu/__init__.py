"""CPU kernels, one file a family; the list below is what is loaded."""

FAMILIES = (
    "tile",
    "matmul",
    "conv",
    "local_conv",
    "pool",
    "batch_norm",
    "lrn",
    "concat",
    "reshape",
    "exchange",
    "elementwise",
    "reduce",
    "softmax",
    "dropout",
    "update",
    "quantize",
)
