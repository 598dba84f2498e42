"""The recipes give λ the same meaning whatever the framework does: each against a step that is written out."""

import subprocess
import sys
import textwrap

import jupytext
import pytest
import torch
from torch import nn

from entropy_lib import DenseEntropyLoss, EntropyGuidance
from replication.pages import book
from replication.vision import import_torchvision
from tests.test_project import ROOT

RATE, COEFFICIENT = 0.5, 1e-2


def recipe(name: str, **given):
    """A class as the chapter shows it."""
    import_torchvision()
    cells = jupytext.read(book.SOURCES / "recipes.md").cells
    (source,) = [cell.source for cell in cells if f"class {name}(" in cell.source]
    names = {"torch": torch, "nn": nn, "EntropyGuidance": EntropyGuidance, **given}
    imports = "\n".join(line for line in source.splitlines() if line.startswith(("from ", "import ")))
    start = source.index(f"class {name}(")
    body = "\n\n\n".join(source[start:].split("\n\n\n")[:1])
    exec(f"{imports}\n\n{body}", names)
    return names[name]


class Plain(nn.Module):
    """A model whose forward knows nothing of what a step consists of."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, inputs, labels=None):
        return {"loss": nn.functional.cross_entropy(self.head(self.layer(inputs).tanh()), labels)}


class Knowing(Plain):
    """One that normalises its loss over the whole step, as transformers' own models do."""

    def forward(self, inputs, labels=None, num_items_in_batch=None, **loss_kwargs):
        logits = self.head(self.layer(inputs).tanh())
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        return {"loss": loss / (len(labels) if num_items_in_batch is None else num_items_in_batch)}


def oracle(weight: torch.Tensor) -> torch.Tensor:
    """What a step of gradient descent adds to the weight for the sake of the entropy term."""
    weight = weight.detach().clone().requires_grad_()
    DenseEntropyLoss(COEFFICIENT)(weight).backward()
    return -RATE * weight.grad


def examples(count: int) -> list[dict]:
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    return [{"inputs": torch.randn(6, generator=random), "labels": label} for label in labels]


def trained(make, guided: bool, folder, count: int, size: int, accumulation: int, **more):
    import_torchvision()
    from transformers import PrinterCallback, TrainingArguments

    torch.manual_seed(0)
    model = make()
    before = model.layer.weight.detach().clone()
    entropy = EntropyGuidance(model, {"layer": COEFFICIENT if guided else 0.0})
    arguments = TrainingArguments(
        str(folder), num_train_epochs=1, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=4, learning_rate=RATE, lr_scheduler_type="constant", optim="sgd", max_grad_norm=0,
        report_to=[], disable_tqdm=True, save_strategy="no", logging_strategy="no", use_cpu=True, **more,
    )  # fmt: skip
    trainer = recipe("GuidedTrainer")(model, arguments, train_dataset=examples(count), entropy=entropy)
    trainer.remove_callback(PrinterCallback)
    return trainer, model, before


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("count", "size", "accumulation"), [(8, 8, 1), (8, 2, 4), (6, 2, 4)])
@pytest.mark.parametrize("make", [Plain, Knowing])
def test_a_step_of_trainer_is_the_oracles(make, count, size, accumulation, bf16, tmp_path):
    moved = []
    for guided in (False, True):
        trainer, model, before = trained(make, guided, tmp_path, count, size, accumulation, bf16=bf16)
        trainer.train()
        assert trainer.state.global_step == 1
        moved.append(model.layer.weight.detach() - before)
    torch.testing.assert_close(moved[1] - moved[0], oracle(before), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("make", [Plain, Knowing])
def test_the_loss_of_an_evaluation_is_the_tasks_alone(make, tmp_path):
    trainer, model, _ = trained(make, True, tmp_path, 8, 8, 1)
    found = trainer.evaluate(examples(8))["eval_loss"]
    batch = {name: torch.stack([each[name] for each in examples(8)]) for name in ("inputs", "labels")}
    assert found == pytest.approx(float(model(**batch)["loss"].detach()), rel=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize(("size", "accumulation"), [(8, 1), (2, 4)])
def test_a_step_of_lightning_is_the_oracles(size, accumulation, precision):
    import_torchvision()
    import lightning

    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))

    moved = []
    for coefficient in (0.0, COEFFICIENT):
        classifier = recipe("Classifier", lightning=lightning, network=network)(coefficient)
        classifier.configure_optimizers = lambda of=classifier: torch.optim.SGD(of.parameters(), lr=RATE)
        before = classifier.model[0].weight.detach().clone()
        pairs = [(each["inputs"], each["labels"]) for each in examples(8)]
        lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accumulate_grad_batches=accumulation, precision=precision,
        ).fit(classifier, torch.utils.data.DataLoader(pairs, size))  # fmt: skip
        moved.append(classifier.model[0].weight.detach().float() - before)
    torch.testing.assert_close(moved[1] - moved[0], oracle(before), rtol=1e-3, atol=1e-6)


TWO = """
    import sys
    sys.path.insert(0, {root!r})
    import torch
    from tests.test_recipes import *

    moved = []
    for guided in (False, True):
        trainer, model, before = trained({make}, guided, sys.argv[1], 16, 2, 4, ddp_backend="gloo")
        trainer.train()
        moved.append(model.layer.weight.detach() - before)
    torch.testing.assert_close(moved[1] - moved[0], oracle(before), rtol=1e-3, atol=1e-6)
"""


@pytest.mark.slow
@pytest.mark.parametrize("make", ["Plain", "Knowing"])
def test_a_step_of_trainer_on_two_processes_is_the_oracles(make, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(TWO.format(root=str(ROOT), make=make)), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    ran = subprocess.run([*command, str(script), str(tmp_path)], capture_output=True, encoding="utf-8", timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]
