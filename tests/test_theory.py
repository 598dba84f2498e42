"""Every formula of `theory/` against an oracle that shares no code with it."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import entropy_lib as el

seeds = st.integers(0, 2**31)
dtypes = st.sampled_from([torch.float32, torch.float64])
sides = st.integers(1, 4)


def normal(seed: int, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def jacobian(function, size: tuple[int, ...]) -> torch.Tensor:
    """Dense matrix of a linear map of images, built by autograd."""
    image = torch.zeros(size, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(function, image)
    return matrix.reshape(-1, image.numel())


def tolerance(dtype) -> dict:
    return {"rtol": 2e-3, "atol": 2e-3} if dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-8}


@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), dtypes)
def test_dense_is_the_log_det_of_the_completion(seed, rows, columns, batch, dtype):
    weight = normal(seed, batch, rows, columns, dtype=dtype)
    completed = el.complete_dense(weight)
    assert completed.shape == (batch, max(rows, columns), max(rows, columns))
    expected = [np.log(abs(np.linalg.det(matrix.double().numpy()))) for matrix in completed]
    found = el.dense_entropy_change(weight)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), **tolerance(dtype))


@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_completion_keeps_the_weight_and_adds_a_unit_diagonal(seed, rows, columns):
    weight = normal(seed, rows, columns)
    completed = el.complete_dense(weight)
    assert torch.equal(completed[:rows, :columns], weight)
    rest = completed.clone()
    rest[:rows, :columns] = 0
    expected = torch.zeros_like(rest)
    for i in range(min(rows, columns), max(rows, columns)):
        expected[i, i] = 1
    assert torch.equal(rest, expected)


@given(seeds, sides, sides, st.integers(0, 3), st.integers(0, 3), dtypes)
def test_conv_matrix_is_the_jacobian_of_the_convolution(seed, p, q, more_l, more_w, dtype):
    kernel, size = normal(seed, p, q, dtype=dtype), (p + more_l, q + more_w)
    expected = jacobian(lambda image: F.conv2d(image[None, None], kernel.double()[None, None])[0, 0], size)
    torch.testing.assert_close(el.conv_matrix(kernel, size).double(), expected)


@given(seeds, sides, sides, st.integers(0, 2), st.integers(0, 2), dtypes)
def test_corollary_6_is_the_determinant_of_the_completed_matrix(seed, p, q, more_l, more_w, dtype):
    kernel, size = normal(seed, p, q, dtype=dtype), (p + more_l, q + more_w)
    completed = el.complete_conv(kernel, size)
    assert torch.equal(completed, completed.triu())
    # The convolution's own rows stand in it unchanged, in order.
    kept = [i * size[1] + j for i in range(more_l + 1) for j in range(more_w + 1)]
    assert torch.equal(completed[kept], el.conv_matrix(kernel, size))
    expected = np.linalg.slogdet(completed.double().numpy())[1]
    assert float(el.conv_entropy_change(kernel, size)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_gram_is_the_sum_over_all_minors(seed, small, large):
    small, large = sorted((small, large))
    weight = normal(seed, small, large)
    minors = [torch.linalg.det(weight[:, list(c)]) ** 2 for c in itertools.combinations(range(large), small)]
    expected = 0.5 * torch.stack(minors).sum().log()
    torch.testing.assert_close(el.gram_entropy_change(weight), expected)
    torch.testing.assert_close(el.gram_entropy_change(weight.T), expected)


@given(seeds, st.integers(1, 3), sides, sides, st.integers(0, 2), st.integers(0, 2))
def test_causal_convolution_against_its_dense_matrix(seed, channels, p, q, more_l, more_w):
    kernel, size = normal(seed, channels, channels, p, q), (p + more_l, q + more_w)
    causal = lambda image: F.conv2d(F.pad(image, (0, q - 1, 0, p - 1))[None], kernel)[0]  # noqa: E731
    expected = torch.linalg.slogdet(jacobian(causal, (channels, *size))).logabsdet
    torch.testing.assert_close(el.causal_conv_entropy_change(kernel, size), expected)


@given(seeds, st.integers(1, 3), st.integers(1, 3), sides, sides, st.integers(0, 2), st.integers(0, 2))
def test_circular_convolution_against_its_dense_matrix(seed, out, into, p, q, more_l, more_w):
    kernel, size = normal(seed, out, into, p, q), (p + more_l, q + more_w)
    circular = lambda image: F.conv2d(F.pad(image[None], (0, q - 1, 0, p - 1), mode="circular"), kernel)[0]  # noqa: E731
    matrix = jacobian(circular, (into, *size))
    expected = torch.linalg.svdvals(matrix).log().sum()
    torch.testing.assert_close(el.circular_conv_entropy_change(kernel, size), expected, rtol=1e-6, atol=1e-6)


def test_one_channel_may_be_written_without_channel_dimensions():
    kernel = normal(0, 3, 2)
    for change in (el.causal_conv_entropy_change, el.circular_conv_entropy_change):
        assert change(kernel, (5, 4)) == change(kernel[None, None], (5, 4))
        assert change(kernel[None, None].repeat(7, 1, 1, 1, 1), (5, 4)).shape == (7,)


CATALAN = 0.915965594177219
CLOSED_FORMS = {
    "1 + x + y (Smyth)": ([[1, 1], [1, 0]], 0.3230659472194505),
    "1 + x + 1/x + y + 1/y (Deninger)": ([[0, 1, 0], [1, 1, 1], [0, 1, 0]], 0.2513304337132522),
    "Laplacian": ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], 4 * CATALAN / math.pi),
    "box": ([[1, 1], [1, 1]], 0.0),
    "Sobel": ([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], 0.0),
    "one tap": ([[0, 0], [0, -3]], math.log(3)),
    "a row": ([[1, -2.5, 1]], math.log(2)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_mahler_measure_against_closed_forms(name):
    kernel, expected = CLOSED_FORMS[name]
    assert float(el.mahler_measure(torch.tensor(kernel, dtype=torch.float64))) == pytest.approx(expected, abs=1e-3)


@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_mahler_measure_lies_between_corner_and_norm(seed, p, q):
    kernel = normal(seed, p, q)
    corners = kernel[[0, 0, -1, -1], [0, -1, 0, -1]].abs().log().max()
    measure = el.mahler_measure(kernel)
    assert corners - 1e-3 <= measure <= kernel.norm().log() + 1e-3


@given(seeds, st.integers(1, 3), st.integers(1, 3))
def test_circular_change_per_pixel_tends_to_the_mahler_measure(seed, p, q):
    kernel = normal(seed, p, q)
    kernel[0, 0] = 1.5 * kernel.abs().sum()  # dominant tap: no zero on the torus, exponential convergence
    per_pixel = el.circular_conv_entropy_change(kernel, (48, 48)) / 48**2
    measure = el.mahler_measure(kernel)
    torch.testing.assert_close(per_pixel, measure, rtol=0, atol=1e-8)
    torch.testing.assert_close(measure, kernel[0, 0].log(), rtol=0, atol=1e-9)  # Jensen: no zero in the bidisc


def test_mahler_measure_of_nothing_is_minus_infinity():
    assert el.mahler_measure(torch.zeros(2, 3, 3)).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("complete", [el.complete_dense, lambda kernel: el.complete_conv(kernel, (3, 4))])
def test_completions_have_gradients(complete):
    assert torch.autograd.gradcheck(lambda weight: complete(weight).sin(), normal(3, 2, 3).requires_grad_())


def test_singular_is_minus_infinity_and_never_nan():
    assert el.dense_entropy_change(torch.zeros(2, 3, 5)).tolist() == [-math.inf, -math.inf]
    assert el.dense_entropy_change(torch.tensor([[1.0, 2.0], [2.0, 4.0]])) == -math.inf
    assert el.gram_entropy_change(torch.zeros(2, 3)) == -math.inf
    assert el.conv_entropy_change(torch.zeros(3, 3), (3, 3)) == -math.inf
    assert el.causal_conv_entropy_change(torch.zeros(2, 2, 3, 3), (3, 3)) == -math.inf
    laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    assert el.circular_conv_entropy_change(laplacian, (8, 8)) == -math.inf


def test_strange_sizes():
    one = torch.tensor([[3.0]])
    assert el.conv_entropy_change(one, (1, 1)) == pytest.approx(math.log(3))
    assert torch.equal(el.conv_matrix(one, (2, 2)), 3 * torch.eye(4))
    whole = torch.arange(1.0, 7).reshape(2, 3)
    assert el.conv_matrix(whole, (2, 3)).tolist() == [whole.flatten().tolist()]
    assert float(el.conv_entropy_change(whole, (2, 3))) == 0.0


REFUSALS = {
    "a list": (lambda: el.dense_entropy_change([[1.0]]), TypeError, "torch.Tensor"),
    "integers": (lambda: el.dense_entropy_change(torch.eye(2).long()), TypeError, "int64"),
    "complex": (lambda: el.mahler_measure(torch.eye(2).cfloat()), TypeError, "complex64"),
    "a vector": (lambda: el.dense_entropy_change(torch.ones(3)), ValueError, r"\(\.\.\., N, d\), got \(3,\)"),
    "NaN": (lambda: el.gram_entropy_change(torch.tensor([[math.nan]])), ValueError, "NaN"),
    "empty": (lambda: el.dense_entropy_change(torch.ones(0, 3)), ValueError, "empty"),
    "kernel too large": (lambda: el.conv_entropy_change(torch.ones(3, 3), (2, 5)), ValueError, "3x3 .* 2x5"),
    "size": (
        lambda: el.conv_matrix(torch.ones(3, 3), 5),
        ValueError,
        r"input_size \(l, w\) must be a pair of whole numbers",
    ),
    "three dimensions": (lambda: el.circular_conv_entropy_change(torch.ones(2, 3, 3), (4, 4)), ValueError, "out, in"),
    "out != in": (lambda: el.causal_conv_entropy_change(torch.ones(2, 1, 3, 3), (4, 4)), ValueError, "out = in"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_was_expected(name):
    call, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        call()


def test_large_batches_survive_several_threads():
    """Batched LU in torch's CPU threads is wrong above n = 150 or so; ours must not be."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        weight = normal(9, 4, 200, 210).requires_grad_()
        found = el.dense_entropy_change(weight)
        found.sum().backward()
    finally:
        torch.set_num_threads(threads)
    square = weight.detach().numpy()[:, :, :200]
    np.testing.assert_allclose(found.detach().numpy(), np.linalg.slogdet(square)[1])
    np.testing.assert_allclose(weight.grad[:, :, :200].numpy(), np.linalg.inv(square).swapaxes(1, 2), atol=1e-8)


def on_a_grid(kernel, size=512):
    """The mean of log|ĉ| over a fine grid: the definition, without Jensen's formula."""
    return torch.fft.fft2(kernel.double(), s=(size, size + 1)).abs().log().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [-300, -60, -36, -20, -14, -8, -3, 0, 20])
def test_mahler_measure_survives_a_column_of_any_scale(exponent, dtype):
    kernel = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for columns in ([3], [0], [0, 3]):
        scaled = kernel.clone()
        scaled[:, columns] *= 10.0**exponent
        scaled = scaled.to(dtype)
        if not torch.isfinite(scaled).all():
            continue
        measure = el.mahler_measure(scaled, points=512)
        torch.testing.assert_close(measure.double(), on_a_grid(scaled), atol=0.02, rtol=0)
        corners = scaled[[0, 0, -1, -1], [0, -1, 0, -1]].double().abs().log().max()
        assert corners - 1e-2 <= measure <= scaled.double().norm().log() + 1e-6


@given(seed=seeds, p=st.integers(1, 4), q=st.integers(1, 4), scale=st.sampled_from([1e-30, 1e-3, 7.0, 1e30]))
def test_mahler_measure_has_the_symmetries_of_the_torus(seed, p, q, scale):
    kernel = normal(seed, p, q, dtype=torch.float64)
    measure = el.mahler_measure(kernel, points=512)
    for other in (kernel.flip(0), kernel.flip(1), -kernel):
        torch.testing.assert_close(el.mahler_measure(other, points=512), measure, atol=1e-9, rtol=0)
    torch.testing.assert_close(el.mahler_measure(kernel.mT, points=512), measure, atol=0.02, rtol=0)
    scaled = el.mahler_measure(scale * kernel, points=512)
    torch.testing.assert_close(scaled, measure + math.log(scale), atol=1e-9, rtol=0)


@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_the_completed_matrix_is_that_of_equations_16_and_17_block_by_block(seed, p, q, more_rows, more_columns):
    kernel, length, width = normal(seed, p, q), p + more_rows, q + more_columns

    def shift(rows, columns, by):
        return np.eye(rows, columns, by)

    upper = 0
    for k in range(p):
        block = sum(float(kernel[k, m]) * shift(width - q + 1, width, m) for m in range(q))
        square = np.vstack([block, shift(q - 1, width, width - q + 1)])  # Eq. 16: (0 I) below every block
        upper = upper + np.kron(shift(length - p + 1, length, k), square)
    whole = np.vstack([upper, shift((p - 1) * width, length * width, (length - p + 1) * width)])  # Eq. 17
    np.testing.assert_allclose(el.complete_conv(kernel, (length, width)).numpy(), whole, atol=1e-12)
