"""The losses against the equations written out, and their attachment to models."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import entropy_lib as el
from tests.test_theory import normal, seeds


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.Flatten(), nn.Linear(12, 5))


@given(seeds, st.integers(1, 6), st.integers(1, 6), st.floats(-2, 2), st.sampled_from([1e-3, 0.5]))
def test_dense_loss_is_equation_21_and_24(seed, rows, columns, coefficient, eps):
    weight = normal(seed, rows, columns)
    k = min(rows, columns)
    det = torch.linalg.det(weight[:k, :k]).abs()
    log = el.DenseEntropyLoss(coefficient)(weight)
    reciprocal = el.DenseEntropyLoss(coefficient, form="reciprocal", eps=eps)(weight)
    torch.testing.assert_close(log, -coefficient * det.log())
    torch.testing.assert_close(reciprocal, coefficient / (det + eps))


@given(seeds, st.integers(1, 3), st.integers(1, 3), st.floats(-2, 2))
def test_conv_loss_is_equation_23_and_25(seed, out, into, coefficient):
    kernel = normal(seed, out, into, 3, 2)
    log, reciprocal = 0.0, 0.0
    for d in range(out):
        for e in range(into):
            log -= coefficient * math.log(abs(kernel[d, e, 0, 0]))
            reciprocal += coefficient / (abs(float(kernel[d, e, 0, 0])) + 0.01)
    assert float(el.ConvEntropyLoss(coefficient)(kernel)) == pytest.approx(log)
    assert float(el.ConvEntropyLoss(coefficient, "reciprocal", eps=0.01)(kernel)) == pytest.approx(reciprocal)


@pytest.mark.parametrize("form", ["log", "reciprocal"])
def test_loss_gradients(form):
    dense, conv = el.DenseEntropyLoss(0.7, form, eps=0.1), el.ConvEntropyLoss(-0.3, form, eps=0.1)
    assert torch.autograd.gradcheck(dense, normal(0, 2, 3, 4).requires_grad_())
    assert torch.autograd.gradcheck(conv, normal(1, 2, 2, 3, 3).requires_grad_())


def test_gradient_of_the_log_form_is_minus_the_inverse_transpose():
    weight = normal(4, 5, 5).requires_grad_()
    el.DenseEntropyLoss(1.0)(weight).backward()
    torch.testing.assert_close(weight.grad, -torch.linalg.inv(weight.detach()).T)


def test_a_positive_coefficient_preserves_entropy_and_a_negative_one_suppresses_it():
    for coefficient in (0.1, -0.1):
        weight = normal(5, 4, 6).requires_grad_()
        before = float(el.dense_entropy_change(weight.detach()))
        el.DenseEntropyLoss(coefficient)(weight).backward()
        after = float(el.dense_entropy_change(weight.detach() - 1e-3 * weight.grad))
        assert (after - before) * coefficient > 0


def test_reciprocal_form_at_a_singular_matrix_is_finite_with_gradient_zero():
    weight = torch.stack([torch.zeros(3, 3), torch.diag(torch.ones(3))]).requires_grad_()
    loss = el.DenseEntropyLoss(1.0, "reciprocal", eps=0.5)(weight)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1 / 0.5 + 1 / 1.5)
    assert torch.equal(weight.grad[0], torch.zeros(3, 3)) and weight.grad[1].abs().sum() > 0


def test_reciprocal_form_survives_an_overflowing_determinant():
    weight = (100 * torch.eye(60)).requires_grad_()
    loss = el.DenseEntropyLoss(1.0, "reciprocal")(weight)
    loss.backward()
    assert float(loss.detach()) < 1e-30 and torch.isfinite(weight.grad).all()


@given(seeds)
def test_coefficients_per_layer_and_per_filter(seed):
    kernels = [normal(seed, 2, 3, 3, 3), normal(seed + 1, 4, 2, 1, 1)]
    per_filter = normal(seed + 2, 2, 1)
    loss = el.ConvEntropyLoss([per_filter, 0.5])(kernels)
    expected = -(per_filter * kernels[0][..., 0, 0].abs().log()).sum() - 0.5 * kernels[1].abs().log().sum()
    torch.testing.assert_close(loss, expected)


def test_guidance_is_the_sum_of_its_layers_and_of_the_losses():
    model = small_model()
    guidance = el.EntropyGuidance(model, {"4": 0.1, "0": 2.0, "2.weight": -1.0})
    layers = guidance.per_layer()
    assert list(layers) == ["4", "0", "2.weight"]
    torch.testing.assert_close(guidance(), torch.stack(list(layers.values())).sum())
    torch.testing.assert_close(layers["4"], el.DenseEntropyLoss(0.1)(model[4].weight).detach())
    assert not any(term.requires_grad for term in layers.values())


def test_guidance_follows_the_model_and_owns_none_of_its_parameters():
    model = small_model()
    guidance = el.EntropyGuidance(model, {"4": 1.0})
    assert list(guidance.parameters()) == []
    before = float(guidance().detach())
    with torch.no_grad():
        model[4].weight.mul_(2)
    assert float(guidance().detach()) == pytest.approx(before - 5 * math.log(2), rel=1e-5)
    guidance().backward()
    assert model[4].weight.grad.abs().sum() > 0 and model[0].weight.grad is None


REFUSALS = {
    "unknown layer": (lambda m: el.EntropyGuidance(m, {"head": 1.0}), KeyError, "0, 2, 4"),
    "no weight": (lambda m: el.EntropyGuidance(m, {"1": 1.0}), ValueError, "'1' cannot be guided: ReLU has no weight"),
    "a bias": (lambda m: el.EntropyGuidance(m, {"0.bias": 1.0}), ValueError, "only the weight of a Conv2d"),
    "a part": (lambda m: el.EntropyGuidance(m, {"0[q]": 1.0}), ValueError, r"one matrix and has no part \[q\]"),
    "nothing": (lambda m: el.EntropyGuidance(m, {}), ValueError, "at least one layer"),
    "nan": (lambda m: el.EntropyGuidance(m, {"0": math.nan}), ValueError, "must be finite, got nan"),
    "text": (lambda m: el.EntropyGuidance(m, {"0": "1e-3"}), TypeError, "a number or a tensor .* got str"),
    "form": (lambda m: el.DenseEntropyLoss(form="exp"), ValueError, "'log' .* 'reciprocal'"),
    "eps": (lambda m: el.ConvEntropyLoss(form="reciprocal", eps=0.0), ValueError, "eps must be positive"),
    "coefficients": (lambda m: el.DenseEntropyLoss([1.0, 2.0])([m[4].weight]), ValueError, "2 coefficients for 1"),
    "per filter": (lambda m: el.ConvEntropyLoss(torch.ones(7))(m[0].weight), ValueError, r"\(7,\) .* \(4, 2\)"),
    "no weights": (lambda m: el.DenseEntropyLoss()([]), ValueError, "at least one weight"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    call, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        call(small_model())


def test_non_finite_weights_are_named():
    model = small_model()
    guidance = el.EntropyGuidance(model, {"4": 1.0})
    model[4].weight.data[0, 0] = math.nan
    assert guidance().isnan()  # a training that diverges is an outcome, and is not asked at every step
    with pytest.raises(ValueError, match="'4' cannot be guided: its weight holds NaN"):
        el.EntropyGuidance(model, {"4": 1.0})
    with pytest.raises(ValueError, match="layer '4'"):
        el.filter_flow(model)


def test_filter_flow_has_one_row_per_slice_in_forward_order():
    model = small_model()
    flow = el.filter_flow(model, input_size=(6, 5))
    assert flow.groupby("layer").size().to_dict() == {1: 8, 2: 12, 3: 1}
    assert flow.drop_duplicates("layer").name.tolist() == ["0", "2", "4"]
    for row in flow[flow.name == "2"].itertuples():
        kernel = model[2].weight.detach()[row.output, row.input]
        assert row.entropy_change == pytest.approx(math.log(abs(kernel[0, 0])), rel=1e-5)
        assert row.log_norm == pytest.approx(float(kernel.detach().norm().log()), rel=1e-5)
    exact = el.circular_conv_entropy_change(model[2].weight, (6, 5)) / (30 * 3)
    assert flow[flow.name == "2"].exact.unique() == pytest.approx([float(exact.detach())])
    assert flow.iloc[-1].entropy_change == pytest.approx(float(el.dense_entropy_change(model[4].weight.detach())))
    with pytest.raises(ValueError, match="no layer whose entropy flow"):
        el.filter_flow(nn.ReLU())


def test_names_load_on_demand_and_an_unknown_one_is_refused():
    assert set(el.__all__) <= set(dir(el))
    with pytest.raises(AttributeError, match="entropy_flow"):
        el.entropy_flux  # noqa: B018


@pytest.mark.parametrize("form", ["log", "reciprocal"])
@pytest.mark.parametrize("loss", [el.DenseEntropyLoss, el.ConvEntropyLoss])
def test_a_coefficient_of_zero_is_no_term_even_where_the_penalty_is_infinite(loss, form):
    weight = torch.zeros(3, 3, requires_grad=True)
    value = loss(0.0, form)(weight)
    value.backward()
    assert value == 0 and weight.grad.eq(0).all()


def test_a_filter_with_coefficient_zero_leaves_the_others_alone():
    kernel = torch.randn(2, 1, 3, 3)
    kernel[0] = 0
    kernel.requires_grad_()
    value = el.ConvEntropyLoss([torch.tensor([[0.0], [2.0]])])([kernel])
    value.backward()
    torch.testing.assert_close(value, -2 * kernel[1, 0, 0, 0].abs().log())
    assert kernel.grad.isfinite().all() and kernel.grad[0].eq(0).all()
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    nn.init.zeros_(model[0].weight)
    assert el.EntropyGuidance(model, {"0": 0.0})() == 0


class Quantised(nn.Module):
    """As torch's quantised layers: the weight is what a method packs, and no tensor."""

    def weight(self):
        return torch.eye(3)


UNREADABLE = {
    "lookup table": (nn.Embedding(5, 3), "Embedding: a lookup table picks rows"),
    "lookup table by parameter": (nn.Embedding(5, 3), "Embedding: a lookup table picks rows"),
    "normalisation": (nn.BatchNorm2d(3), "BatchNorm2d is no kind of layer that is known"),
    "one-dimensional": (nn.Conv1d(2, 2, 3), "of 2-D convolutions"),
    "quantised": (Quantised(), "Quantised has no weight tensor, a quantised one perhaps"),
    "recurrent": (nn.LSTM(3, 4), r"name one of them: weight_ih_l0\[i\], weight_ih_l0\[f\]"),
    "attention": (nn.MultiheadAttention(4, 2), r"name one of them: in_proj_weight\[q\]"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_with_the_reason(name):
    layer, message = UNREADABLE[name]
    with pytest.raises(ValueError, match=message):
        el.EntropyGuidance(nn.ModuleDict({"x": layer}), {"x.weight" if "parameter" in name else "x": 1.0})


def test_a_stack_is_guided_by_its_parts():
    model = nn.ModuleDict({"lstm": nn.LSTM(4, 4), "attention": nn.MultiheadAttention(4, 2), "gru": nn.GRUCell(4, 4)})
    names = {
        "lstm.weight_hh_l0[o]": (model.lstm.weight_hh_l0, 3),
        "attention.in_proj_weight[k]": (model.attention.in_proj_weight, 1),
    }
    names["gru.weight_ih[n]"] = (model.gru.weight_ih, 2)
    for name, (weight, at) in names.items():
        own = el.DenseEntropyLoss(0.3)(weight[4 * at : 4 * at + 4])
        torch.testing.assert_close(el.EntropyGuidance(model, {name: 0.3})(), own)
    with pytest.raises(ValueError, match=r"stacks several matrices in it; name one of weight_hh_l0\[i\]"):
        el.EntropyGuidance(model, {"lstm.weight_hh_l0": 0.3})
    with pytest.raises(ValueError, match="stacks several"):
        el.EntropyGuidance(model, {"lstm.weight_hh_l0[x]": 0.3})


def test_coefficients_of_a_transposed_convolution_are_those_of_its_outputs():
    for groups in (1, 2):
        layer = nn.ConvTranspose2d(4, 6, 3, groups=groups)
        per_output = torch.arange(1.0, 7.0)[:, None]
        loss = el.EntropyGuidance(layer, {"": per_output})()
        # The response to a unit at input i has that input's kernels in its channels: taps by (output, input).
        expected = 0.0
        for i in range(4):
            image = torch.zeros(1, 4, 1, 1)
            image[0, i] = 1
            taps = (layer(image) - layer.bias[:, None, None])[0, :, 0, 0].detach()
            reached = taps.abs() > 0
            expected -= (per_output[reached, 0] * taps[reached].abs().log()).sum()
        torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="does not fit"):
        el.EntropyGuidance(nn.ConvTranspose2d(3, 2, 3), {"": torch.ones(3, 1)})


class Handmade(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix, self.vector = nn.Parameter(torch.eye(3) * 2), nn.Parameter(torch.ones(3))


def test_a_parameter_of_a_foreign_module_is_guided_by_its_own_name():
    assert float(el.EntropyGuidance(Handmade(), {"matrix": 1.0})().detach()) == pytest.approx(-3 * math.log(2))
    with pytest.raises(ValueError, match=r"shape \(3,\); a matrix \(N, d\) or a kernel"):
        el.EntropyGuidance(Handmade(), {"vector": 1.0})


@pytest.mark.parametrize("form", ["log", "reciprocal"])
def test_guidance_compiles_whole_and_works_under_functional_transforms(form):
    model = small_model().double()
    guidance = el.EntropyGuidance(model, {"4": 0.1, "0": torch.rand(4, 1), "2": 0.0}, form)
    plain = guidance()
    torch.testing.assert_close(torch.compile(guidance, fullgraph=True, backend="aot_eager")(), plain)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    torch.testing.assert_close(guidance(parameters), plain)
    gradients = torch.func.grad(guidance)(parameters)
    plain.backward()
    for name in ("0.weight", "4.weight"):
        torch.testing.assert_close(gradients[name], model.get_parameter(name).grad)
    stacked = {name: torch.stack([value, value * 1.5]) for name, value in parameters.items()}
    both = torch.vmap(guidance)(stacked)
    torch.testing.assert_close(both[1], guidance({name: value * 1.5 for name, value in parameters.items()}))


def test_guiding_changes_nothing_of_a_model_whose_weight_is_computed():
    model = nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Linear(5, 5)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    el.EntropyGuidance(model, {"0": 1.0})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_weight_that_is_computed_of_two_others_is_guided_as_it_is_applied():
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    torch.testing.assert_close(el.EntropyGuidance(model, {"0": 0.5})(), el.DenseEntropyLoss(0.5)(model[0].weight))


def test_a_flow_names_what_it_skipped():
    model = nn.ModuleDict({"conv": nn.Conv2d(1, 2, 3), "table": nn.Embedding(4, 2), "lstm": nn.LSTM(2, 2)})
    skipped = el.filter_flow(model).attrs["skipped"]
    assert set(skipped) == {"table", "lstm"} and "lookup table" in skipped["table"] and "[i]" in skipped["lstm"]
