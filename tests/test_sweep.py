"""Trials, stacks, the store and the engine's contract, on the embedded digits."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import entropy_lib as el
from entropy_lib.theory.linalg import inverse
from replication.data.registry import load
from replication.experiments.autoencoder import experiment as autoencoder
from replication.experiments.autoencoder import training
from replication.experiments.autoencoder.experiment import AUTOENCODER
from replication.experiments.autoencoder.training import Init
from replication.experiments.experiment import Plan
from replication.experiments.pace import hours, pace, ratios, shares
from replication.experiments.registry import EXPERIMENTS, faults, store_for
from replication.files import write_atomically
from replication.sweep import schema
from replication.sweep.run import Progress, SweepFailed, run
from replication.sweep.stopping import EarlyStopping
from replication.sweep.store import InvalidRecord, StackResult, Store
from replication.sweep.trial import Scope, Trial, identity, stacks
from tests.helpers import (
    PROVENANCE,
    QUIET,
    digits_trials,
    outcomes,
    started,
    takes_its_workers_along,
    wait_until,
)


def train(trials, dtype=torch.float64) -> pd.DataFrame:
    return autoencoder.train_stack(trials, "cpu", lambda: None, dtype).curves


def plain_loop(trial: Trial) -> list[float]:
    """The same training as a user would write it: one nn.Module, torch's Adam, the public loss."""
    data = load("digits")
    pixels = data.flat("train", dtype=torch.float64)
    generator = torch.Generator().manual_seed(trial.seed)
    config = trial.config
    latent = config.latent
    model = nn.Sequential(nn.Linear(64, latent), nn.Sigmoid(), nn.Linear(latent, 64), nn.Sigmoid()).double()
    with torch.no_grad():
        for parameter, bound in zip(model.parameters(), [64**-0.5] * 2 + [latent**-0.5] * 2, strict=True):
            shape = parameter.shape if parameter.ndim == 2 else (1, *parameter.shape)
            parameter.copy_(((2 * torch.rand(shape, generator=generator) - 1) * bound).reshape(parameter.shape))
    optimiser = torch.optim.Adam(model.parameters(), lr=config.rate)
    order = torch.Generator().manual_seed(1_000_003 + trial.seed)
    test = data.flat("test", dtype=torch.float64)
    curve = [float((model(test) - test).square().mean().detach())]
    for _ in range(config.horizon):
        for batch in torch.randperm(len(pixels), generator=order).split(config.batch):
            if len(batch) < config.batch:
                continue
            loss = (model(pixels[batch]) - pixels[batch]).square().mean()
            if config.coefficient:
                entropy = el.DenseEntropyLoss(config.coefficient, config.form, config.eps)
                loss = loss + entropy(model[0].weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        curve.append(float((model(test) - test).square().mean().detach()))
    return curve


@pytest.mark.parametrize("form", ["log", "reciprocal"])
def test_a_stacked_trial_gives_the_curve_of_the_plain_loop(form):
    trials = digits_trials(form=form)
    curves = train(trials)
    for trial in trials:
        mine = curves[curves.trial == trial.id].test_mse.to_numpy()
        np.testing.assert_allclose(mine, plain_loop(trial), rtol=1e-9)


@pytest.mark.parametrize("init", ["torch", "glorot", "orthogonal 2"])
def test_a_stacked_trial_gives_the_curve_of_the_same_trial_alone(init):
    trials = digits_trials(init=init)
    together = train(trials)
    for trial in trials:
        alone = train([trial])
        stacked = together[together.trial == trial.id].reset_index(drop=True)
        pd.testing.assert_frame_equal(stacked, alone, rtol=1e-9, atol=1e-12)


def test_coefficients_of_a_seed_share_their_start_and_seeds_do_not():
    curves = train(digits_trials())
    start = curves[curves.epoch == 0].validation_mse.to_numpy().reshape(2, 3)
    assert (start[:, :1] == start).all() and start[0, 0] != start[1, 0]


def test_divergence_is_an_outcome(tmp_path):
    trials = digits_trials(coefficients=(0.0, 1e-3), seeds=(0,), rate=1e38)
    store = Store(tmp_path)
    run(AUTOENCODER, trials, store)
    found = AUTOENCODER.summarised(store)
    assert found.diverged.any() and not found.stopping_epoch.isna().any()
    assert store.validate() == []


def test_run_skips_what_has_a_record_and_stacks_only_the_rest(tmp_path):
    store, trained = Store(tmp_path), []

    def remember(stack, device, tick):
        trained.append([trial.id for trial in stack])
        return autoencoder.train_stack(stack, device, tick)

    first, every = digits_trials(horizon=1, seeds=(0,)), digits_trials(horizon=1)
    experiment = replace(AUTOENCODER, train=remember)
    assert run(experiment, first, store) == 3
    assert run(experiment, every, store) == 3
    assert run(experiment, every, store) == 0
    assert trained[1] == [trial.id for trial in every if trial.seed == 1]
    assert store.finished("autoencoder") == {trial.id for trial in every}


KILLED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from tests.helpers import digits_trials
from replication.experiments.autoencoder.experiment import AUTOENCODER
from replication.sweep.run import run
from replication.sweep.store import Store
def slowly(stack, device, tick):
    Path(sys.argv[1], "log").open("a").write(f"{stack[0].config.latent}\\n")
    time.sleep(1.0)
    return AUTOENCODER.train(stack, device, tick)
trials = [trial for latent in (4, 5, 6) for trial in digits_trials(horizon=1, seeds=(0,), latent=latent)]
run(replace(AUTOENCODER, train=slowly), trials, Store(sys.argv[1]))
"""


def test_kill_9_loses_at_most_one_stack_and_repeats_none(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command)
    deadline = time.time() + 60
    while not list(tmp_path.glob("autoencoder/*.parquet")) and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(list(tmp_path.glob("autoencoder/*.parquet")))
    assert 1 <= finished < 3
    subprocess.run(command, check=True)
    log = (tmp_path / "log").read_text().split()
    store = Store(tmp_path)
    assert len(store.files("autoencoder")) == 3 and store.validate() == []
    assert len(log) - 3 <= 1 and log[:finished] == ["4", "5", "6"][:finished]
    assert sorted(set(log)) == ["4", "5", "6"] and log.count("4") == 1


def test_identity_changes_with_everything_that_changes_the_meaning():
    base = digits_trials()[0]
    described = base.describe()
    changed = [
        {**described, "seed": 7}, {**described, "protocol": 2}, {**described, "fingerprint": "x"},
        {**described, "config": {**described["config"], "batch": 64}},
    ]  # fmt: skip
    assert len({base.id, *map(identity, changed)}) == 5
    again = Trial(**described | {"config": AUTOENCODER.config.read(described["config"])})
    assert again == base and again.id == base.id == identity(described)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_committed_trial_is_rebuilt_with_its_identity(name):
    """From the typed configuration, whatever shape the code around it takes."""
    experiment, seen = EXPERIMENTS[name], 0
    for path in store_for("paper").files(name):
        for kept in json.loads(pq.read_schema(path).metadata[b"entropy_lib"])["trials"]:
            rest = {field: kept[field] for field in ("experiment", "protocol", "data", "fingerprint", "seed")}
            trial = Trial(**rest, config=experiment.config.read(kept["config"]))
            assert trial.id == kept["trial"] and trial.config.stored() == kept["config"]
            seen += 1
    # As many as were committed before the configurations had types, or more.
    assert seen >= {"anatomy": 0, "autoencoder": 264, "cnn": 200, "flow": 8, "imagenette": 42, "unet": 27}.get(name, 0)


def test_a_configuration_with_another_field_is_refused():
    stored = digits_trials()[0].config.stored()
    with pytest.raises(ValueError, match="fields missing or unknown: momentum"):
        AUTOENCODER.config.read(stored | {"momentum": 0.9})
    with pytest.raises(ValueError, match="fields missing or unknown: batch"):
        AUTOENCODER.config.read({name: value for name, value in stored.items() if name != "batch"})


def test_stacks_keep_order_and_lose_nothing():
    trials = digits_trials(latent=4) + digits_trials(latent=5)
    groups = stacks(trials, lambda trial: trial.config.latent)
    assert [len(group) for group in groups] == [6, 6] and sum(groups, []) == trials


def small_store(root) -> tuple[Store, list[Trial]]:
    store, trials = Store(root), digits_trials(horizon=1, seeds=(0,))
    curves = pd.DataFrame({"trial": [t.id for t in trials for _ in (0, 1)], "epoch": [0, 1] * 3, "loss": range(6)})
    store.write(trials, StackResult(curves, {"a": np.arange(3)}), [Scope("quick", "digits")] * 3, PROVENANCE)
    return store, trials


def test_store_gives_back_what_was_written(tmp_path):
    store, trials = small_store(tmp_path)
    table = store.trials("autoencoder")
    assert table.trial.tolist() == [trial.id for trial in trials]
    assert table.coefficient.tolist() == [0.0, 1e-3, 10.0] and set(table.scope) == {"quick"}
    assert store.curves("autoencoder").loss.tolist() == list(range(6))
    assert store.artefacts(table.file[0], "autoencoder")["a"].tolist() == [0, 1, 2]
    assert store.validate() == []
    none = AUTOENCODER.summarised(Store(tmp_path / "none"))
    assert none.empty and {"trial", "latent", "coefficient", "test_mse", "source", "file"} <= set(none)


def test_the_time_of_a_stack_is_shared_out_among_its_networks(tmp_path):
    store = Store(tmp_path)
    for device, seconds, seeds in (("CPU, x86_64", 12.0, [(0,), (1,)]), ("A GPU", 1.5, [(2, 3)])):
        for stack in (digits_trials(horizon=2, seeds=each) for each in seeds):
            curves = pd.DataFrame({"trial": [t.id for t in stack for _ in range(3)], "epoch": [0, 1, 2] * len(stack)})
            made = PROVENANCE | {"device": device, "wall_seconds": seconds}
            store.write(stack, StackResult(curves), [Scope("quick")] * len(stack), made)
    found = pace(AUTOENCODER, store, ["latent"]).set_index("device")
    assert found.networks.to_dict() == {"CPU, x86_64": 6, "A GPU": 6}
    assert found.together.to_dict() == {"CPU, x86_64": 3, "A GPU": 6}
    assert found.seconds.to_dict() == {"CPU, x86_64": 12 / 3 / 2, "A GPU": 1.5 / 6 / 2}
    assert ratios(found.reset_index(), ["latent"]).tolist() == [16.0]
    assert pace(AUTOENCODER, store, ["seed"]).empty
    # Taken up again after two thirds of its steps: its time is that of the last one.
    (stack,) = [digits_trials(horizon=2, coefficients=(0.0,), seeds=(4,))]
    curves = pd.DataFrame({"trial": stack[0].id, "epoch": [0, 1, 2], "seconds": [np.nan, 2.0, 2.0]})
    store.write(stack, StackResult(curves), [Scope("quick")], PROVENANCE | {"wall_seconds": 2.5})
    assert pace(AUTOENCODER, store, ["latent"]).networks.sum() == 12
    # Two stacks on a processor and the one taken up again, which trained for four seconds; a stack on a GPU.
    taken = shares(AUTOENCODER, store)
    assert taken.set_index("trial").seconds[stack[0].id] == 4.0 and taken.resumed.sum() == 1
    assert hours(taken) == {"core-hours": pytest.approx(28 / 3600), "GPU-hours": pytest.approx(1.5 / 3600)}
    assert hours(taken.assign(threads=3))["core-hours"] == pytest.approx(84 / 3600)
    # A longer training of one network holds the shorter one; the others of its stack took what they took.
    (longer,) = [digits_trials(horizon=4, coefficients=(0.0,), seeds=(0,))]
    curves = pd.DataFrame({"trial": longer[0].id, "epoch": range(5)})
    store.write(longer, StackResult(curves), [Scope("quick")], PROVENANCE | {"wall_seconds": 5.0})
    assert hours(shares(AUTOENCODER, store))["core-hours"] == pytest.approx((28 - 4 + 5) / 3600)


def _rewrite(path, change, sealed=True):
    """Change a record; its checksum is made anew, so that the fault itself has to be found."""
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"entropy_lib"])
    table = new if isinstance(new := change(metadata, table), pa.Table) else table
    if sealed:
        metadata["checksum"] = schema.checksum(table.to_pandas(), metadata)
    pq.write_table(table.replace_schema_metadata({b"entropy_lib": json.dumps(metadata)}), path)


def _renamed(m, t):
    m["trials"][0]["trial"] = identity(m["trials"][0])


def _column(name, values):
    return lambda m, t: t.set_column(t.column_names.index(name), name, pa.array(values))


FAULTS = {
    "schema": (lambda m, t: m.update(schema=99), "schema 99"),
    "provenance": (lambda m, t: m["provenance"].pop("torch"), "provenance lacks torch"),
    "identity": (lambda m, t: m["trials"][0]["config"].update(batch=1), "does not match its description"),
    "scope": (lambda m, t: m["trials"][0].update(scope="huge"), "scope 'huge'"),
    "deviation": (lambda m, t: m["trials"][0].update(scope="reduced", deviation=""), "name its deviation"),
    "epochs": (lambda m, t: t.slice(1), "epochs 0 to 1"),
    "trials": (lambda m, t: t.slice(0, 4), "disagree"),
    "description": (lambda m, t: m.pop("provenance"), "not JSON with schema"),
    "trial": (lambda m, t: m["trials"][0].pop("seed"), "lacks seed"),
    "horizon": (lambda m, t: m["trials"][0]["config"].pop("horizon"), "lacks its horizon"),
    "a list": (lambda m, t: m.update(trials=None), "trials are no list"),
    "no trial": (lambda m, t: m.update(trials=[3]), "a trial is no mapping"),
    "provenance of none": (lambda m, t: m.update(provenance=None), "provenance is no mapping"),
    "configuration of none": (lambda m, t: m["trials"][0].update(config=None), "configuration is no mapping"),
    "shadowed seed": (lambda m, t: m["trials"][0]["config"].update(seed=1), "may not have seed"),
    "shadowed trial": (lambda m, t: m["provenance"].update(trial="x"), "provenance may not have trial"),
    "shadowed field": (lambda m, t: m["provenance"].update(coefficient="x"), "provenance may not have coefficient"),
    "more keys": (lambda m, t: m["trials"][0].update(extra=1), "what none has: extra"),
    "no deviation": (lambda m, t: m["trials"][0].update(deviation=None), "deviation is no line of text"),
    "markup": (lambda m, t: m["provenance"].update(device="CPU\n\n```{raw} html\n"), "device is no line of text"),
    "name": (lambda m, t: (m["trials"][0].update(seed=5), _renamed(m, t)), "name is not that of its trials"),
    "shuffled": (lambda m, t: t.take([1, 0, 2, 3, 4, 5]), "epochs 0 to 1 in order"),
    "merged": (
        lambda m, t: pa.concat_tables([t, _column("trial", pa.array(["x"] * 6, t.schema.field("trial").type))(m, t)]),
        "disagree",
    ),
    "epochs as numbers": (_column("epoch", [0.0, 1.0] * 3), "no whole numbers"),
    "decimal commas": (_column("loss", ["0,1"] * 6), "loss holds no numbers"),
    "no number": (_column("loss", [float("nan")] * 6), "no number at all"),
    "arrays": (lambda m, t: m.update(artefacts="0" * 16), "arrays beside it"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_validator_names_the_fault(tmp_path, name):
    store, _ = small_store(tmp_path)
    (path,) = store.files("autoencoder")
    change, message = FAULTS[name]
    _rewrite(path, change)
    (fault,) = store.validate()
    assert message in fault and path.name in fault
    for read in (store.trials, store.curves, store.finished):
        with pytest.raises(InvalidRecord, match=path.name):
            read("autoencoder")


def test_a_value_that_was_changed_is_found_wherever_it_is(tmp_path):
    store, _ = small_store(tmp_path)
    (path,) = store.files("autoencoder")
    whole, arrays = path.read_bytes(), path.with_suffix(".npz")
    for change in (_column("loss", [0, 1, 2, 3, 4, 6]), lambda m, t: m["provenance"].update(device="another")):
        _rewrite(path, change, sealed=False)
        assert "its checksum is another" in store.validate()[0]
        path.write_bytes(whole)
    random = np.random.default_rng(0)
    for bit in random.integers(8 * len(whole), size=60):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        # Either the fault is found, or nothing that is read has changed.
        assert store.validate() or store.curves("autoencoder").loss.tolist() == list(range(6))
    path.write_bytes(whole)
    assert store.validate() == []
    arrays.write_bytes(arrays.read_bytes()[:40])
    assert "arrays beside it" in store.validate()[0]
    arrays.unlink()
    assert "arrays beside it" in store.validate()[0]
    path.unlink()
    arrays.write_bytes(b"")
    assert "no record stands beside" in store.validate()[0]


def test_other_writers_keep_the_description_or_are_named(tmp_path):
    store, _ = small_store(tmp_path)
    (path,) = store.files("autoencoder")
    kept = pq.read_schema(path).metadata
    frame = pq.read_table(path).to_pandas()
    plain = pa.Table.from_pandas(frame).replace_schema_metadata(None)
    with pq.ParquetWriter(path, plain.schema, store_schema=False) as writer:  # as polars: metadata in the footer alone
        writer.write_table(plain)
        writer.add_key_value_metadata(kept)
    assert store.validate() == [] and len(store.trials("autoencoder")) == 3
    frame.to_parquet(path)
    assert "holds no trial descriptions" in store.validate()[0]


def test_hidden_files_beside_records_are_nobodys(tmp_path):
    store, _ = small_store(tmp_path)
    (tmp_path / "autoencoder" / "._x.parquet").write_bytes(b"\0\5\26\7")
    assert store.validate() == [] and len(store.files("autoencoder")) == 1 and len(store.curves("autoencoder")) == 6


def test_records_of_schema_1_are_refused_until_they_are_sealed(tmp_path):
    store, _ = small_store(tmp_path)
    (path,) = store.files("autoencoder")
    before = store.curves("autoencoder")

    def old(m, t):
        m["schema"] = 1
        del m["checksum"], m["artefacts"]

    _rewrite(path, old, sealed=False)
    assert "--seal" in store.validate()[0]
    assert (store.seal(), store.seal()) == (1, 0)
    assert store.validate() == [] and store.curves("autoencoder").equals(before)


def test_experiments_ask_for_their_columns_and_for_one_set_of_data(tmp_path):
    trials = digits_trials(horizon=1)
    store = Store(tmp_path)
    run(AUTOENCODER, trials[:3], store)
    assert faults(store) == []
    other = [replace(trial, fingerprint="another", seed=1) for trial in trials[:3]]
    curves = store.curves("autoencoder").replace({a.id: b.id for a, b in zip(trials, other, strict=False)})
    path = store.write(other, StackResult(curves), [Scope("quick", "digits")] * 3, PROVENANCE)
    (fault,) = faults(store)
    assert "different data under one name digits" in fault and path.name in fault
    path.unlink()
    for change, message in (
        (lambda m, t: t.drop_columns("test_mse"), "lack the column test_mse"),
        (_column("test_mse", [-np.inf] * 6), "test_mse has values beyond 0"),
    ):
        run(AUTOENCODER, trials[:3], store)
        _rewrite(store.files("autoencoder")[0], change)
        (fault,) = faults(store)
        assert message in fault and store.files("autoencoder")[0].name in fault
        store.files("autoencoder")[0].unlink()


def test_validator_finds_doubled_trials_and_broken_files(tmp_path):
    store, trials = small_store(tmp_path)
    (path,) = store.files("autoencoder")
    curves = store.curves("autoencoder").iloc[:2]
    store.write(trials[:1], StackResult(curves), [Scope("quick", "digits")], PROVENANCE)
    assert "is also in" in store.validate()[0]
    with pytest.raises(InvalidRecord, match="stored twice"):
        store.trials("autoencoder")
    path.with_name("copy.parquet").write_bytes(path.read_bytes())
    assert any("copy.parquet: its name is not that" in fault for fault in store.validate())
    for content in (b"PAR1 but no", b"", path.read_bytes()[:50]):
        path.with_name("copy.parquet").write_bytes(content)
        assert any("copy.parquet: not a Parquet file" in fault for fault in store.validate())


def test_records_are_never_overwritten(tmp_path):
    small_store(tmp_path)
    with pytest.raises(InvalidRecord, match="never overwritten"):
        small_store(tmp_path)


@pytest.mark.parametrize(("size", "large"), [(990_000, False), (1_010_000, True)])
def test_large_arrays_are_kept_and_named(tmp_path, size, large):
    """What was trained is not lost; a trial may keep as much in a stack as alone."""
    store, trials = small_store(tmp_path)
    curves = store.curves("autoencoder")
    store.files("autoencoder")[0].unlink()
    rng = np.random.default_rng(0)  # nothing that could be compressed
    each = {trial.id: rng.integers(0, 256, size, np.uint8) for trial in trials}
    path = store.write(trials, StackResult(curves, each), [Scope("quick")] * 3, PROVENANCE)
    assert set(store.artefacts(path.name, "autoencoder")) == set(each)
    (fault,) = store.validate() or [""]
    assert ("more than 3,000,000" in fault) == large


def brute_force_stop(values, patience, margin):
    """Walk the definition: an improvement beats the best so far by more than the margin."""
    best, since = float("inf"), 0
    best_epoch = 0
    for epoch, value in enumerate(values, 1):
        if value < best - margin:
            best, since, best_epoch = value, 0, epoch
        else:
            since += 1
        if since == patience:
            return epoch, best_epoch, False
    return len(values), best_epoch, True


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(1, 8), st.integers(0, 2))
def test_early_stopping_against_brute_force(values, patience, margin):
    stop = EarlyStopping(patience, margin)(np.array(values, dtype=float))
    assert (stop.epoch, stop.best_epoch, stop.censored) == brute_force_stop(values, patience, margin)


def test_early_stopping_with_a_relative_tolerance_and_nan():
    falling = 0.99 ** np.arange(30)
    assert EarlyStopping(3, 0.001, relative=True)(falling).censored
    assert EarlyStopping(3, 0.1, relative=True)(falling).epoch == 4
    stop = EarlyStopping(2)(np.array([1.0, np.nan, np.nan, 0.5]))
    assert (stop.epoch, stop.best_epoch) == (3, 1)


def test_outcomes_apply_the_rule_to_the_stored_curve(tmp_path):
    trials, store = digits_trials(horizon=12, rate=0.05), Store(tmp_path)
    run(AUTOENCODER, trials, store)
    curves = store.curves("autoencoder")
    rule = EarlyStopping(2)
    for row in autoencoder.outcomes(store, rule).itertuples():
        curve = curves[curves.trial == row.trial].set_index("epoch")
        stop = rule(curve.validation_mse[1:].to_numpy())
        assert (row.stopping_epoch, row.best_epoch, row.censored) == (stop.epoch, stop.best_epoch, stop.censored)
        assert row.test_mse == curve.test_mse[stop.epoch] and row.best_test_mse == curve.test_mse[stop.best_epoch]
        unguided = curves[
            curves.trial == next(t.id for t in trials if t.seed == row.seed and t.config.coefficient == 0)
        ]
        target = unguided.set_index("epoch").test_mse[autoencoder.QUALITY_EPOCH]
        reached = curve.index[curve.test_mse <= target]
        assert row.epochs_to_quality == (reached[0] if len(reached) else 13)
    best = autoencoder.outcomes(store, rule, at="best")
    assert (best.test_mse == best.best_test_mse).all()


def drawn_curve(store: Store, coefficient: float, watched, seed: int = 0) -> str:
    """An autoencoder's record whose validation error goes as given from epoch 1 on."""
    [trial] = digits_trials(horizon=len(watched), coefficients=(coefficient,), seeds=(seed,))
    errors = np.array([1.0, *watched])
    curve = pd.DataFrame({"trial": trial.id, "epoch": range(len(errors))} | dict.fromkeys(AUTOENCODER.columns, 1.0))
    store.write(
        [trial], StackResult(curve.assign(validation_mse=errors, test_mse=errors)), [Scope("quick")], PROVENANCE
    )
    return trial.id


def test_stops_with_a_tolerance_walk_their_own_definition(tmp_path):
    """Improvements of 5e-3, then 1.2e-4, then 1e-5, ten of each: three rules, three stops."""
    watched = 0.5 - np.cumsum(np.repeat([5e-3, 1.2e-4, 1e-5], 10))
    store = Store(tmp_path)
    short, whole = drawn_curve(store, 0.0, watched[:20]), drawn_curve(store, 1e-3, watched, seed=1)
    rows = AUTOENCODER.summarised(store).set_index("trial")
    for trial, curve in ((short, watched[:20]), (whole, watched)):
        found = []
        for name, tolerance in (("", 0.0), ("_1e-4", 1e-4), ("_1e-3", 1e-3)):
            epoch, _, censored = brute_force_stop(curve, 7, tolerance)
            assert rows.loc[trial, [f"stopping_epoch{name}", f"censored{name}"]].tolist() == [epoch, censored]
            found.append((epoch, censored))
        assert found == (
            [(20, True), (20, True), (17, False)] if trial == short else [(30, True), (27, False), (17, False)]
        )


def test_of_two_lengths_of_one_network_the_longer_tells_the_stop(tmp_path):
    """It stops at epoch 9, which the shorter record has not reached; read up to epoch 5 both are as good."""
    store, watched = Store(tmp_path), np.array([0.9, 0.8] + [0.85] * 10)
    drawn_curve(store, 0.0, watched[:5])
    drawn_curve(store, 0.0, watched)
    (row,) = AUTOENCODER.summarised(store).itertuples()
    assert (row.stopping_epoch, row.censored, row.horizon) == (9, False, 12)
    (row,) = AUTOENCODER.summarised(Store(tmp_path, until=5)).itertuples()
    assert (row.stopping_epoch, row.censored, row.horizon) == (5, True, 5)


def test_grid_refuses_what_it_does_not_know():
    with pytest.raises(KeyError, match="quick, laptop, paper"):
        AUTOENCODER.grid("huge")
    with pytest.raises(KeyError, match="no runs on 'mnist'; it has digits"):
        AUTOENCODER.grid("quick", "mnist")
    with pytest.raises(KeyError, match="no field 'batchsize'; its fields are .*batch, rate, init, form, eps"):
        AUTOENCODER.trials(Plan.of("digits", [0], latent=4, coefficient=0.0, horizon=1, batchsize=3))
    with pytest.raises(ValueError, match="'torch', 'glorot' or 'orthogonal GAIN'"):
        train(digits_trials(init="he", horizon=1))
    with pytest.raises(ValueError, match="log, reciprocal, live, gram, decay"):
        train(digits_trials(form="det", horizon=1))


def test_grid_has_every_trial_once_and_seeds_widen_it():
    trials = AUTOENCODER.grid("quick", seeds=2)
    assert len(set(trials)) == len(trials) == 3 * 2 * 7 and set(AUTOENCODER.grid("quick")) > set(trials)


def test_an_unguided_network_is_trained_once_whatever_stands_beside_it():
    part = Plan.of("digits", [0], latent=4, coefficient=[0.0, 0.1], horizon=1, form=["log", "reciprocal"])
    trials = AUTOENCODER.trials(part, part.but(eps=0.5))
    assert [trial.config.coefficient for trial in trials].count(0.0) == 1 and len(trials) == 5


@given(st.integers(1, 4), st.integers(1, 3))
def test_comparisons_find_each_guided_network_its_partner_and_copy_none(forms, batches):
    cells = [(batch, seed) for batch in range(batches + 1) for seed in (0, 1, 2)]
    rows = [{"coefficient": 0.0, "batch": batch, "seed": seed} for batch, seed in cells]
    rows += [
        {"coefficient": c, "form": f"form {form}", "batch": batch, "seed": seed}
        for batch, seed in cells
        if batch < batches and seed < 2
        for form in range(forms)
        for c in (0.1, 1.0)
    ]
    rows = [row | {"data": "mnist", "latent": 4} for row in rows]
    table = outcomes(AUTOENCODER, rows)
    found = AUTOENCODER.compared(table, form="form 0")
    assert not found.trial.duplicated().any() and set(found.form) == {"form 0", "log"}
    assert (found[found.coefficient != 0].batch.value_counts() == 4).all()
    assert (found[found.coefficient == 0].batch.value_counts() == 3).all() and set(found.batch) == set(range(batches))


def test_orthogonal_weights_have_orthonormal_rows_times_the_gain():
    weight, _, weight_out, _ = training.initial_network(Init("orthogonal", 2.0), 6, 64, seed=0)
    torch.testing.assert_close(weight @ weight.T, 4 * torch.eye(6))
    torch.testing.assert_close(weight_out.T @ weight_out, 4 * torch.eye(6))


def dies_once(folder, stack, device, tick):
    """Train, but the first process that gets a stack with seed 1 is killed in the middle of it."""
    tick()
    marker = folder / "died"
    if stack[0].seed == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return autoencoder.train_stack(stack, device, tick)


def one_stack_a_seed(trial, device):
    return trial.seed


def curves_of(folder) -> pd.DataFrame:
    return Store(folder).curves("autoencoder").sort_values(["trial", "epoch"], ignore_index=True)


def test_processes_train_what_one_process_trains(tmp_path):
    trials = digits_trials(seeds=(0, 1, 2))
    for workers in (1, 2):
        store = Store(tmp_path / str(workers))
        assert run(replace(AUTOENCODER, stack_by=one_stack_a_seed), trials, store, replace(QUIET, workers=workers)) == 9
        assert store.validate() == [] and set(store.trials("autoencoder").threads) == {1}
    pd.testing.assert_frame_equal(curves_of(tmp_path / "1"), curves_of(tmp_path / "2"), rtol=1e-5)


def test_a_dead_process_is_reported_and_finished_stacks_are_kept(tmp_path):
    trials, store = digits_trials(horizon=1, seeds=(0, 2, 1)), Store(tmp_path)
    experiment = replace(AUTOENCODER, train=functools.partial(dies_once, tmp_path), stack_by=one_stack_a_seed)
    with pytest.raises(RuntimeError, match="run the command again"):
        run(experiment, trials, store, replace(QUIET, workers=2))
    kept = len(store.finished("autoencoder"))
    assert run(experiment, trials, store, replace(QUIET, workers=2)) == 9 - kept
    assert store.finished("autoencoder") == {trial.id for trial in trials} and store.validate() == []


def fails_or_takes_time(folder, stack, device, tick):
    """The first seed fails at once; the second is trained; the third would take for ever."""
    if stack[0].seed == 0:
        raise ValueError("one bad stack")
    if stack[0].seed == 2:
        (folder / "long").touch()
        time.sleep(120)
    return autoencoder.train_stack(stack, device, tick)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stack_that_fails_leaves_the_others_alone(tmp_path, workers):
    trials, store = digits_trials(horizon=1, seeds=(0, 1)), Store(tmp_path)
    train = functools.partial(fails_or_takes_time, tmp_path)
    experiment = replace(AUTOENCODER, train=train, stack_by=one_stack_a_seed)
    with pytest.raises(SweepFailed, match="1 of 2 stacks failed.*\n.*seed 0.*one bad stack"):
        run(experiment, trials, store, replace(QUIET, workers=workers))
    assert store.finished("autoencoder") == {trial.id for trial in trials if trial.seed == 1}


INTERRUPTED = """
import functools, sys
from pathlib import Path
from tests.test_sweep import *
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    experiment = replace(AUTOENCODER, train=functools.partial(fails_or_takes_time, folder), stack_by=one_stack_a_seed)
    run(experiment, digits_trials(horizon=1, seeds=(1, 2)), Store(folder), replace(QUIET, workers=2))
"""


@pytest.mark.parametrize("group", [False, True], ids=["the command", "its whole group"])
def test_an_interrupt_ends_a_sweep_at_once_and_keeps_what_is_finished(tmp_path, group):
    parent = started(tmp_path, INTERRUPTED, start_new_session=True, stderr=subprocess.PIPE)
    wait_until(lambda: (tmp_path / "long").exists() and list(tmp_path.glob("autoencoder/*.parquet")))
    (os.killpg if group else os.kill)(parent.pid, signal.SIGINT)
    _, error = parent.communicate(timeout=20)
    assert b"KeyboardInterrupt" in error and len(Store(tmp_path).finished("autoencoder")) == 3


def waits(folder, stack, device, tick):
    with (folder / "trained").open("a") as log:
        log.write("".join(f"{trial.id}\n" for trial in stack))
    time.sleep(1)
    return autoencoder.train_stack(stack, device, tick)


TWO = """
import functools, sys
from pathlib import Path
from tests.test_sweep import *
if __name__ == "__main__":
    folder, seeds = Path(sys.argv[1]), tuple(range(int(sys.argv[2])))
    experiment = replace(AUTOENCODER, train=functools.partial(waits, folder))
    run(experiment, digits_trials(horizon=1, seeds=seeds), Store(folder), QUIET)
"""


def test_two_sweeps_on_one_store_train_every_trial_once(tmp_path):
    both = [started(tmp_path, TWO, seeds) for seeds in (1, 2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    store, trained = Store(tmp_path), (tmp_path / "trained").read_text().split()
    assert store.validate() == [] and sorted(trained) == sorted(trial.id for trial in digits_trials(horizon=1))


def test_a_store_that_cannot_be_written_is_named_before_anything_is_trained(tmp_path):
    (tmp_path / "file").touch()
    experiment = replace(AUTOENCODER, train=lambda *_: pytest.fail("it was trained"))
    with pytest.raises(OSError, match="file"):
        run(experiment, digits_trials(horizon=1), Store(tmp_path / "file"))


def test_two_machines_may_fill_one_file_and_what_a_killed_one_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    target, left = tmp_path / "x.npy", tmp_path / ".x.npy.0123"
    left.touch()
    os.utime(left, (0, 0))

    def meanwhile(temporary):
        temporary.write_text("first")
        write_atomically(target, lambda other: other.write_text("second"))
        assert temporary.exists() and target.read_text() == "second"

    write_atomically(target, meanwhile)
    assert target.read_text() == "first" and [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def sleeps(folder, stack, device, tick):
    (folder / f"pid-{os.getpid()}").touch()
    time.sleep(120)


SLEEPING = """
import functools, sys
from pathlib import Path
from tests.test_sweep import *
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    experiment = replace(AUTOENCODER, train=functools.partial(sleeps, folder), stack_by=one_stack_a_seed)
    run(experiment, digits_trials(), Store(folder), replace(QUIET, workers=2))
"""


def test_a_killed_sweep_takes_its_workers_along(tmp_path):
    assert takes_its_workers_along(started(tmp_path, SLEEPING), tmp_path)


def test_dask_loses_and_doubles_no_trial_when_a_worker_is_killed(tmp_path):
    from distributed import LocalCluster

    trials, store = digits_trials(seeds=(0, 1, 2, 3)), Store(tmp_path)
    experiment = replace(AUTOENCODER, train=functools.partial(dies_once, tmp_path), stack_by=one_stack_a_seed)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert run(experiment, trials, store, replace(QUIET, cluster=cluster.scheduler_address)) == 12
    assert (tmp_path / "died").exists()
    assert store.finished("autoencoder") == {trial.id for trial in trials}
    assert len(store.files("autoencoder")) == 4 and store.validate() == []
    run(replace(AUTOENCODER, stack_by=one_stack_a_seed), trials, Store(tmp_path / "here"))
    pd.testing.assert_frame_equal(curves_of(tmp_path), curves_of(tmp_path / "here"), rtol=1e-5)


def test_a_silent_scheduler_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        run(AUTOENCODER, digits_trials(), Store(tmp_path), replace(QUIET, cluster="tcp://127.0.0.1:9"))


def test_the_bar_counts_a_restarted_stack_once(capsys):
    groups = stacks(digits_trials(), lambda trial: trial.seed)
    with Progress(groups, wanted=9, shown=True) as bar:
        for number in (0, 0, 0, 0, 0, 1):
            bar.tick(number)
        bar.finish(0)
        bar.finish(1)
        assert bar.bar.n == sum(trial.config.horizon for trial in digits_trials())
    assert "9 of 9 trials" in capsys.readouterr().err


def test_a_trial_for_other_data_is_refused():
    with pytest.raises(ValueError, match="another version of the data"):
        train([replace(digits_trials()[0], fingerprint="0" * 16)])


PENALTIES = {
    "log": lambda weight, train: el.DenseEntropyLoss()(weight),
    "reciprocal": lambda weight, train: el.DenseEntropyLoss(form="reciprocal")(weight),
    "gram": lambda weight, train: -el.gram_entropy_change(weight),
    "decay": lambda weight, train: weight.square().sum() / 2,
    "live": lambda weight, train: el.DenseEntropyLoss()(weight[:, train.var(0).argsort()[-len(weight) :]]),
}


@pytest.mark.parametrize("form", training.PENALTIES)
def test_every_penalty_has_the_gradient_of_its_formula(form):
    trials = digits_trials(form=form, latent=12, seeds=(0,))
    train = load("digits").flat("train", dtype=torch.float64)
    guidance = training.EntropyTerm(trials, train)
    weight = torch.randn(3, 12, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 8
    weight.grad = torch.zeros_like(weight)
    guidance.at(weight)
    guidance.add_to(weight.grad)
    for i, trial in enumerate(trials):
        alone = weight[i].clone().requires_grad_()
        expected = torch.autograd.grad(PENALTIES[form](alone, train), alone)[0]
        torch.testing.assert_close(weight.grad[i], trial.config.coefficient * expected, rtol=1e-8, atol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 200), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 2**31))
def test_inverse_against_torch(n, dtype, seed):
    matrix = torch.randn(2, n, n, generator=torch.Generator().manual_seed(seed)).to(dtype) + 3 * n**0.5 * torch.eye(n)
    identity = torch.eye(n, dtype=dtype).expand(2, n, n)
    torch.testing.assert_close(
        inverse(matrix) @ matrix, identity, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-9
    )


def test_inverse_of_a_singular_matrix_is_not_finite():
    matrix = torch.stack([torch.zeros(3, 3), torch.eye(3)])
    found = inverse(matrix)
    assert not found[0].isfinite().any() and torch.equal(found[1], torch.eye(3))
