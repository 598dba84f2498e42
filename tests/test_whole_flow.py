"""The entropy flow of a whole network: its rows against Jacobians of the layers, and what it says where it ends."""

import copy
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import entropy_lib as el


class Residual(nn.Module):
    """A branch that a function joins, with a functional activation and a step that leads nowhere."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.out = nn.Linear(4, 4)

    def forward(self, x):
        x.mean()
        return x + self.out(F.silu(self.inner(x)))


def sequence():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 4), nn.LeakyReLU(0.2, inplace=True), Residual(), nn.Tanh(), nn.BatchNorm1d(4), nn.Dropout(),
        nn.Linear(4, 4),
    ).double()  # fmt: skip


def volume(map, x):
    """log|det J| of each example, one by one."""
    rows = [torch.autograd.functional.jacobian(lambda one: map(one[None])[0], one) for one in x]
    return torch.stack([torch.linalg.slogdet(row.reshape(x[0].numel(), -1)).logabsdet for row in rows])


def test_its_changes_add_up_to_the_jacobian_of_the_whole():
    model, x = sequence(), torch.randn(50, 4, dtype=torch.float64)
    model(x)  # statistics that are not those of the start
    flow = el.entropy_flow(model, x, data=x)
    assert (flow.chain[flow.within == 0] == 1).all()
    model.eval()
    whole = volume(model, x)
    assert flow[flow.within == 0].change.sum() == pytest.approx(float(whole.mean()), abs=1e-9)
    assert flow.statement[flow.within == 0].tolist() == [
        "exact", "estimate", "upper bound", "estimate", "exact", "exact", "exact",
    ]  # fmt: skip


def test_a_standard_error_is_that_of_the_mean_over_all_batches():
    model, x = sequence().eval(), torch.randn(60, 4, dtype=torch.float64)
    tables = [el.entropy_flow(model, x, data=data) for data in (x, list(x.split(20)), [x[:7], x[7:]])]
    (activation,) = tables[0].index[tables[0].kind == "LeakyReLU"]
    values = volume(nn.LeakyReLU(0.2), model[0](x))
    for table in tables:
        assert table.change[activation] == pytest.approx(float(values.mean()))
        assert table.standard_error[activation] == pytest.approx(float(values.std()) / math.sqrt(60))
        assert (table.standard_error[table.statement == "exact"] == 0).all()


def test_layers_within_a_block_are_rows_of_no_chain():
    x = torch.randn(5, 4, dtype=torch.float64)
    flow = el.entropy_flow(sequence(), x, data=x)
    block = flow[flow.kind == "block"].iloc[0]
    inside = flow[flow.within == block.layer]
    assert block["name"] == "2" and inside.kind.tolist() == ["Linear", "silu", "Linear", "add"]
    assert (inside.chain == 0).all() and inside.name.tolist() == ["2.inner", "2", "2.out", "2"]


def test_it_takes_gradients_of_its_own_where_none_are_kept():
    model, x = sequence(), torch.randn(5, 4, dtype=torch.float64)
    with torch.no_grad():
        without = el.entropy_flow(model, x, data=x)
    pd.testing.assert_frame_equal(without, el.entropy_flow(model, x, data=x))


def test_the_model_is_not_touched():
    model, x = sequence(), torch.randn(5, 4, dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    el.entropy_flow(model, x, data=x)
    el.entropy_flow(model, x)
    assert model.training and model[1].inplace and all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_without_data_no_number_of_the_example_is_used():
    model, x = sequence(), torch.full((2, 4), math.nan, dtype=torch.float64)
    flow = el.entropy_flow(model, x)
    assert flow.statement[flow.kind.isin(["Linear", "BatchNorm1d", "Dropout"]) & (flow.within == 0)].eq("exact").all()
    waiting = flow[flow.kind.isin(["LeakyReLU", "Tanh", "block"])]
    assert waiting.statement.eq("none").all() and waiting.why.str.contains("data=").all()


ENDS = {
    "a unit is off": (nn.ReLU(), 4, lambda x: float((x < 0).sum(1).double().mean()), "switched off"),
    "the dimension falls": (nn.Linear(4, 3), 4, lambda x: 1.0, "keeps at most 3 of 4"),
    "the dimension grows": (nn.Linear(4, 6), 4, lambda x: 0.0, "fills at most 4 of 6"),
    "a mean is erased": (nn.LayerNorm(2), 4, lambda x: 2.0, "erases the mean of each of 2 vectors"),
    "a pool keeps the largest": (nn.MaxPool1d(2), 4, lambda x: 2.0, "keeps at most 2 of 4"),
    "its Jacobian is singular": (nn.Softmax(1), 4, lambda x: 1.0, "singular"),
}


@pytest.mark.parametrize("name", ENDS)
def test_where_the_chain_ends_the_row_says_so(name):
    layer, width, lost, why = ENDS[name]
    x = torch.randn(64, width, generator=torch.Generator().manual_seed(0))
    folded = nn.Unflatten(1, (2, 2)) if isinstance(layer, (nn.LayerNorm, nn.MaxPool1d)) else nn.Identity()
    model = nn.Sequential(nn.Tanh(), nn.Identity(), folded, layer, nn.Flatten(), nn.Tanh())
    flow = el.entropy_flow(model, x, data=x).set_index("name")
    row = flow.loc["3"]
    assert row.statement == "none" and row.lost == lost(x) and why in row.why and row.chain == 0
    assert (flow.chain["0"], flow.chain["5"]) == (1, 2)


LINEAR = {
    "zero-padded": nn.Conv2d(2, 2, 3, padding=1),
    "patches": nn.Conv2d(1, 4, 2, stride=2),
    "one dimension, circular": nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"),
    "transposed": nn.ConvTranspose2d(4, 1, 2, stride=2),
    "three dimensions": nn.Conv3d(1, 1, 3, padding=1),
    "tokens": nn.Linear(4, 4),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_square_linear_layer_has_the_determinant_of_its_matrix(name):
    layer = LINEAR[name].double()
    shapes = {"Conv1d": (2, 5), "Conv3d": (1, 3, 3, 4), "Linear": (3, 4), "ConvTranspose2d": (4, 3, 2)}
    x = torch.randn(1, *shapes.get(type(layer).__name__, (layer.weight.shape[1], 4, 6)), dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(layer, x).reshape(x.numel(), x.numel())
    row = el.entropy_flow(nn.Sequential(layer), x).iloc[0]
    assert row.statement == "exact" and row.change == row.linear == pytest.approx(
        float(torch.linalg.slogdet(matrix)[1])
    )


def test_a_large_zero_padded_convolution_has_no_number_but_that_of_its_circular_twin():
    layer = nn.Conv2d(2, 2, 3, padding=1)
    row = el.entropy_flow(layer, torch.zeros(1, 2, 40, 40)).iloc[0]
    expected = el.circular_conv_entropy_change(layer.weight.detach(), (40, 40))
    assert row.statement == "none" and f"circular twin changes by {float(expected):,.0f} nats" in row.why
    circular = nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")
    assert el.entropy_flow(circular, torch.zeros(1, 2, 40, 40)).statement[0] == "exact"


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = kind(3, 5, num_layers=2, batch_first=True)

    def forward(self, x):
        return self.cells(x)[0]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_has_the_volume_change_of_its_states(kind):
    """Against the Jacobian of the whole state after all steps: of each layer, which the inputs do not enter."""
    torch.manual_seed(0)
    model, x = Recurrent(kind).double(), torch.randn(2, 4, 3, dtype=torch.float64)
    row = el.entropy_flow(model, x, data=x).iloc[0]
    total, inputs = 0.0, x
    for layer in range(2):
        one = kind(inputs.shape[2], 5, batch_first=True).double()
        one.load_state_dict(
            {f"{n}_l0": getattr(model.cells, f"{n}_l{layer}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )

        def through(at, state, one=one, inputs=inputs):
            parts = state.reshape(-1, 1, 1, 5)
            given = (parts[0], parts[1]) if kind is nn.LSTM else parts[0]
            _, end = one(inputs[at : at + 1], given)
            return torch.stack(end).flatten() if kind is nn.LSTM else end.flatten()

        for at in range(2):
            start = torch.zeros(10 if kind is nn.LSTM else 5, dtype=torch.float64)
            total += float(torch.linalg.slogdet(torch.autograd.functional.jacobian(partial(through, at), start))[1])
        inputs = one(inputs)[0].detach()
    assert row.change == pytest.approx(total / 2, rel=1e-7) and row.chain == 0
    assert row.statement == ("upper bound" if kind is nn.GRU else "estimate")
    assert math.isnan(row.linear) == (kind is nn.GRU)


class Attends(nn.Module):
    def __init__(self, causal, batch_first=True):
        super().__init__()
        self.heads = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.mask = torch.ones(3, 3, dtype=torch.bool).triu(1) if causal else None

    def forward(self, x):
        return self.heads(x, x, x, attn_mask=self.mask, need_weights=False)[0]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_row(causal):
    torch.manual_seed(0)
    model, x = Attends(causal).double(), torch.randn(6, 3, 4, dtype=torch.float64)
    row = el.entropy_flow(model, x, data=x).iloc[0]
    expected = el.attention_entropy_change(model.heads, x, causal).mean()
    assert row.statement == "upper bound" and row.change == pytest.approx(float(expected.detach()))
    assert "batch second" in el.entropy_flow(Attends(False, batch_first=False), x.float()).why[0]


def test_what_cannot_be_run_is_refused_with_the_reason():
    x = torch.randn(2, 4)
    with pytest.raises(RuntimeError, match="does not run on such data"):
        el.entropy_flow(nn.Linear(3, 3), x)
    with pytest.raises(ValueError, match="no batch"):
        el.entropy_flow(nn.Linear(4, 4), x, data=[])
    with pytest.raises(RuntimeError, match="must return one tensor"):
        el.entropy_flow(nn.LSTM(4, 4), torch.randn(2, 3, 4))


class Applied(nn.Module):
    """A function between two layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.function, self.scale = nn.Linear(4, 4), function, nn.Parameter(torch.linspace(0.5, 2, 4))

    def forward(self, x):
        return torch.tanh(self.function(self.first(x), self.scale))


FUNCTIONS = {
    "scaled by a parameter": (lambda x, w: x * w, "exact"),
    "scaled from the left": (lambda x, w: w * x, "exact"),
    "divided": (lambda x, w: x / w, "exact"),
    "by a number": (lambda x, w: 3 * x, "exact"),
    "shifted": (lambda x, w: w - x, "exact"),
    "doubled": (lambda x, w: x + x, "upper bound"),
    "squared": (lambda x, w: x * x, "upper bound"),
    "gated": (lambda x, w: x * torch.sigmoid(x), "upper bound"),
    "turned": (lambda x, w: x.flip(1), "exact"),
    "folded": (lambda x, w: F.gelu(x, approximate="tanh"), "upper bound"),
    "an unknown function": (lambda x, w: torch.asinh(x), "upper bound"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_between_layers_have_rows(name):
    torch.manual_seed(0)
    function, statement = FUNCTIONS[name]
    model, x = Applied(function).double(), torch.randn(20, 4, dtype=torch.float64)
    flow = el.entropy_flow(model, x, data=x)
    outside = flow[flow.within == 0]
    assert outside.statement.tolist() == ["exact", statement, "estimate"] and (outside.chain == 1).all()
    assert outside.change.sum() == pytest.approx(float(volume(model, x).mean()), abs=1e-9)


def doubled_in_place(x, w):
    x.mul_(2)
    return x


@pytest.mark.parametrize(
    "function", [doubled_in_place, lambda x, w: F.elu(x, inplace=True), lambda x, w: x.add_(x.tanh())]
)
def test_what_was_changed_in_place_has_no_number(function):
    x = torch.randn(5, 4)
    flow = el.entropy_flow(Applied(function), x, data=x)
    assert flow.statement.tolist()[:2] == ["exact", "none"] and "in place" in flow.why[1]
    assert el.entropy_flow(nn.Sequential(nn.ELU(inplace=True)), x, data=x).statement[0] == "estimate"


class Doubles(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Bent(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).tanh()


class Named(nn.Linear):
    """One that only remembers something."""

    def __init__(self, width, name):
        super().__init__(width, width)
        self.name = name

    def extra_repr(self):
        return self.name


@pytest.mark.parametrize(
    ("layer", "shape"), [(Doubles(4, 4), (4,)), (Bent(1, 1, 3, padding=1), (1, 2, 3)), (Named(4, "a"), (4,))]
)
def test_a_subclass_that_computes_something_else_is_looked_into(layer, shape):
    layer, x = layer.double(), torch.randn(30, *shape, dtype=torch.float64)
    flow = el.entropy_flow(layer, x, data=x)
    rows = [
        torch.autograd.functional.jacobian(lambda one: layer(one[None])[0], one).reshape(one.numel(), -1) for one in x
    ]
    assert flow.change.sum() == pytest.approx(float(torch.linalg.slogdet(torch.stack(rows)).logabsdet.mean()))
    assert (len(flow) == 1) == isinstance(layer, Named)


def written(x, w):
    x = x.clone()
    x[:, 0] = x[:, 0] * 3
    return x


def through_a_view(x, w):
    x[:, :2].mul_(3)
    return x


@pytest.mark.parametrize("function", [written, through_a_view, lambda x, w: F.relu_(x[:, :2]).repeat(1, 2)])
def test_what_was_changed_through_a_view_is_not_called_exact(function):
    x = torch.randn(20, 4)
    flow = el.entropy_flow(Applied(function), x, data=x)
    assert "none" in flow.statement[flow.within == 0].tolist()[1:]


KEYWORDS = {
    "added to itself": lambda x, w: torch.add(x, other=x),
    "many times": lambda x, w: torch.add(w, x, alpha=3),
    "taken from it": lambda x, w: torch.rsub(x, w, alpha=3),
    "over it": lambda x, w: w / (3 + x.tanh()),
    "its transpose": lambda x, w: x + 0.3 * (x[:, None] * w[:, None]).mT.sum(1),
    "wrapped": lambda x, w: x + x.unsqueeze(2).mT.squeeze(1),
}


@pytest.mark.parametrize("name", KEYWORDS)
def test_arguments_by_name_or_in_another_order_are_not_overlooked(name):
    torch.manual_seed(1)
    model, x = Applied(KEYWORDS[name]).double(), torch.randn(20, 4, dtype=torch.float64)
    flow = el.entropy_flow(model, x, data=x)
    outside = flow[flow.within == 0]
    assert outside.change.sum() == pytest.approx(float(volume(model, x).mean()), abs=1e-9)


@pytest.mark.parametrize(
    "function", [lambda x, w: x + x.detach(), lambda x, w: x + x.data, lambda x, w: x.to(torch.int64)]
)
def test_what_has_no_graph_has_no_number(function):
    x = torch.randn(5, 4)
    flow = el.entropy_flow(nn.Sequential(nn.Linear(4, 4), Applies(function)), x, data=x)
    assert flow.statement[1] == "none" and ("graph" in flow.why[1] or "no real numbers" in flow.why[1])


class Applies(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return 1.0 * self.function(x, None)


class Asks(nn.Module):
    """Attention of another kind than that of tokens to themselves."""

    def __init__(self, ask):
        super().__init__()
        self.heads, self.ask = nn.MultiheadAttention(4, 2, batch_first=True), ask
        self.memory = nn.Parameter(torch.randn(1, 3, 4))

    def forward(self, x):
        return self.ask(self.heads, x, self.memory.expand(len(x), -1, -1))


def biased():
    return torch.full((3, 3), -math.inf, dtype=torch.float64).triu(1) + torch.tensor(
        [[0.0, 0, 0], [1, 0, 0], [2, 1, 0]]
    )


ASKED = {
    "of a memory": lambda heads, x, memory: heads(x, memory, memory)[0],
    "by a memory": lambda heads, x, memory: heads(memory, x, x)[0],
    "with a bias": lambda heads, x, memory: heads(x, x, x, attn_mask=biased())[0],
    "by place": lambda heads, x, memory: heads(x, x, x, None, False, torch.ones(3, 3, dtype=torch.bool).triu(1))[0],
}


@pytest.mark.parametrize("name", ASKED)
def test_other_attention_has_the_number_of_its_jacobian(name):
    torch.manual_seed(0)
    model, x = Asks(ASKED[name]).double(), torch.randn(6, 3, 4, dtype=torch.float64)
    row = el.entropy_flow(model, x, data=x).iloc[-1]
    expected = el.jacobian_entropy_change(model, x).detach().mean()
    assert row.change == pytest.approx(float(expected), abs=1e-8) or (row.statement == "none" and "singular" in row.why)


def test_one_query_or_the_weights_are_no_self_attention():
    x = torch.randn(6, 3, 4)
    query = el.entropy_flow(Asks(lambda heads, x, memory: heads(x[:, :1], x, x)[0]), x, data=x)
    weights = el.entropy_flow(Asks(lambda heads, x, memory: heads(x, x, x)[1]), x, data=x)
    assert query.statement.iloc[-1] == weights.statement.iloc[-1] == "none"
    more = nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True)
    model = Asks(lambda heads, x, memory: more(x, x, x, need_weights=False)[0])
    model.more = more
    assert el.entropy_flow(model, x, data=x).statement.iloc[-1] in ("none", "upper bound")


def test_a_block_of_more_examples_than_its_jacobians_fit_is_measured_on_the_first():
    torch.manual_seed(0)
    wide = nn.Linear(512, 512)
    wide.weight.data *= 0.1
    model = Applies(lambda x, w: x + torch.tanh(wide(x)))
    model.wide = wide
    x = torch.randn(66, 512)
    row = el.entropy_flow(model, x, data=x).iloc[0]
    exact = el.residual_entropy_change(lambda x: torch.tanh(wide(x)), x[:64].detach(), terms=6).change
    assert row.statement == "upper bound" and "first 64 examples" in row.why
    assert row.change == pytest.approx(float(exact.mean().detach()), abs=1e-2)


def test_batches_count_by_their_examples():
    on, off = torch.ones(3, 4), -torch.ones(5, 4)
    for data in ([on, off], [off, on]):
        row = el.entropy_flow(nn.ReLU(), on, data=data).iloc[0]
        assert row.statement == "none" and row.lost == pytest.approx(4 * 5 / 8)
        folded = el.entropy_flow(nn.GELU(), on, data=data).iloc[0]
        assert f"at most {math.log(2) * 4 * 5 / 8:.4g} nats" in folded.why


@pytest.mark.parametrize(
    "layer",
    [
        nn.RMSNorm(64, eps=1e-6), nn.Softmax(1), nn.GroupNorm(1, 128),
        Applies(lambda x, w: torch.exp(5 * x)), Applies(lambda x, w: torch.sinh(3 * x)),
    ],
)  # fmt: skip
def test_numerical_rank_is_that_of_double_precision(layer):
    width = {nn.RMSNorm: 64, nn.GroupNorm: 128}.get(type(layer), 20)
    x = torch.randn(10, width, generator=torch.Generator().manual_seed(0))
    row = el.entropy_flow(layer, x, data=x).iloc[0]
    assert row.lost == (1 if isinstance(layer, (nn.Softmax, nn.GroupNorm)) else 0)


def test_a_singular_matrix_is_not_exact():
    low = nn.Linear(10, 10)
    low.weight.data = torch.randn(10, 3) @ torch.randn(3, 10)
    row = el.entropy_flow(low, torch.zeros(1, 10)).iloc[0]
    assert row.statement == "none" and row.lost == 7 and row.change == -math.inf
    flat = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    flat.weight.data -= flat.weight.data.mean()
    for side in (6, 40):
        assert el.entropy_flow(flat, torch.zeros(1, 1, side, side)).statement[0] == "none"
    far = nn.Conv1d(2, 4, 2, stride=2, padding=100, padding_mode="circular")
    assert el.entropy_flow(far, torch.zeros(1, 2, 600)).statement[0] == "none"


@pytest.mark.parametrize("function", [lambda x, w: x - 0.5 * x.mean(0), lambda x, w: x.cumsum(0)])
def test_a_model_that_mixes_the_examples_is_refused(function):
    x = torch.randn(6, 4)
    with pytest.raises(ValueError, match="mixes the examples"):
        el.entropy_flow(Applies(function), x, data=x)


@pytest.mark.parametrize("zero", ["all", "row", "column"])
def test_a_matrix_with_exact_zeros(zero):
    layer = nn.Linear(4, 4)
    layer.weight.data[{"all": slice(None), "row": 1, "column": (slice(None), 2)}[zero]] = 0
    row = el.entropy_flow(layer, torch.zeros(2, 4)).iloc[0]
    assert row.statement == "none" and row.lost == (4 if zero == "all" else 1)


COMPUTED = {
    "weight_norm": torch.nn.utils.weight_norm, "spectral_norm": torch.nn.utils.spectral_norm,
    "pruned": lambda layer: torch.nn.utils.prune.random_unstructured(layer, "weight", 0.2),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.Conv2d(1, 1, 3, padding=1)])
def test_a_weight_that_is_computed_before_a_step_is_that_of_now(name, layer):
    torch.manual_seed(0)
    layer = COMPUTED[name](copy.deepcopy(layer)).eval()
    x = torch.randn(5, *((4,) if isinstance(layer, nn.Linear) else (1, 2, 3)))
    layer(x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    row = el.entropy_flow(layer, x, data=x).iloc[0]
    if row.statement == "none":
        assert name == "pruned" and "singular" in row.why
    else:
        assert row.change == pytest.approx(float(volume(layer, x).mean()), abs=1e-4)


def test_what_cannot_be_followed_is_refused():
    x, linear = torch.randn(5, 4), nn.Linear(4, 4)
    mapped = Applies(lambda x, w: x + torch.vmap(lambda v: torch.tanh(linear(v)))(x))
    with pytest.raises(RuntimeError, match="cannot be followed"):
        el.entropy_flow(mapped, x, data=x)
    with pytest.raises(RuntimeError, match="scripted"):
        el.entropy_flow(nn.Sequential(torch.jit.script(linear)), x, data=x)


def test_behind_an_embedding_there_is_a_graph_again():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 4), Residual(), nn.Softsign())
    flow = el.entropy_flow(model, torch.zeros(2, 3, dtype=torch.long), data=torch.randint(0, 10, (20, 3)))
    assert flow.statement[flow.within == 0].tolist() == ["none", "upper bound", "upper bound"]


@pytest.mark.parametrize(
    "function", [lambda x, w: F.relu(x + x.tanh(), inplace=True), lambda x, w: (x + x.tanh()).mul_(0.01)]
)
def test_a_block_that_is_changed_in_place_afterwards_has_no_number(function):
    x = torch.randn(5, 4)
    flow = el.entropy_flow(Applied(function), x, data=x)
    outside = flow[flow.within == 0]
    assert outside.statement.tolist()[1:3] == ["none", "none"] and "afterwards" in outside.why.iloc[1]


def test_rows_that_are_not_the_examples_have_no_number():
    x = torch.randn(6, 3, 4)
    folded = lambda x, w: x.reshape(-1, 4).tanh().reshape(-1, 3, 4)  # noqa: E731
    moved = lambda x, w: x.transpose(0, 1).tanh().transpose(0, 1)  # noqa: E731
    for function in (folded, moved):
        flow = el.entropy_flow(Applied(function), x, data=x)
        assert "not the examples" in flow.why[1] and flow.statement[2] == "none"


def test_a_filter_that_erases_a_frequency_is_not_exact():
    for taps, width in (([0.5, 0.0, 0.5], 40), ([0.3, 0.3, 0.3], 39)):
        layer = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), padding_mode="circular")
        layer.weight.data[:] = torch.tensor(taps)
        row = el.entropy_flow(layer, torch.zeros(1, 1, 40, width)).iloc[0]
        assert row.statement == "none" and "frequency" in row.why


def test_an_rmsnorm_keeps_the_epsilon_of_its_precision_and_needs_one():
    x = torch.randn(10, 4)
    row = el.entropy_flow(nn.RMSNorm(4), x, data=x).iloc[0]
    assert row.change == pytest.approx(float(el.norm_entropy_change(nn.RMSNorm(4), x).mean().detach()), rel=1e-4)
    assert el.entropy_flow(nn.RMSNorm(4, eps=0.0), x, data=x).statement[0] == "none"
    hand = Applies(lambda x, w: x.float() * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6))
    flow = el.entropy_flow(hand, torch.randn(10, 64), data=torch.randn(10, 64)).query("within == 0")
    assert "upper bound" in flow.statement.tolist() and "none" not in flow.statement.tolist()


def test_attention_without_rank_has_no_number():
    for part in (slice(None), (slice(None), slice(0, 2))):
        model, x = Attends(False), torch.randn(6, 3, 4)
        model.heads.out_proj.weight.data[part] = 0
        assert el.entropy_flow(model, x, data=x).statement[0] == "none"


def test_batches_that_go_different_ways_are_refused():
    x = torch.ones(3, 4)
    twofold = Applies(lambda x, w: x * 2 if x.sum() > 0 else x.tanh())
    for model, data in ((twofold, [x, -x]), (nn.Tanh(), [x, torch.ones(3, 5)])):
        with pytest.raises(ValueError, match="different ways"):
            el.entropy_flow(model, x, data=data)


def test_clear_words_for_what_is_no_batch():
    with pytest.raises(RuntimeError, match="one tensor of rows"):
        el.entropy_flow(Applies(lambda x, w: x.sum()), torch.ones(3, 4))
    with pytest.raises(ValueError, match="no example"):
        el.entropy_flow(nn.Tanh(), torch.ones(0, 4))
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(torch.randn(5, 4)), batch_size=2)
    assert el.entropy_flow(nn.Tanh(), torch.ones(1, 4), data=loader).statement[0] == "estimate"


BORROWED = {
    "zeros": lambda x, w: x + torch.zeros_like(x),
    "sorted": lambda x, w: x.sort(1)[0],
    "chosen": lambda x, w: torch.where(x > 0, x, 0.2 * x),
    "placed": lambda x, w: x + torch.arange(4).to(x),
}


@pytest.mark.parametrize("name", BORROWED)
def test_a_shape_that_is_borrowed_cuts_no_graph(name):
    model, x = Applied(BORROWED[name]).double(), torch.randn(20, 4, dtype=torch.float64)
    outside = el.entropy_flow(model, x, data=x).query("within == 0")
    assert outside.statement.iloc[1] in ("exact", "upper bound")
    assert outside.change.sum() == pytest.approx(float(volume(model, x).mean()), abs=1e-9)


def test_a_state_that_is_given_and_a_singular_gate_have_no_number():
    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.h = nn.LSTM(3, 5, batch_first=True), nn.Parameter(torch.ones(1, 1, 5))

        def forward(self, x):
            state = self.h.expand(-1, len(x), -1).contiguous()
            return self.lstm(x, (state, state))[0]

    x = torch.randn(2, 4, 3)
    assert (
        "given a state" in el.entropy_flow(Given(), x, data=x).why[0]
        or "dimensions" in el.entropy_flow(Given(), x, data=x).why[0]
    )
    model = Recurrent(nn.LSTM)
    model.cells.weight_hh_l0.data[-5:] = 0
    assert el.entropy_flow(model, x, data=x).statement[0] == "none"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_double(dtype):
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), Residual()).to(dtype), torch.randn(5, 4).to(dtype)
    flow = el.entropy_flow(model, x, data=x)
    assert flow.change[flow.within == 0].notna().all()


def test_the_edges():
    x = torch.randn(5, 4)
    assert el.entropy_flow(nn.Sequential(), x, data=x).empty
    for slope, statement in ((0.0, "none"), (-0.5, "upper bound")):
        assert el.entropy_flow(nn.LeakyReLU(slope), x, data=x).statement[0] == statement
    spectrum = el.entropy_flow(Applies(lambda x, w: torch.fft.fft(x).real), x, data=x)
    assert "no real numbers" in spectrum[spectrum.kind == "fft_fft"].why.iloc[0]


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_a_layernorm_with_zero_weights(zeros):
    norm = nn.LayerNorm(4, eps=0.1).double()
    norm.weight.data = torch.tensor([0.0] * zeros + [1.5, -2.0, 0.5, 3.0][zeros:], dtype=torch.float64)
    x = torch.randn(1, 4, dtype=torch.float64)
    basis = torch.linalg.svd(torch.ones(1, 4, dtype=torch.float64)).Vh[1:].T
    values = torch.linalg.svdvals(torch.autograd.functional.jacobian(norm, x).reshape(4, 4) @ basis)
    found = float(el.norm_entropy_change(norm, x).detach())
    assert found == (-math.inf if zeros == 2 else pytest.approx(float(values.log().sum())))


def test_token_numbers_have_no_density():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4))
    flow = el.entropy_flow(model, torch.zeros(2, 3, dtype=torch.long))
    assert (
        "no density" in flow.why[0] and flow.statement.tolist() == ["none", "exact"] and flow.inputs.tolist() == [3, 12]
    )


REFUSED = {
    "another activation": (
        lambda: el.activation_entropy_change(nn.Mish(), torch.ones(1, 2)),
        TypeError,
        "none of LeakyReLU",
    ),
    "a slope of zero": (
        lambda: el.activation_entropy_change(nn.LeakyReLU(0.0), torch.ones(1, 2)),
        ValueError,
        "positive",
    ),
    "branches of a flat one": (
        lambda: el.branch_entropy(nn.ReLU(), torch.ones(1, 2), abs),
        ValueError,
        "flat on a side",
    ),
    "another norm": (lambda: el.norm_entropy_change(nn.Identity(), torch.ones(1, 2)), TypeError, "none of BatchNorm"),
    "channels that do not fit": (
        lambda: el.norm_entropy_change(nn.BatchNorm1d(3), torch.ones(1, 2)),
        ValueError,
        r"\(batch, 3, \.\.\.\)",
    ),
    "vectors that do not fit": (
        lambda: el.norm_entropy_change(nn.LayerNorm((2, 3)), torch.ones(4, 3, 2)),
        ValueError,
        r"\.\.\., 2, 3\)",
    ),
    "a relu cell": (
        lambda: el.rnn_entropy_change(nn.RNNCell(1, 2, nonlinearity="relu"), torch.ones(1, 1), torch.ones(1, 2)),
        ValueError,
        "'tanh'",
    ),
    "another cell": (
        lambda: el.gru_entropy_change(nn.RNNCell(1, 2), torch.ones(1, 1), torch.ones(1, 2)),
        TypeError,
        "GRUCell",
    ),
    "a state that does not fit": (
        lambda: el.lstm_entropy_change(nn.LSTMCell(1, 2), torch.ones(3, 1), (torch.ones(3, 2), torch.ones(1, 2))),
        ValueError,
        r"\[\(3, 1\), \(3, 2\), \(3, 2\)\]",
    ),
    "no attention": (lambda: el.attention_entropy_change(nn.Linear(2, 2), torch.ones(1, 2, 2)), TypeError, "Multihead"),
    "keys of another width": (
        lambda: el.attention_entropy_change(nn.MultiheadAttention(2, 1, kdim=3), torch.ones(1, 2, 2)),
        ValueError,
        "own width",
    ),
    "tokens of another width": (
        lambda: el.attention_entropy_change(nn.MultiheadAttention(2, 1), torch.ones(1, 2, 3)),
        ValueError,
        r"\(batch, n, 2\)",
    ),
    "a map that mixes rows": (
        lambda: el.jacobian_entropy_change(torch.sum, torch.ones(2, 2)),
        ValueError,
        "keep the rows",
    ),
    "a map to no tensor": (lambda: el.jacobian_entropy_change(len, torch.ones(2, 2)), TypeError, "int"),
    "a branch of another width": (
        lambda: el.residual_entropy_change(nn.Linear(2, 3), torch.ones(1, 2)),
        ValueError,
        "keep the shape",
    ),
    "terms and samples": (lambda: el.residual_entropy_change(abs, torch.ones(1, 2), 3, 3), ValueError, "not both"),
    "one sample": (
        lambda: el.residual_entropy_change(torch.sin, torch.ones(1, 2), samples=1),
        ValueError,
        "at least 2",
    ),
    "no whole number": (
        lambda: el.residual_entropy_change(torch.sin, torch.ones(1, 2), terms=1.5),
        ValueError,
        "whole",
    ),
    "groups": (
        lambda: el.circular_conv_entropy_change(torch.ones(3, 1, 2, 2), (4, 4), groups=2),
        ValueError,
        "2 groups do not divide 3",
    ),
    "four dimensions": (
        lambda: el.circular_conv_entropy_change(torch.ones(1, 1, 1, 1), (2, 2, 2, 2)),
        ValueError,
        "1 or 2 or 3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_what_is_expected(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def branch(width: int, norm: float) -> nn.Module:
    torch.manual_seed(1)
    linear = nn.Linear(width, width).double()
    linear.weight.data *= norm / torch.linalg.matrix_norm(linear.weight.data, 2)
    return nn.Sequential(linear, nn.Tanh())


def test_the_rest_of_the_series_is_within_its_bound_and_the_bounds_of_a_contraction_hold():
    x = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f = branch(5, 0.8)
    exact = el.residual_entropy_change(f, x)
    assert exact.method == "exact" and not exact.error.any()
    assert ((5 * math.log(0.2) <= exact.change) & (exact.change <= 5 * math.log(1.8))).all()
    for terms in (1, 2, 5, 20):
        change, rest, method = el.residual_entropy_change(f, x, terms=terms)
        assert method == "series" and ((change - exact.change).abs() <= rest).all()
    _, rest, _ = el.residual_entropy_change(branch(5, 30.0), x * 0, terms=3)
    assert rest.isinf().all()


def test_the_estimate_is_unbiased_and_its_error_is_its_spread():
    torch.manual_seed(0)
    x, f = torch.randn(1, 6, dtype=torch.float64).expand(3000, -1), branch(6, 0.5)
    change, error, method = el.residual_entropy_change(f, x, samples=8)
    exact = float(el.residual_entropy_change(f, x[:1]).change.detach())
    # Rows share the lengths of their series, not their vectors: only over many calls do they come to the exact number.
    means = torch.stack([el.residual_entropy_change(f, x, samples=8).change.mean().detach() for _ in range(40)])
    assert method == "estimate" and abs(float(means.mean()) - exact) < 4 * float(means.std()) / math.sqrt(40)
    assert float(error.mean()) == pytest.approx(float(change.detach().std()), rel=0.2)
    wide = el.residual_entropy_change(branch(300, 0.3), torch.randn(2, 300, dtype=torch.float64))
    assert wide.method == "estimate"
    assert el.residual_entropy_change(lambda x: 3 * x, x[:1], samples=2).error.isinf().all()
    assert el.residual_entropy_change(torch.zeros_like, x[:1], samples=2).change.tolist() == [0.0]


def test_batchnorm_in_training_is_the_volume_change_of_its_deviations():
    """Against the Jacobian of the whole batch: one zero direction for each channel, which is its mean."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(2, eps=0.1).double()
    norm.weight.data = torch.tensor([0.5, -2.0], dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    values = torch.linalg.svdvals(torch.autograd.functional.jacobian(norm, x).reshape(24, 24))
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    assert (values < 1e-12).sum() == 2
    found = el.norm_entropy_change(norm, x)
    assert found.shape == (4,) and float(found.detach().sum()) == pytest.approx(float(values[:22].log().sum()))
    assert all(torch.equal(value, norm.state_dict()[name]) for name, value in state.items())


def test_without_an_epsilon_the_length_is_erased_as_well():
    x = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for eps, zeros in ((0.1, 1), (0.0, 2)):
        norm = nn.LayerNorm(6, eps=eps).double()
        values = torch.linalg.svdvals(torch.autograd.functional.jacobian(norm, x).reshape(6, 6))
        assert (values < 1e-12).sum() == zeros
        assert el.norm_entropy_change(norm, x).isneginf().all() == (eps == 0)


def test_slopes_that_underflow_have_logarithms():
    x = torch.tensor([[-40.0], [-20.0]])
    for module in (nn.Tanh(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Sigmoid(), nn.Softplus()):
        exact = torch.stack([torch.autograd.functional.jacobian(module, one) for one in x.double()])
        found = el.activation_entropy_change(module, x)
        assert found.isfinite().all()
        shallow = exact.abs().flatten() > 1e-300
        np.testing.assert_allclose(found[shallow], exact.abs().log().flatten()[shallow], rtol=2e-3)
