"""Models are read as their layers apply them, and are never changed by it."""

import copy
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import entropy_lib as el
from entropy_lib.maps import map_sizes
from tests.test_laws import jacobian, log_det


def state(model):
    """All that a caller could see of a model: tensors bit by bit and by identity, modes, hooks."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    parts = list(model.modules())
    hooks = [
        list(kept)
        for part in parts
        for kept in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    ]
    kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    identity = {
        name: (id(tensor), tensor.data_ptr(), tensor.device, tensor._version) for name, tensor in tensors.items()
    }
    attributes = [{key: id(value) for key, value in vars(part).items() if torch.is_tensor(value)} for part in parts]
    return kept, identity, [part.training for part in parts], hooks, attributes


def assert_unchanged(model, before):
    now = state(model)
    assert now[1:] == before[1:]
    for name, tensor in before[0].items():
        assert torch.equal(now[0][name], tensor), name


class Seen(nn.Module):
    """Keeps what went through it last as a plain attribute, graph and all."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), None

    def forward(self, images):
        self.last = self.conv(images)
        return self.last


def shared(make):
    """A kind of sharing, as a model that is run once: what is computed is computed then."""
    torch.manual_seed(0)
    model = make()
    model.train()
    model(torch.randn(2, 3, 8, 8))
    return model


def used_twice():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(3), conv)


def tied():
    first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    second.weight = first.weight
    return nn.Sequential(first, second)


def tied_half():
    model = tied()
    model[1].bias = nn.Parameter(torch.zeros(3))
    model[0].bias = model[1].bias
    return model


def shared_buffer():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[3].running_mean = model[1].running_mean
    return model


def shared_block():
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    return nn.Sequential(block, nn.ReLU(), block, block[0])


def a_view():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    model[1].weight = nn.Parameter(model[0].weight.data.view(3, 3, 1, 1))
    return model


def hooked():
    model = used_twice()
    model.seen = []
    model[0].register_forward_hook(lambda part, inputs, output, seen=model.seen: seen.append(output.sum().item()))
    model[0].register_full_backward_hook(lambda part, inner, outer: None)
    return model


def modes():
    model = used_twice()
    model[1].eval()
    return model


SHARINGS = {
    "a module used twice": used_twice,
    "a tied weight": tied,
    "weight and bias tied crosswise": tied_half,
    "a shared buffer": shared_buffer,
    "a shared block": shared_block,
    "one memory": a_view,
    "a kept output": lambda: nn.Sequential(Seen(), nn.Conv2d(3, 2, 1)),
    "a spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(3, 3, 3)), nn.Conv2d(3, 3, 1)),
    "an old spectral norm": lambda: nn.Sequential(spectral_norm(nn.Conv2d(3, 3, 3))),
    "an old weight norm": lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 3, 3))),
    "pruned": lambda: nn.Sequential(prune.ln_structured(nn.Conv2d(3, 4, 3), "weight", 0.2, 2, 1)),
    "hooks": hooked,
    "mixed modes": modes,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's, of its own older functions
@pytest.mark.parametrize("name", SHARINGS)
def test_a_model_is_never_changed(name):
    model = shared(SHARINGS[name])
    before, seen = state(model), list(getattr(model, "seen", []))
    table = el.filter_flow(model, example=torch.zeros(1, 3, 8, 8))
    el.filter_flow(model, (8, 8))
    if not table.entropy_change.isin([-torch.inf]).any():
        guidance = el.EntropyGuidance(model, dict.fromkeys(set(table.name) - set(table.attrs["tied"]), 1e-3))
        guidance()
        guidance.per_layer()
    with pytest.raises(RuntimeError, match="does not run on the shape"):
        el.filter_flow(model, example=torch.zeros(1, 4, 8, 8))
    assert_unchanged(model, before)
    assert list(getattr(model, "seen", [])) == seen


def constructors():
    """Every classifier and segmentation network of torchvision, and one of each of five families of timm."""
    from replication.vision import import_torchvision

    vision = import_torchvision()
    quick = ("resnet18", "mobilenet_v3_small", "squeezenet1_1")
    sides = {"inception_v3": 299}
    found = []
    for module in (vision.models, vision.models.segmentation):
        for name in vision.models.list_models(module):
            make = partial(vision.models.get_model, name, weights=None)
            extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            extra |= {"weights_backbone": None} if module is vision.models.segmentation else {}
            side = 224 if name.startswith(("vit", "maxvit")) else sides.get(name, 96)
            marks = () if name in quick else pytest.mark.slow
            found.append(pytest.param(partial(make, **extra), side, id=name, marks=marks))
    for name in ("vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0", "mixer_s32_224", "regnetx_002"):
        found.append(pytest.param(partial(_timm, name), 224, id=f"timm {name}", marks=pytest.mark.slow))
    return found


def _timm(name):
    import timm

    return timm.create_model(name, pretrained=False)


@pytest.mark.parametrize(("make", "side"), constructors())
def test_no_network_of_the_zoo_is_changed_and_all_its_layers_are_seen(make, side):
    try:
        with torch.device("meta"):
            model = make()
        model = model.to_empty(device="cpu")  # whatever the memory holds is as good as a weight here
    except NotImplementedError:  # RegNet computes its widths with tensors
        model = make()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.detach().nan_to_num_(0.0, 0.0, 0.0)
    model.train()
    before = state(model)
    sizes = map_sizes(model, torch.zeros(1, 3, side, side))
    assert_unchanged(model, before)
    known = {name for name, part in model.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))}
    assert set(sizes) == known


@settings(deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 2)]), st.sampled_from([(1, 1), (2, 2), (3, 1)]),
    st.sampled_from([1, 2]), st.sampled_from([(2, 2), (4, 2), (2, 6)]), st.booleans(),
)  # fmt: skip
def test_a_convolution_is_measured_as_it_is_applied(seed, stride, dilation, groups, channels, transposed):
    torch.manual_seed(seed)
    out, into = channels
    make = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = make(into, out, (3, 2), stride=stride, dilation=dilation, groups=groups, bias=False).double()
    size = (6, 6)
    map_seen = tuple(n // s for n, s in zip(size, stride, strict=True)) if transposed else size
    kernel = layer.weight.detach()

    def circular(images):
        """The convolution with the stored weight, around the edges; the transposed one is its transpose."""
        down, across = (torch.arange(n + d * (k - 1)) % n for n, d, k in zip(size, dilation, (3, 2), strict=True))
        return F.conv2d(images[:, :, down][:, :, :, across], kernel, stride=stride, dilation=dilation, groups=groups)

    matrix = jacobian(circular, out if transposed else into, size)
    expected = log_det(matrix) / min(matrix.shape)
    table = el.filter_flow(nn.Sequential(layer), map_seen)
    # Where taps fall on one another a small map may be singular; both accounts see it, neither to the last digit.
    assert table.exact[0] == pytest.approx(expected, abs=1e-6) or expected < -8


def test_layers_that_are_used_without_being_called_have_rows_in_order():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    table = el.filter_flow(model, example=torch.zeros(1, 5, 8))
    assert table.name.tolist() == ["self_attn.out_proj", "linear1", "linear2"]
    assert "in_proj_weight[q]" in table.attrs["skipped"]["self_attn"]


class Conv1D(nn.Module):
    """GPT-2's dense layer stores (in, out)."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.zeros(5))

    def forward(self, inputs):
        return inputs @ self.weight + self.bias


def test_a_foreign_dense_layer_is_known_by_its_full_name(monkeypatch):
    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    layer = Conv1D()
    table = el.filter_flow(nn.Sequential(layer), example=torch.zeros(2, 3))
    assert table.entropy_change[0] == pytest.approx(float(el.dense_entropy_change(layer.weight.detach().T)))
    weight = el.EntropyGuidance(layer, {"": 1.0})()
    torch.testing.assert_close(weight, -el.dense_entropy_change(layer.weight.T))


def test_gpt2_is_read_whole():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    for example in (None, {"input_ids": torch.zeros(1, 4, dtype=torch.long)}):
        table = el.filter_flow(model, example=example)
        assert len(table) == 9 and set(table.attrs["skipped"]) == {"transformer.wte", "transformer.wpe"}


def test_an_example_may_be_several_arguments():
    model = nn.Bilinear(3, 3, 2)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.both = nn.Linear(3, 3), nn.Linear(4, 3), model

        def forward(self, one, two):
            return self.both(self.first(one), self.second(two))

    example = torch.zeros(1, 3), torch.zeros(1, 4)
    for given_as in (example, dict(zip(("one", "two"), example, strict=True))):
        table = el.filter_flow(Two(), example=given_as)
        assert table.name.tolist() == ["first", "second"] and "not linear" in table.attrs["skipped"]["both"]


def test_an_image_of_one_needs_no_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    assert el.filter_flow(model, example=torch.zeros(1, 3, 8, 8)).name.unique().tolist() == ["0", "4"]
    assert all(part.training for part in model.modules())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["an old spectral norm", "an old weight norm", "a spectral norm"])
def test_a_weight_that_is_computed_is_read_as_the_last_step_left_it(name):
    model = shared(SHARINGS[name])
    guidance = el.EntropyGuidance(model, {"0": 1.0})
    torch.testing.assert_close(guidance(), el.ConvEntropyLoss(1.0)(model.eval()[0].weight))
    model.train()(torch.zeros(1, 3, 8, 8)).sum().backward()
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.add_(torch.randn_like(parameter))
    ahead = guidance()
    ahead.backward()  # of this step's numbers, before the model has seen them
    if "weight norm" in name:
        model(torch.zeros(1, 3, 8, 8))
        torch.testing.assert_close(ahead, el.ConvEntropyLoss(1.0)(model[0].weight))


class Adapter(nn.Module):
    """As peft's: it stands where the layer stood and shows the frozen base's weight as its own."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base.requires_grad_(False)
        self.lora_A, self.lora_B = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)

    @property
    def weight(self):
        return self.base_layer.weight

    def forward(self, inputs):
        return self.base_layer(inputs) + self.lora_B(self.lora_A(inputs))


def test_an_adapter_is_refused_also_where_it_came_later():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    guidance = el.EntropyGuidance(model, {"0": 1.0})
    model[0] = Adapter(model[0])
    for refused in (guidance, lambda: el.EntropyGuidance(model, {"0.weight": 1.0})):
        with pytest.raises(ValueError, match="cannot be guided: Adapter is an adapter .* merge"):
            refused()
    table = el.filter_flow(model)
    assert table.name.tolist() == ["1"] and "merge" in table.attrs["skipped"]["0.base_layer"] or table.attrs["skipped"]


def test_a_frozen_weight_is_said_and_a_tied_one_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        el.EntropyGuidance(model, {"0": 1.0})
    model[0].weight.requires_grad_(False)
    with pytest.warns(UserWarning, match="'0' is frozen"):
        el.EntropyGuidance(model, {"0": 1.0})
    model[1].weight = model[0].weight = nn.Parameter(torch.eye(4))
    with pytest.raises(ValueError, match="'0' and '1' are one weight"):
        el.EntropyGuidance(model, {"0": 1.0, "1": 1.0})
    assert el.filter_flow(model).attrs["tied"] == {"1": "0"}


UNUSABLE = {
    "meta": (lambda: nn.Linear(3, 3, device="meta"), "meta device"),
    "lazy": (lambda: nn.LazyLinear(3), "lazy"),
    "float8": (lambda: _cast(nn.Linear(3, 3), torch.float8_e4m3fn), "16, 32 or 64 bits, got torch.float8"),
    "sparse": (lambda: _sparse(), "dense tensor"),
    "empty": (lambda: nn.Linear(0, 3), "empty"),
}


def _cast(layer, dtype):
    layer.weight = nn.Parameter(layer.weight.data.to(dtype), requires_grad=False)
    return layer


def _sparse():
    layer = nn.Linear(3, 3)
    layer.weight = nn.Parameter(torch.eye(3).to_sparse())
    return layer


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("name", UNUSABLE)
def test_what_has_no_numbers_is_named(name):
    make, message = UNUSABLE[name]
    model = nn.Sequential(make())
    with pytest.raises((ValueError, TypeError), match=f"'0'.*{message}"):
        el.EntropyGuidance(model, {"0": 1.0})
    with pytest.raises(ValueError, match=f"layer '0'.*{message}"):
        el.filter_flow(model)


def test_a_loss_that_is_infinite_from_the_start_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    prune.random_unstructured(model[0], "weight", 0.3)
    with torch.no_grad():
        model[0].weight_mask[0, 0, 0, 0] = 0
    with pytest.raises(ValueError, match="'0' cannot be guided: a first tap is exactly zero"):
        el.EntropyGuidance(model, {"0": 1e-3})
    el.EntropyGuidance(model, {"0": 1e-3}, form="reciprocal")
    spared = (model[0].weight_mask[:, :, 0, 0] != 0).float()
    guidance = el.EntropyGuidance(model, {"0": 1e-3 * spared})
    guidance().backward()
    assert model[0].weight_orig.grad.isfinite().all()
    nn.init.zeros_(model[2].weight)
    with pytest.raises(ValueError, match="'2' cannot be guided: its square part is singular"):
        el.EntropyGuidance(model, {"2": 1e-3})


SIZES = [(4.7, 4.2), "88", (float("inf"), 4), (0, 4), (True,), 5, (4,)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes_are_whole_numbers(size):
    for refused in (
        lambda: el.conv_entropy_change(torch.ones(2, 2), size),
        lambda: el.filter_flow(nn.Conv2d(1, 1, 1), size),
        lambda: el.circular_conv_entropy_change(torch.ones(2, 2), (4, 4), stride=0 if size == 5 else size),
    ):
        with pytest.raises(ValueError, match="pair of whole numbers"):
            refused()


@pytest.mark.parametrize("points", [0, -1, 2.5, "a", None])
def test_nodes_are_a_whole_number(points):
    with pytest.raises(ValueError, match="points must be a whole number"):
        el.mahler_measure(torch.ones(2, 2), points)


def test_an_empty_batch_has_no_measure_and_a_matrix_beyond_memory_is_refused():
    for function in (el.mahler_measure, lambda k: el.conv_entropy_change(k, (4, 4)), el.dense_entropy_change):
        assert function(torch.ones(0, 3, 3)).shape == (0,)
    for function in (el.complete_conv, el.conv_matrix):
        with pytest.raises(ValueError, match="more than memory holds"):
            function(torch.ones(3, 3), (224, 224))
    with pytest.raises(ValueError, match="does not divide"):
        el.circular_conv_entropy_change(torch.ones(2, 2), (5, 4), stride=(2, 2))


@given(
    st.integers(0, 2**31), st.sampled_from([1e-30, 1e-14, 1e-6, 1.0]), st.sampled_from([torch.float32, torch.float64])
)
def test_the_mahler_measure_obeys_its_bounds_and_symmetries_at_every_scale(seed, edge, dtype):
    kernel = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kernel[:, -1] *= edge
    kernel = kernel.to(dtype)
    measure = float(el.mahler_measure(kernel, 512))
    corners = [kernel[i, j].abs().log().item() for i in (0, -1) for j in (0, -1)]
    assert max(corners) - 0.05 <= measure <= kernel.double().norm().log().item() + 1e-6
    for same in (kernel.flip(0), kernel.flip(1), kernel.T):
        assert float(el.mahler_measure(same.contiguous(), 512)) == pytest.approx(measure, abs=0.02)


SHARDED = """
    import torch, torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    import entropy_lib as el

    dist.init_process_group("gloo")
    for late in (False, True):
        torch.manual_seed(0)
        dense, conv = (nn.Linear, (8, 6), el.DenseEntropyLoss(0.3)), (nn.Conv2d, (3, 5, 2), el.ConvEntropyLoss(0.3))
        for make, shape, penalty in (dense, conv):
            whole, shards = nn.Sequential(make(*shape)), nn.Sequential(make(*shape))
            shards.load_state_dict(whole.state_dict())
            penalty(whole[0].weight).backward()
            guidance = el.EntropyGuidance(shards, {"0": 0.3}) if late else None
            fully_shard(shards, mesh=init_device_mesh("cpu", (2,)))
            (guidance or el.EntropyGuidance(shards, {"0": 0.3}))().backward()
            torch.testing.assert_close(shards[0].weight.grad.full_tensor(), whole[0].weight.grad)
    table = el.filter_flow(shards, (4, 4))
    assert (table.exact[0] - el.filter_flow(whole, (4, 4)).exact[0]) < 1e-6
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_sharded_weights_are_gathered_on_two_processes(tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(textwrap.dedent(SHARDED))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_copies_of_guidance_follow_copies_of_the_model():
    model = nn.Sequential(nn.Linear(3, 3))
    both = nn.ModuleDict({"model": model, "entropy": el.EntropyGuidance(model, {"0": 1.0})})
    copied = copy.deepcopy(both)
    with torch.no_grad():
        copied.model[0].weight.mul_(2)
    assert float((copied.entropy() - both.entropy()).detach()) == pytest.approx(-3 * torch.tensor(2.0).log().item())
