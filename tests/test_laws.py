"""Laws that every function of the library obeys, over one table of cases: a new function is one line of it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import entr
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
        rows: it is a function of examples, `(batch, *shape)`, and not of weights `(..., *shape)`.
    """

    function: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    oracle: Callable[[np.ndarray], float]
    degree: float | None
    atol: float = 1e-9
    summed: bool = False
    whole: bool = True
    rows: bool = False

    def of(self, one: Tensor) -> Tensor:
        """The number of a single weight or example."""
        return self.function(one[None])[0] if self.rows else self.function(one)


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


def wrapped(
    kernel: np.ndarray, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], groups: int = 1
) -> np.ndarray:
    """Matrix of a circular convolution, tap by tap: output o at stride · o sees input stride · o + dilation · k."""
    out, into, *taps = kernel.shape
    steps = [range(n // s) for n, s in zip(size, stride, strict=True)]
    matrix = np.zeros((out, *map(len, steps), into * groups, *size))
    for o, i in np.ndindex(out, into):
        channel = (o // (out // groups)) * into + i
        for at in product(*steps):
            for tap in np.ndindex(*taps):
                seen = [(s * a + d * k) % n for a, k, n, s, d in zip(at, tap, size, stride, dilation, strict=True)]
                matrix[(o, *at, channel, *seen)] += kernel[(o, i, *tap)]
    return matrix.reshape(out * prod(map(len, steps)), -1)


def filled(module: nn.Module, scale: float = 1.0) -> nn.Module:
    """In double precision, with random weights of this size, and statistics."""
    generator = torch.Generator().manual_seed(1)
    module = module.double()
    for tensor in module.parameters():
        tensor.data = scale * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    for name, tensor in module.named_buffers():
        if name == "running_var":
            tensor.copy_(1 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64))
    return module


def of_rows(function, module, shape, through=None, lost=0, whole=True) -> Case:
    """A case whose oracle is the Jacobian that autograd makes of the map itself, without its `lost` zero directions."""
    through = through or module

    def oracle(x: np.ndarray) -> float:
        with torch.enable_grad():
            one = torch.from_numpy(x)
            dense = torch.autograd.functional.jacobian(lambda x: through(x[None])[0], one)
        values = torch.linalg.svdvals(dense.reshape(-1, one.numel()))
        return float(values[: len(values) - lost].log().sum())

    def of(x: Tensor) -> Tensor:
        own = module if x.dtype == torch.float64 else copy.deepcopy(module).float()
        return function(own, x)

    return Case(of, shape, oracle, None, rows=True, whole=whole)


def beside(x: Tensor, inputs: int) -> Tensor:
    """The input of a recurrent cell beside the state x."""
    return torch.linspace(-1, 1, inputs, dtype=x.dtype, device=x.device).expand(len(x), -1)


def normal(x: Tensor) -> Tensor:
    return -x.square() / 2


def branches(module: nn.Module, x: np.ndarray) -> float:
    """The entropy of the branch by the definition: both inputs of each value, found by scipy, and their densities."""
    total = 0.0
    for one in x[x < 0]:
        value = float(module(torch.tensor(one)))
        turn = minimize_scalar(lambda t: float(module(torch.tensor(t))), bounds=(-3, 0), method="bounded").x

        def above(t, value=value):
            return float(module(torch.tensor(t, dtype=torch.float64))) - value

        twin = brentq(above, turn, 0, xtol=1e-15) if one < turn else brentq(above, -200, turn, xtol=1e-15)
        weights = []
        for root in (one, twin):
            at = torch.tensor(root, dtype=torch.float64, requires_grad=True)
            module(at).backward()
            weights.append(np.exp(-(root**2) / 2) / abs(float(at.grad)))
        shares = np.array(weights) / sum(weights)
        total += float(entr(shares).sum())
    return total


def attended(x: Tensor, causal: bool = False) -> Tensor:
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if causal else None
    return ATTENTION(x, x, x, attn_mask=mask, need_weights=False)[0]


BRANCH = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
LSTM, GRU, RNN = filled(nn.LSTMCell(2, 3)), filled(nn.GRUCell(2, 3)), filled(nn.RNNCell(2, 3))
ATTENTION = filled(nn.MultiheadAttention(4, 2, batch_first=True), 0.5)
ACTIVATIONS = {
    "LeakyReLU": nn.LeakyReLU(0.1), "ELU": nn.ELU(0.7), "Sigmoid": nn.Sigmoid(), "Tanh": nn.Tanh(),
    "Softplus": nn.Softplus(2.0), "GELU": nn.GELU(), "GELU by tanh": nn.GELU("tanh"), "SiLU": nn.SiLU(),
}  # fmt: skip

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
    "circular, strided and dilated": Case(
        lambda k: el.circular_conv_entropy_change(k, (4, 6), (2, 1), (1, 2), groups=2), (4, 1, 3, 2),
        lambda k: log_det(wrapped(k, (4, 6), (2, 1), (1, 2), groups=2)), 48,
    ),
    "circular, one dimension": Case(
        lambda k: el.circular_conv_entropy_change(k, (6,), 3), (2, 1, 5),
        lambda k: log_det(wrapped(k, (6,), (3,), (1,))), 4,
    ),
    "circular, three dimensions": Case(
        lambda k: el.circular_conv_entropy_change(k, (2, 3, 4)), (2, 2, 2, 1, 3),
        lambda k: log_det(wrapped(k, (2, 3, 4), (1, 1, 1), (1, 1, 1))), 48,
    ),
    "patches": Case(
        lambda k: el.circular_conv_entropy_change(k, (4, 6), 2), (4, 1, 2, 2),
        lambda k: log_det(wrapped(k, (4, 6), (2, 2), (1, 1))), 24,
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
    **{
        f"activation {name}": of_rows(el.activation_entropy_change, module, (5,))
        for name, module in ACTIVATIONS.items()
    },
    **{
        f"branches of {name}": Case(
            lambda x, module=module: el.branch_entropy(module, x, normal), (3,), partial(branches, module), None,
            rows=True, whole=False,
        )
        for name, module in {"GELU": nn.GELU(), "SiLU": nn.SiLU()}.items()
    },
    "BatchNorm in evaluation": of_rows(el.norm_entropy_change, filled(nn.BatchNorm2d(2, eps=0.1).eval()), (2, 3, 2)),
    "LayerNorm": of_rows(el.norm_entropy_change, filled(nn.LayerNorm((2, 3), eps=0.1)), (2, 2, 3), lost=2),
    "RMSNorm": of_rows(el.norm_entropy_change, filled(nn.RMSNorm(4, eps=0.1)), (2, 4)),
    "residual": of_rows(
        lambda f, x: el.residual_entropy_change(f, x).change, BRANCH, (4,), lambda x: x + BRANCH(x), whole=False
    ),
    "residual, series": of_rows(
        lambda f, x: el.residual_entropy_change(f, x, terms=40).change, BRANCH, (4,), lambda x: x + BRANCH(x),
        whole=False,
    ),
    "LSTM": of_rows(
        lambda cell, x: el.lstm_entropy_change(cell, beside(x, 2), (x[:, :3], x[:, 3:])), LSTM, (6,),
        lambda x: torch.cat(LSTM(beside(x, 2), (x[:, :3], x[:, 3:])), 1),
    ),
    "GRU": of_rows(
        lambda cell, x: el.gru_entropy_change(cell, beside(x, 2), x), GRU, (3,), lambda x: GRU(beside(x, 2), x)
    ),
    "RNN": of_rows(
        lambda cell, x: el.rnn_entropy_change(cell, beside(x, 2), x), RNN, (3,), lambda x: RNN(beside(x, 2), x)
    ),
    "attention": of_rows(el.attention_entropy_change, ATTENTION, (3, 4), attended),
    "causal attention": of_rows(
        partial(el.attention_entropy_change, causal=True), ATTENTION, (3, 4), partial(attended, causal=True)
    ),
    "any map": of_rows(el.jacobian_entropy_change, BRANCH, (4,), whole=False),
    "any narrowing map": of_rows(
        el.jacobian_entropy_change, nn.Sequential(BRANCH, nn.Linear(4, 2)).double(), (4,), whole=False
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
    assert float(case.of(one).detach()) == pytest.approx(expected, rel=1e-5, abs=case.atol)


@every_case
def test_its_gradient_is_that_of_finite_differences(name):
    case = CASES[name]
    assert torch.autograd.gradcheck(case.of, weights(case, 1, 3)[0].requires_grad_())


@every_case
def test_a_batch_is_a_loop(name):
    case = CASES[name]
    batch = weights(case, 6)
    loop = torch.stack([case.of(one) for one in batch])
    found = case.function(batch if case.rows else batch.reshape(2, 3, *case.shape))
    torch.testing.assert_close(found, loop.sum() if case.summed else loop if case.rows else loop.reshape(2, 3))


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
    single = case.of(one.float()).detach()
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(case.of(one).detach()), rel=1e-3, abs=1e-3)
    for dtype in (torch.float16, torch.bfloat16):
        half = one.to(dtype)
        assert torch.equal(case.of(half), case.of(half.float()))


@whole_cases
def test_it_compiles_without_a_break(name):
    case = CASES[name]
    (one,) = weights(case, 1)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(case.of, fullgraph=True, backend="aot_eager")(one), case.of(one))


@whole_cases
def test_vmap_is_a_loop(name):
    case = CASES[name]
    batch = weights(case, 4)
    torch.testing.assert_close(torch.vmap(case.of)(batch), torch.stack([case.of(one) for one in batch]))


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
