"""Self-attention: the Jacobian in blocks of tokens, and its determinant."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from entropy_lib.theory.checks import checked, lifted
from entropy_lib.theory.linalg import log_abs_det
from entropy_lib.weights import read


def attention_entropy_change(module: nn.MultiheadAttention, x: Tensor, causal: bool = False) -> Tensor:
    r"""Volume change of self-attention over n tokens of d entries, example by example.

    Summed over heads, with :math:`A_{ij}` the attention of token i to token j, :math:`q, k, v` queries, keys and
    values, :math:`\bar v_i = \sum_j A_{ij}v_j` and :math:`e` the width of a head, output i depends on token j by

    .. math:: J_{ij} = W_O\Bigl[A_{ij}W_V + \tfrac1{\sqrt e}A_{ij}(v_j-\bar v_i)\,q_i^{\mathsf T}W_K
              + \tfrac{\delta_{ij}}{\sqrt e}\sum_m A_{im}(v_m-\bar v_i)\,k_m^{\mathsf T}W_Q\Bigr] .

    The number is log|det J| of all blocks. With a causal mask J is block triangular, and
    :math:`\sum_i\log|\det J_{ii}|` takes n determinants of d x d instead of one of nd x nd.

    Attention need not be injective: the mean over data is an upper bound. A single head that is narrower than the
    token has no full rank, several heads together may have it.

    Args:
        module: `torch.nn.MultiheadAttention` whose queries, keys and values come from the same tokens. Its weights are
            read; its dropout, and whether it takes the batch first, play no part.
        x: `(batch, n, d)`, the tokens.
        causal: a token attends to itself and to earlier ones only.

    Returns:
        `(batch,)`, in nats. Half precision is computed and returned in float32.

    Raises:
        TypeError: another module, or `x` is not a real floating-point tensor.
        ValueError: `x` is not finite or does not fit; keys or values of another width, appended keys.

    Source: the block formula of the chapter on attention.

    >>> attention = nn.MultiheadAttention(1, 1, bias=False)
    >>> attention.in_proj_weight.data = torch.tensor([[0.0], [0.0], [2.0]])  # no query, no key: equal weights
    >>> attention.out_proj.weight.data = torch.ones(1, 1)
    >>> attention_entropy_change(attention, torch.rand(1, 2, 1), causal=True).exp().detach()  # 2 x 2/2
    tensor([2.])
    """
    x = _checked(module, x)
    parts = _parts(module, x, causal)
    if causal:
        return log_abs_det(_diagonal(*parts, *_weights(module))).sum(1)
    blocks = _blocks(*parts, *_weights(module))
    return log_abs_det(blocks.transpose(2, 3).flatten(3).flatten(1, 2))


def _checked(module: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(module, nn.MultiheadAttention):
        raise TypeError(f"the module must be a torch.nn.MultiheadAttention, got {type(module).__name__}")
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise ValueError(
            "self-attention has keys and values of the tokens' own width and number (kdim, bias_k, add_zero_attn)"
        )
    x = checked(x, "x", "(batch, n, d)")
    if x.shape[2] != module.embed_dim:
        raise ValueError(f"x must have shape (batch, n, {module.embed_dim}), got {tuple(x.shape)}")
    return x


def _weights(module: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W_Q, W_K, W_V as `(head, e, d)` and W_O as `(head, d, e)`."""
    stacked = lifted(read(module, "in_proj_weight")).unflatten(0, (3, module.num_heads, -1))
    out = lifted(read(module.out_proj, "weight")).unflatten(1, (module.num_heads, -1)).transpose(0, 1)
    return (*stacked.unbind(0), out)


def _parts(module: nn.MultiheadAttention, x: Tensor, causal: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attention `(batch, head, n, n)`, scaled queries and keys, values minus their means `(batch, head, i, j, e)`."""
    bias = None if module.in_proj_bias is None else lifted(read(module, "in_proj_bias"))
    projected = linear(x, lifted(read(module, "in_proj_weight")), bias)
    # (part, batch, head, token, e)
    q, k, v = projected.unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scale = q.shape[-1] ** -0.5
    scores = q @ k.mT * scale
    if causal:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    weights = scores.softmax(-1)
    centred = v[:, :, None] - (weights @ v)[:, :, :, None]
    return weights, q * scale, k * scale, centred


def _own(a: Tensor, k: Tensor, centred: Tensor, w_q: Tensor) -> Tensor:
    """What token i does to its own output as a query, `(batch, head, n, e, d)`."""
    return torch.einsum("bhim,bhime,bhmf,hfd->bhied", a, centred, k, w_q)


def _diagonal(
    a: Tensor, q: Tensor, k: Tensor, centred: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor
) -> Tensor:
    """The blocks J_ii, `(batch, n, d, d)`."""
    weight = a.diagonal(dim1=2, dim2=3)
    itself = centred.diagonal(dim1=2, dim2=3).mT  # (batch, head, n, e)
    inner = weight[..., None, None] * (
        w_v[:, None] + itself[..., None] * torch.einsum("bhie,hed->bhid", q, w_k)[..., None, :]
    )
    return torch.einsum("hde,bhief->bidf", w_o, inner + _own(a, k, centred, w_q))


def _blocks(
    a: Tensor, q: Tensor, k: Tensor, centred: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor
) -> Tensor:
    """All blocks J_ij, `(batch, i, j, d, d)`."""
    as_key = torch.einsum("bhie,hed->bhid", q, w_k)
    inner = a[..., None, None] * (w_v[:, None, None] + centred[..., None] * as_key[:, :, :, None, None])
    own = torch.diag_embed(_own(a, k, centred, w_q).permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 5, 2, 3)
    return torch.einsum("hde,bhijef->bijdf", w_o, inner + own)
