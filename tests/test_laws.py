"""Laws that every function of the library obeys, over one table of cases: a new function is one line of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import entropy_lib as el


@dataclass(frozen=True)
class Case:
    """A function of weights `(..., *shape)`, and what an account that owes it nothing says of one weight.

    Args:
        function: to one number for each weight, or to their sum where `summed`.
        shape: of one weight.
        oracle: the same number of one weight in float64, from a dense matrix or a definition.
        degree: multiplying the weight by s adds degree · log s; None where it does not.
        atol: how near the oracle is.
        whole: it compiles without a break and is mapped by vmap; functions that look at numbers are not.
    """

    function: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    oracle: Callable[[np.ndarray], float]
    degree: float | None
    atol: float = 1e-9
    summed: bool = False
    whole: bool = True


def log_det(matrix: np.ndarray) -> float:
    """log|det|; of a matrix that is not square the log of its volume, from singular values."""
    if matrix.shape[0] == matrix.shape[1]:
        return float(np.linalg.slogdet(matrix)[1])
    return float(np.log(np.linalg.svd(matrix, compute_uv=False)).sum())


def completed(weight: np.ndarray) -> np.ndarray:
    """Theorem 3's W': the weight, and a unit diagonal where it ends."""
    size = max(weight.shape)
    whole = np.eye(size)
    whole[: weight.shape[0], : weight.shape[1]] = weight
    return whole


def corner(kernel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """C'_M as in Eqs. 16 and 17, block by block: B'_k is filled up by the identity in the first block column alone."""
    (p, q), (length, width) = kernel.shape, size
    rows, columns = length - p + 1, width - q + 1
    blocks = [sum(kernel[k, m] * np.eye(columns, width, m) for m in range(q)) for k in range(p)]
    whole = np.eye(length * width)
    at = 0
    for i in range(rows):
        for k in range(p):
            whole[at : at + columns, (i + k) * width : (i + k + 1) * width] = blocks[k]
        at += columns
    # The rows above are C_M; the order of the others does not change |det|. What fills up are unit vectors
    # for the columns in which no first tap stands.
    led = {i * width + j for i in range(rows) for j in range(columns)}
    for column in sorted(set(range(length * width)) - led):
        whole[at] = np.eye(length * width)[column]
        at += 1
    return whole


def jacobian(layer: Callable[[Tensor], Tensor], channels: int, size: tuple[int, int]) -> np.ndarray:
    """Dense matrix of a linear map of images."""
    units = torch.eye(channels * size[0] * size[1], dtype=torch.float64).reshape(-1, channels, *size)
    return layer(units).flatten(1).T.numpy()


def padded(kernel: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Matrix of a convolution whose image is padded below and to the right."""
    taps = torch.from_numpy(kernel)
    into, p, q = taps.shape[1:]
    return jacobian(lambda image: F.conv2d(F.pad(image, (0, q - 1, 0, p - 1), mode=mode), taps), into, size)


def on_a_grid(kernel: np.ndarray) -> float:
    """The mean of log|ĉ| over a fine grid, the definition of the Mahler measure."""
    return float(np.log(np.abs(np.fft.fft2(kernel, s=(509, 512)))).mean())


CASES = {
    "dense wide": Case(el.dense_entropy_change, (3, 5), lambda w: log_det(completed(w)), 3),
    "dense tall": Case(el.dense_entropy_change, (5, 3), lambda w: log_det(completed(w)), 3),
    "conv": Case(lambda k: el.conv_entropy_change(k, (5, 6)), (3, 2), lambda k: log_det(corner(k, (5, 6))), 15),
    "gram wide": Case(el.gram_entropy_change, (2, 4), log_det, 2),
    "gram tall": Case(el.gram_entropy_change, (4, 2), log_det, 2),
    "causal": Case(
        lambda k: el.causal_conv_entropy_change(k, (4, 5)), (2, 2, 3, 2),
        lambda k: log_det(padded(k, (4, 5), "constant")), 40,
    ),
    "circular": Case(
        lambda k: el.circular_conv_entropy_change(k, (4, 5)), (2, 2, 3, 2),
        lambda k: log_det(padded(k, (4, 5), "circular")), 40,
    ),
    "circular wide": Case(
        lambda k: el.circular_conv_entropy_change(k, (4, 5)), (1, 2, 3, 2),
        lambda k: log_det(padded(k, (4, 5), "circular")), 20,
    ),
    "mahler": Case(lambda k: el.mahler_measure(k, 512), (3, 3), on_a_grid, 1, atol=0.02, whole=False),
    "dense loss": Case(el.DenseEntropyLoss(0.5), (3, 5), lambda w: -0.5 * log_det(completed(w)), -1.5, summed=True),
    "dense loss, reciprocal": Case(
        el.DenseEntropyLoss(0.5, "reciprocal", 0.1), (3, 3), lambda w: 0.5 / (np.exp(log_det(w)) + 0.1), None,
        summed=True,
    ),
    "conv loss": Case(
        el.ConvEntropyLoss(0.5), (2, 3, 3, 2), lambda k: -0.5 * np.log(np.abs(k[..., 0, 0])).sum(), -3, summed=True
    ),
    "conv loss, reciprocal": Case(
        el.ConvEntropyLoss(0.5, "reciprocal", 0.1), (2, 3, 3, 2),
        lambda k: (0.5 / (np.abs(k[..., 0, 0]) + 0.1)).sum(), None, summed=True,
    ),
}  # fmt: skip
every_case = pytest.mark.parametrize("name", CASES)
whole_cases = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.whole])


def weights(case: Case, count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *case.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_case
@settings(deadline=None)
@given(seed=st.integers(0, 2**31))
def test_its_value_is_that_of_the_oracle(name, seed):
    case = CASES[name]
    (one,) = weights(case, 1, seed)
    expected = case.oracle(one.numpy())
    # Near a singular matrix a dense account loses its digits; the last digits of the weight then decide its first.
    assume(abs(case.oracle(one.numpy() * (1 + 1e-12 * np.arange(one.numel()).reshape(one.shape))) - expected) < 1e-7)
    assert float(case.function(one)) == pytest.approx(expected, rel=1e-5, abs=case.atol)


@every_case
def test_its_gradient_is_that_of_finite_differences(name):
    case = CASES[name]
    assert torch.autograd.gradcheck(case.function, weights(case, 1, 3)[0].requires_grad_())


@every_case
def test_a_batch_is_a_loop(name):
    case = CASES[name]
    batch = weights(case, 6).reshape(2, 3, *case.shape)
    loop = torch.stack([case.function(one) for one in batch.flatten(0, 1)])
    found = case.function(batch)
    torch.testing.assert_close(found, loop.sum() if case.summed else loop.reshape(2, 3))


@every_case
def test_scaling_adds_its_degree_times_the_logarithm(name):
    case = CASES[name]
    (one,) = weights(case, 1, 5)
    for scale in (1e-6, 3.0, 1e6) if case.degree is not None else ():
        expected = case.function(one) + case.degree * np.log(scale)
        torch.testing.assert_close(case.function(scale * one), expected)


@every_case
def test_its_numbers_are_those_of_its_dtype_and_half_is_computed_in_float32(name):
    case = CASES[name]
    (one,) = weights(case, 1, 7)
    single = case.function(one.float())
    assert single.dtype == torch.float32 and float(single) == pytest.approx(
        float(case.function(one)), rel=1e-3, abs=1e-3
    )
    for dtype in (torch.float16, torch.bfloat16):
        half = one.to(dtype)
        assert torch.equal(case.function(half), case.function(half.float()))


@whole_cases
def test_it_compiles_without_a_break(name):
    case = CASES[name]
    (one,) = weights(case, 1)
    torch.testing.assert_close(
        torch.compile(case.function, fullgraph=True, backend="aot_eager")(one), case.function(one)
    )


@whole_cases
def test_vmap_is_a_loop(name):
    case = CASES[name]
    batch = weights(case, 4)
    torch.testing.assert_close(torch.vmap(case.function)(batch), torch.stack([case.function(one) for one in batch]))


@every_case
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_it_stays_on_its_device(name):
    case = CASES[name]
    (one,) = weights(case, 1)
    found = case.function(one.cuda())
    assert found.is_cuda and float(found) == pytest.approx(float(case.function(one)), rel=1e-6)


def taps(kernel: np.ndarray) -> float:
    return float(-np.log(np.abs(kernel[..., 0, 0])).sum())


# A kind of layer is a line: a module, and what its term with λ = 1 is, of the weight as the module stores it.
LAYERS = {
    "linear": (nn.Linear(5, 3), lambda weight: -log_det(completed(weight))),
    "convolution": (nn.Conv2d(4, 6, (3, 2), groups=2), taps),
    "transposed convolution": (nn.ConvTranspose2d(4, 6, (3, 2), groups=2), taps),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_read_as_what_it_is(name):
    module, oracle = LAYERS[name]
    module = module.double()
    guidance, weight = el.EntropyGuidance(module, {"": 1.0}), module.weight.detach()
    assert float(guidance().detach()) == pytest.approx(oracle(weight.numpy()))
    assert torch.autograd.gradcheck(lambda w: guidance({"weight": w}), weight.clone().requires_grad_())
    torch.testing.assert_close(torch.compile(guidance, fullgraph=True, backend="aot_eager")(), guidance())
    both = torch.vmap(lambda w: guidance({"weight": w}))(torch.stack([weight, 2 * weight]))
    torch.testing.assert_close(both[1], guidance({"weight": 2 * weight}))
