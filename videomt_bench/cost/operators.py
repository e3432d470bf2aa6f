"""Which operators count, how, and which are known not to matter.

fvcore counts convolutions, matrix products, norms, bilinear resampling and average pooling. This
file adds what it lacks, and sorts the rest: an operator is counted, negligible, or *uncounted*.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any

from fvcore.nn.jit_handles import get_shape

from videomt_bench.errors import BenchError

Handler = Callable[[list[Any], list[Any]], float]
"""Inputs and outputs of a node of the trace -> multiply-accumulates."""

ESTIMATED = frozenset(
    (
        *("batch_norm", "group_norm", "instance_norm", "layer_norm"),
        *("adaptive_avg_pool2d", "grid_sampler", "upsample_bilinear2d", "upsample_nearest2d"),
    )
)
"""What fvcore counts as a few operations per element; every other counted operator is a matrix
product or a convolution, and those the two counters must agree on."""

NEGLIGIBLE = {
    "elementwise": """
        abs add addcdiv addcmul and atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu
        clamp clamp_max clamp_min clip clone complex conj cos cosh cumprod deg2rad div divide elu
        eq erf erfc exp expm1 fill floor floor_divide fmod frac ge gelu glu gt hardsigmoid
        hardswish hardtanh iand imag invert ior isfinite isinf isnan isneginf isposinf le leaky_relu
        lerp log log10 log1p log2 log_sigmoid logical_and logical_not logical_or logical_xor
        logit lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg negative or outer
        pairwise_distance polar pow prelu rad2deg real reciprocal relu relu6 remainder
        resolve_conj resolve_neg round rsqrt rsub selu sigmoid sign silu sin sinh softplus sqrt
        square sub subtract tan tanh threshold thnn_fused_gru_cell thnn_fused_lstm_cell true_divide
        trunc view_as_complex view_as_real where xor zero""",
    "reduction": """
        all amax amin any argmax argmin count_nonzero cummax cummin cumsum frobenius_norm
        linalg_norm linalg_vector_norm logcumsumexp logsumexp max mean median min norm
        norm_except_dim numel std std_mean sum var var_mean""",
    "normalisation": "log_softmax normalize rms_norm softmax cosine_similarity",
    "resampling": """
        adaptive_avg_pool1d adaptive_max_pool2d affine_grid_generator avg_pool1d avg_pool2d
        im2col col2im max_pool1d max_pool2d max_pool2d_with_indices pixel_shuffle pixel_unshuffle
        reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d unfold
        upsample_bicubic2d upsample_bicubic2d_aa upsample_bilinear2d_aa upsample_linear1d
        upsample_nearest1d upsample_trilinear3d""",
    "shape and copy": """
        adjoint alias alpha_dropout as_strided atleast_1d atleast_2d atleast_3d block_diag
        broadcast_tensors broadcast_to cat chunk column_stack concat concatenate constant_pad_nd
        contiguous copy cpu cuda detach device dim dropout expand expand_as feature_dropout flatten
        flip h hstack is_nonzero item lift_fresh local_scalar_dense meshgrid mh movedim moveaxis
        mt narrow numpy_t pad permute ravel repeat repeat_interleave requires_grad reshape
        reshape_as resize roll select size slice split split_with_sizes squeeze stack swapaxes
        swapdims sym_size t tensor_split tile to to_copy transpose type_as unbind unflatten
        unsafe_chunk unsafe_split unsqueeze unsafe_view view view_as vstack""",
    "index and order": """
        argsort bincount bucketize diag diag_embed diagonal embedding gather index index_add
        index_copy index_fill index_put index_select isin kthvalue masked_scatter masked_select
        nonzero nonzero_numpy one_hot put scatter scatter_add scatter_reduce searchsorted sort take
        take_along_dim topk tril triu unique unique2 unique_consecutive unique_dim""",
    "creation": """
        arange bernoulli bool empty empty_like empty_strided eye float full full_like int linspace
        multinomial new_empty new_full new_ones new_tensor new_zeros normal ones ones_like rand
        rand_like randint randint_like randn randn_like randperm scalar_tensor scalarimplicit
        floatimplicit intimplicit tensor uniform zeros zeros_like""",
}
"""Known not to matter: at most a few operations per element, which the papers do not count either.
Names without namespace and outer underscores, in lower case."""

_NEGLIGIBLE = frozenset(name for names in NEGLIGIBLE.values() for name in names.split())
_MATTERS = re.compile(
    r"mm$|mm_|matmul|matvec|multi_dot|conv|attention|linear|einsum|tensordot|inner$|dot$"
    r"|mv$|addr$|kron|bilinear$|lstm|gru|rnn|transformer|cdist|pdist|fft|linalg|solve|inverse"
    r"|matrix_exp|matrix_power|svd|cholesky|scaled_mm|embedding_bag|sparse|quantized"
)


def is_negligible(operator: str) -> bool:
    """Whether an operator of the trace, such as ``aten::add_``, is in the table."""
    namespace, _, name = operator.partition("::")
    return namespace == "aten" and name.strip("_").lower() in _NEGLIGIBLE


def matters(operator: str) -> bool:
    """Whether an uncounted operator may hide work: like a product, or not PyTorch's own."""
    namespace, _, name = operator.partition("::")
    return namespace != "aten" or bool(_MATTERS.search(name.strip("_")))


def _product(inputs: list[Any], outputs: list[Any]) -> float:
    """``a @ b`` with broadcasting: every output element sums over the last axis of a."""
    return prod(get_shape(outputs[0])) * get_shape(inputs[0])[-1]


def _product_after_bias(inputs: list[Any], outputs: list[Any]) -> float:
    return _product(inputs[1:], outputs)


def _attention(inputs: list[Any], outputs: list[Any]) -> float:
    """softmax(QKᵀ)V for (..., L, E), (..., S, E) and (..., S, V)."""
    query, key, value = (get_shape(x) for x in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum(inputs: list[Any], outputs: list[Any]) -> float:
    """The product of two operands; zero for one operand, or if nothing is summed over."""
    equation = inputs[0].toIValue().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    operands = terms.split(",")
    if len(operands) == 1:
        return 0.0
    if len(operands) > 2:
        raise BenchError(
            f"einsum {equation!r} has {len(operands)} operands and cannot be counted; "
            "write it as products of two"
        )
    if not arrow:
        result = "".join(x for x in terms if terms.count(x) == 1)
    sizes = _axis_sizes(operands[0], get_shape(next(iter(inputs[1].node().inputs()))))
    summed = [size for x, size in sizes.items() if x in operands[1] and x not in result]
    return prod(get_shape(outputs[0])) * prod(summed) if summed else 0.0


def _axis_sizes(term: str, shape: list[int]) -> dict[str, int]:
    """Named axes of one operand -> their sizes, on both sides of an ellipsis."""
    before, _, after = term.partition("...")
    return dict(zip(before, shape, strict=False)) | dict(
        zip(reversed(after), reversed(shape), strict=False)
    )


def _recurrent(inputs: list[Any], outputs: list[Any]) -> float:
    """``lstm``, ``gru`` and ``rnn`` over (T, B, D) or (B, T, D): each weight once per element."""
    steps = prod(get_shape(inputs[0])[:-1])
    shapes = [get_shape(x) for x in inputs[2].node().inputs()]
    return steps * sum(prod(s) for s in shapes if len(s) == 2)


HANDLERS: dict[str, Handler] = {
    "aten::matmul": _product,
    "aten::mm": _product,
    "aten::bmm": _product,
    "aten::mv": _product,
    "aten::dot": _product,
    "aten::addmm": _product_after_bias,
    "aten::baddbmm": _product_after_bias,
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    "aten::lstm": _recurrent,
    "aten::gru": _recurrent,
    "aten::rnn_tanh": _recurrent,
    "aten::rnn_relu": _recurrent,
}
"""Added to fvcore's, or instead of one of its own that fails on vectors or rounds."""
