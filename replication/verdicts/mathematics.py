"""Decisions on the paper's mathematical statements, each a small computation that can fail.

Every check returns `(verdict, note)`. The derivation chapters prove what these confirm.
"""

import itertools
import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import AfterValidator
from torch.nn import functional as F

from entropy_lib.guidance import ConvEntropyLoss
from entropy_lib.layers import dense_penalty
from entropy_lib.theory.change import conv_entropy_change, dense_entropy_change
from entropy_lib.theory.completion import complete_conv, complete_dense, conv_matrix
from replication.sweep.store import Store
from replication.verdicts.verdict import Checks, Status, Test, Verdict

Decision = tuple[Status, str]
CHECKS = Checks()


def _normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian_entropy(covariance: torch.Tensor) -> float:
    """Entropy of a Gaussian in nats, ½ log det(2πe Σ)."""
    n = covariance.shape[0]
    return 0.5 * (n * math.log(2 * math.pi * math.e) + float(torch.linalg.slogdet(covariance).logabsdet))


def holds_if(true: bool, note: str) -> Decision:
    return ("holds" if true else "fails"), note


@CHECKS.register
def theorem_2() -> Decision:
    """Gaussian entropies before and after a random invertible W."""
    worst = 0.0
    for n in range(1, 7):
        root, weight = _normal(n, n, n), _normal(n + 50, n, n)
        before, after = root @ root.T, weight @ root @ root.T @ weight.T
        change = gaussian_entropy(after) - gaussian_entropy(before)
        worst = max(worst, abs(change - math.log(abs(np.linalg.det(weight.numpy())))))
    return holds_if(worst < 1e-8, f"closed-form Gaussian entropies agree to {worst:.0e} nats for d = 1 ... 6")


@CHECKS.register
def determinant_of_completion() -> Decision:
    shapes = list(itertools.product(range(1, 7), repeat=2))
    worst = 0.0
    for rows, columns in shapes:
        weight = _normal(rows * 10 + columns, rows, columns)
        whole = np.linalg.slogdet(complete_dense(weight).numpy())[1]
        worst = max(worst, abs(whole - float(dense_entropy_change(weight))))
    return holds_if(worst < 1e-8, f"log|det W'| = log|det W| for {len(shapes)} shapes to {worst:.0e}")


@CHECKS.register
def theorem_3() -> Decision:
    """Gaussian entropies of W'X where W' can act on X: it has max(N, d) columns, and X has d entries."""
    d, worst, undefined = 3, 0.0, []
    for rows in (2, 3, 4):
        weight = _normal(rows, rows, d)
        completed = complete_dense(weight)
        if completed.shape[1] != d:
            undefined.append(f"N = {rows}")
            continue
        change = gaussian_entropy(completed @ completed.T) - gaussian_entropy(torch.eye(d, dtype=torch.float64))
        worst = max(worst, abs(change - float(dense_entropy_change(weight))))
    if worst > 1e-8:
        return "fails", f"Gaussian entropies differ by {worst:.0e} nats"
    if undefined:
        return "partly", f"true for N ≤ d (to {worst:.0e} nats); with d = {d} and {undefined[0]}, W' cannot act on X"
    return "holds", f"Gaussian entropies agree to {worst:.0e} nats"


@CHECKS.register
def positive_determinant() -> Decision:
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = float(torch.linalg.det(swap))
    return holds_if(found > 0, f"exchanging two coordinates is invertible and has determinant {found:g}")


@CHECKS.register
def dense_layer_propagation() -> Decision:
    """H(VX) of the layer's own output against H(W'X), for a Gaussian X, N = d and N < d."""
    own, claimed = {}, {}
    for rows in (5, 2):
        weight = _normal(1, rows, 5)
        own[rows] = gaussian_entropy(weight @ weight.T) - gaussian_entropy(torch.eye(5, dtype=torch.float64))
        claimed[rows] = float(dense_entropy_change(weight))
    equal = [abs(own[rows] - claimed[rows]) < 1e-6 for rows in own]
    note = f"equal for a square layer; 2 x 5 layer, standard normal X: H(VX) - H(X) = {own[2]:.2f} nats, the theorem's "
    return "holds" if all(equal) else "partly" if equal[0] else "fails", f"{note}term is {claimed[2]:.2f}"


@CHECKS.register
def convolution_as_matrix() -> Decision:
    worst = 0.0
    for p, q in itertools.product(range(1, 4), repeat=2):
        kernel, image = _normal(p * 10 + q, p, q), _normal(99, 4, 5)
        direct = F.conv2d(image[None, None], kernel[None, None]).flatten()
        worst = max(worst, float((conv_matrix(kernel, (4, 5)) @ image.flatten() - direct).abs().max()))
    return holds_if(worst < 1e-10, f"C_M X_F equals the convolution to {worst:.0e} for nine filter shapes")


@CHECKS.register
def determinant_of_conv_completion() -> Decision:
    worst, count = 0.0, 0
    for p, q, more_l, more_w in itertools.product(range(1, 4), range(1, 4), range(3), range(3)):
        kernel, size = _normal(count, p, q), (p + more_l, q + more_w)
        whole = np.linalg.slogdet(complete_conv(kernel, size).numpy())[1]
        worst, count = max(worst, abs(whole - float(conv_entropy_change(kernel, size)))), count + 1
    return holds_if(worst < 1e-8, f"log|det C'_M| = (l-p+1)(w-q+1) log|c11| for {count} shapes to {worst:.0e}")


@CHECKS.register
def convolution_entropy() -> Decision:
    """Sobel's filter, whose first entry is 1: the output is smaller than X, with an entropy of its own."""
    sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], dtype=torch.float64)
    matrix = conv_matrix(sobel, (5, 5))
    own = gaussian_entropy(matrix @ matrix.T) - gaussian_entropy(torch.eye(25, dtype=torch.float64))
    claimed = float(conv_entropy_change(sobel, (5, 5)))
    note = (
        f"Sobel's filter, 5 x 5 image: H(C*X) - H(X) = {own:.2f} nats for standard normal X, Eq. 18 gives {claimed:.0f}"
    )
    return holds_if(abs(own - claimed) < 1e-6, note)


@CHECKS.register
def output_from_completion() -> Decision:
    """Can C'_M X_F be reshaped to (l-p+1) x (w-q+1)?"""
    kernel = _normal(5, 3, 2)
    rows = complete_conv(kernel, (4, 4)).shape[0]
    return holds_if(rows == 2 * 3, f"Example 5: C'_M X_F has {rows} entries, the output has 6")


@CHECKS.register
def several_channels() -> Decision:
    """Is a convolution over three channels the same as parallel one-channel convolutions?"""
    image, kernel = _normal(6, 1, 3, 4, 4), _normal(7, 1, 3, 2, 2)
    joint = F.conv2d(image, kernel)
    parallel = F.conv2d(image, kernel.transpose(0, 1), groups=3)
    note = (
        f"3 input channels: the layer gives {joint.shape[1]} map, a sum; parallel convolutions give {parallel.shape[1]}"
    )
    return holds_if(joint.shape == parallel.shape, note)


def _change_after_step(coefficient: float) -> float:
    weight = _normal(8, 4, 4).requires_grad_()
    before = dense_entropy_change(weight)
    (gradient,) = torch.autograd.grad(coefficient * dense_penalty(weight, "log", 0.0), weight)
    return float(dense_entropy_change(weight.detach() - 1e-4 * gradient) - before.detach())


@CHECKS.register
def dense_sign() -> Decision:
    """§4.1: does λ1 > 0 in Eq. 21 make weights reduce entropy?"""
    change = _change_after_step(1.0)
    return holds_if(change < 0, f"one descent step with λ = 1 changes log|det W| by {change:+.1e}")


@CHECKS.register
def conv_sign() -> Decision:
    """§4.2: λ > 0 preserves, λ < 0 suppresses; one descent step on the convolutional loss."""
    changes = []
    for coefficient in (1.0, -1.0):
        kernel = _normal(9, 2, 2, 3, 3).requires_grad_()
        (gradient,) = torch.autograd.grad(ConvEntropyLoss(coefficient)(kernel), kernel)
        before = kernel.detach()[..., 0, 0].abs().log()
        after = (kernel.detach() - 1e-4 * gradient)[..., 0, 0].abs().log()
        changes.append(float((after - before).sum()))
    up, down = changes
    return holds_if(up > 0 > down, f"one descent step changes Σ log|c11| by {up:+.1e} (λ = 1) and {down:+.1e} (λ = -1)")


@CHECKS.register
def similar_near_zero() -> Decision:
    """Fig. 2: do -log x and 1/(x+ε) 'behave similarly near 0'? "But", it goes on, one of them does not explode."""
    grid = np.logspace(-300, 0, 30_001)[:-1]
    ratio = -np.log(grid) * (grid + 0.5)
    alike = grid[(ratio > 0.5) & (ratio < 2)]
    note = f"within a factor of 2 for x from {alike[0]:.2g} to {alike[-1]:.2g}; (-log x)/(1/(x+0.5)) is "
    note += ", ".join(f"{-math.log(x) * (x + 0.5):.0f} at {x:.0e}" for x in (1e-3, 1e-30, 1e-300))
    return "holds" if alike[0] == grid[0] else "partly" if alike[0] < 0.1 else "fails", note


@CHECKS.register
def proportionality() -> Decision:
    """Is the factor the *difference* of image and filter sizes?"""
    kernel = torch.full((3, 3), math.e, dtype=torch.float64)
    factor = float(conv_entropy_change(kernel, (3, 3)))
    return holds_if(
        factor == 0, f"with equal sizes the difference is 0 and the factor {factor:g}: differences plus one"
    )


@CHECKS.register
def exponential_divergence() -> Decision:
    """-log x → ∞ 'exponentially': does it outgrow even a small power of 1/x?"""
    x = 1e-300
    ratio = -math.log(x) / x**-0.1
    return holds_if(ratio > 1, f"at x = 1e-300, -log x is {-math.log(x):.0f} and x^-0.1 already {x**-0.1:.1g}")


@CHECKS.register
def larger_derivative() -> Decision:
    """|d/dx 1/(x+ε)| against |d/dx log x| towards 0, for Fig. 2's ε and for a practical one."""
    grid = np.logspace(-9, 0, 400)[:-1]
    larger = {eps: grid[1 / (grid + eps) ** 2 > 1 / grid] for eps in (0.0, 0.5, 1e-3)}
    # The two are equal where (x + ε)² = x.
    high = (1 - 2e-3 + np.sqrt(1 - 4e-3)) / 2
    low = 1e-6 / high
    inside = (larger[1e-3] > low) & (larger[1e-3] < high)
    if len(larger[0.0]) == len(grid) and not len(larger[0.5]) and len(inside) and inside.all():
        return (
            "partly",
            f"true of 1/x; of 1/(x+ε) never for Fig. 2's ε = 0.5, and for ε = 0.001 only from {low:.0e} to {high:.3f}",
        )
    return holds_if(all(len(found) == len(grid) for found in larger.values()), "for every ε, down to 0")


@CHECKS.register
def reciprocal_gradient() -> Decision:
    """The gradient of Eqs. 24 and 25 over that of the logarithm, at PyTorch's default initialisation, float32."""
    dense = {}
    for d in range(20, 261, 40):
        with torch.random.fork_rng():
            torch.manual_seed(d)
            weight = torch.nn.Linear(784, d).weight
        first, second = (torch.autograd.grad(dense_penalty(weight, form, 1e-3), weight)[0].norm()
                         for form in ("reciprocal", "log"))  # fmt: skip
        dense[d] = float(first / second)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        taps = torch.nn.Conv2d(3, 64, 3).weight[..., 0, 0].detach().abs()
    conv = taps / (taps + 1e-3) ** 2
    larger = sum(ratio > 1 for ratio in dense.values())
    dead = [d for d, ratio in dense.items() if ratio == 0]
    note = (
        f"by {float(conv.median()):.0f} (median) for the first taps of 3 x 3 filters; of dense layers {larger} of 7: "
    )
    note += f"{dense[20]:.0e} of the logarithm's at d = 20, exactly 0 at d = {', '.join(map(str, dead))}"
    amplified = [bool((conv > 1).all()), larger == len(dense)]
    return "holds" if all(amplified) else "partly" if any(amplified) else "fails", note


@CHECKS.register
def bounded_reciprocal() -> Decision:
    singular = torch.zeros(3, 3)
    value = float(dense_penalty(singular, "reciprocal", 1e-3))
    return holds_if(math.isfinite(value), f"at a singular matrix the loss is 1/ε = {value:g}")


@CHECKS.register
def cheap_in_comparison() -> Decision:
    """Multiplications: one LU of the square part against one nearest-neighbour search among samples."""
    sizes = {"the paper's autoencoder": (260, 784), "a dense layer of VGG-16": (4096, 4096)}
    cheaper = {
        (name, samples): samples**2 / 2 * inputs / (k**3 / 3)
        for name, (k, inputs) in sizes.items()
        for samples in (10_000, 128)
    }
    met = sum(ratio >= 10 for ratio in cheaper.values())
    spans = [f"{name}, {samples} samples: {ratio:.2g} times" for (name, samples), ratio in cheaper.items()]
    note = f"the search takes, for {'; '.join(spans)} as many"
    return "holds" if met == len(cheaper) else "partly" if met else "fails", note


class Mathematics(Test):
    """A check by its name.

    Args:
        proved: whether the book proves what the check computes; some rest on a step that is not proved, or on values of
            a grid alone.
    """

    kind: Literal["mathematics"]
    check: Annotated[str, AfterValidator(CHECKS.known)]
    proved: bool = True

    def decide(self, store: Store) -> Verdict:
        return Verdict(*CHECKS.result(self.check), scope="proof and computation" if self.proved else "computation")
