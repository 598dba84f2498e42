"""The regulator of predictions' entropy, against cases with a known answer."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import optimize

import entropy_lib as el


def entropy(logits):
    return torch.distributions.Categorical(logits=logits).entropy()


def settled(labels, target, rate=0.05, steps=6000, stack=()):
    """Free logits, one row for all examples, trained on shares of labels with the regulator."""
    hold = el.TargetEntropy(target, rate)
    logits = torch.zeros(*stack, 1, labels.shape[-1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = -(labels * logits.log_softmax(-1)).sum(-1).mean(-1) + hold(logits)
        loss.sum().backward()
        optimiser.step()
    return hold, logits.detach()


@pytest.mark.parametrize("target", [0.2, 0.6, 1.0])
def test_it_holds_the_target_where_the_answer_is_known(target):
    """Cross-entropy to shares p under H(q) = target: α is the multiplier, and q that of the optimum at this α."""
    labels = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    hold, logits = settled(labels, target)
    assert entropy(logits).item() == pytest.approx(target, abs=1e-4)

    def least():
        """The least cross-entropy among all q with that entropy, by a solver that knows nothing of the regulator."""
        found = optimize.minimize(
            lambda z: -(labels.numpy() * F.log_softmax(torch.tensor(z), -1).numpy()).sum(), [0.5, 0.1, -0.1],
            constraints={"type": "eq", "fun": lambda z: entropy(torch.tensor(z)).item() - target}, tol=1e-12,
        )  # fmt: skip
        assert found.success
        return found.fun

    ours = -(labels * logits[0].log_softmax(-1)).sum().item()
    assert ours == pytest.approx(least(), abs=1e-4)
    own = -(labels * labels.log()).sum().item()
    assert (hold.coefficient.item() > 0) == (target > own)


def test_two_classes_have_the_coefficient_of_the_closed_form():
    """With K = 2 the entropy fixes q, and the gradient is zero at α = (p - q) / (q (1 - q) ln((1 - q)/q)) · -1."""
    p, target = 0.9, 0.5
    hold, _ = settled(torch.tensor([p, 1 - p], dtype=torch.float64), target)
    q = optimize.brentq(lambda x: -(x * math.log(x) + (1 - x) * math.log(1 - x)) - target, 0.5 + 1e-9, 1 - 1e-9)
    assert hold.coefficient.item() == pytest.approx((q - p) / (q * (1 - q) * math.log((1 - q) / q)), rel=1e-3)


def test_each_network_of_a_stack_has_its_own_coefficient():
    labels = torch.tensor([[[0.7, 0.2, 0.1]], [[0.98, 0.01, 0.01]]], dtype=torch.float64)
    hold, logits = settled(labels, 0.5, stack=(2,))
    torch.testing.assert_close(entropy(logits).flatten(), torch.full((2,), 0.5).double(), atol=1e-4, rtol=0)
    alone = [settled(each[0], 0.5)[0].coefficient.item() for each in labels]
    assert hold.coefficient.tolist() == pytest.approx(alone, rel=1e-4)
    assert alone[0] < 0 < alone[1]
    other = el.TargetEntropy(0.5)
    other.load_state_dict(hold.state_dict())
    torch.testing.assert_close(other.coefficient, hold.coefficient.float())  # of the module's kind, not of the file's


def test_in_evaluation_the_coefficient_rests_and_it_travels_with_the_state():
    hold, logits = el.TargetEntropy(0.5), torch.randn(6, 4)
    hold(logits)
    kept = hold.coefficient.clone()
    assert kept == pytest.approx(0.01 * (0.5 - entropy(logits).mean().item()))
    value = hold.eval()(logits)
    assert hold.coefficient == kept and value == pytest.approx(-float(kept) * entropy(logits).mean().item())
    other = el.TargetEntropy(0.5)
    other.load_state_dict(hold.state_dict())
    assert other.coefficient == kept


def test_half_precision_loses_no_step_and_a_class_that_is_ruled_out_has_no_say():
    hold, plain = el.TargetEntropy(0.5), el.TargetEntropy(0.5)
    logits = torch.randn(2, 6, 4).bfloat16()
    hold(logits), plain(logits.float())
    assert hold.coefficient.dtype == torch.float32 and torch.equal(hold.coefficient, plain.coefficient)
    masked = torch.cat([torch.randn(6, 3), torch.full((6, 1), -math.inf)], 1).requires_grad_()
    rule = el.TargetEntropy(0.5)
    rule(masked).backward()
    alone = el.TargetEntropy(0.5)
    alone(masked.detach()[:, :3])
    torch.testing.assert_close(rule.coefficient, alone.coefficient)
    assert masked.grad.isfinite().all() and (masked.grad[:, 3] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((0.0,), "target must be above 0"), ((math.nan,), "target must be above 0"), ((0.5, 0.0), "rate must be above 0")],
)
def test_values_without_a_meaning_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        el.TargetEntropy(*arguments)


def test_a_target_beyond_the_classes_is_named_with_the_limit():
    with pytest.raises(ValueError, match=r"target must be below ln 3 = 1.099 nats"):
        el.TargetEntropy(1.2)(torch.zeros(2, 3))
