"""What the paper did not ask of its autoencoders, from stored curves: protocols, time to quality, alternatives."""

from itertools import product

import numpy as np
import pandas as pd
import torch
from statsmodels.duration.survfunc import SurvfuncRight

from entropy_lib.guidance import DenseEntropyLoss
from replication import paper
from replication.experiments.autoencoder.experiment import AUTOENCODER, outcomes
from replication.experiments.autoencoder.training import Init, initial_network
from replication.statistics import agreement, effect, sign_table
from replication.sweep.stopping import EarlyStopping
from replication.sweep.store import Store

STRONG = (0.01, 0.1, 1.0, 10.0)
RULES = {
    "none": EarlyStopping(),
    "1e-4": EarlyStopping(min_delta=1e-4),
    "1e-3": EarlyStopping(min_delta=1e-3),
    "1 %": EarlyStopping(min_delta=0.01, relative=True),
}
# What Section 5.2 says of MNIST at d >= 100, as intervals for mean stopping epochs and mean errors.
STATEMENTS = {
    "over 40 epochs at λ = 0": ("stops", "free", 40, np.inf),
    "8-10 epochs at λ ≥ 0.01": ("stops", "strong", 8, 10),
    "MSE near 0.003 at λ = 0": ("MSE", "free", 0.002, 0.004),
    "MSE near 0.010 at λ ≥ 0.01": ("MSE", "strong", 0.008, 0.012),
}


def protocol_table(store: Store, latent: int, data: str = "mnist") -> pd.DataFrame:
    """Every combination of protocol variables, and what it makes of the same stored curves.

    One row per {form, batch, initialisation} that has records at this latent dimension and per
    {monitored quantity, tolerance, epoch at which the error is read}: mean stopping epoch and test MSE
    for λ = 0 and λ >= 0.01, how many of `STATEMENTS`, which are about MNIST, come out, and the share of the cells of
    Figs 3(b) and 4(b) that agree (NaN without every λ and two seeds). Sorted by statements, then agreement.
    """
    rows = []
    for monitored, (tolerance, rule), at in product(
        ("validation_mse", "validation_loss"), RULES.items(), ("stop", "best")
    ):
        table = outcomes(store, rule, monitored, at)
        table = table[(table.data == data) & (table.latent == latent)]
        table = table[table.rate == AUTOENCODER.settings["rate"]]
        table = table[table.form.isin(["log", "reciprocal"]) & table.init.isin(["torch", "glorot"])]
        for (form, batch, init), group in table.groupby(["form", "batch", "init"]):
            # Without a coefficient the two forms are the same network.
            free = table[(table.coefficient == 0) & (table.batch == batch) & (table.init == init)]
            strong = group[group.coefficient.isin(STRONG)]
            if len(free) and len(strong):
                key = {"form": form, "batch": batch, "init": init, "monitored": monitored, "tolerance": tolerance}
                rows.append({**key, "MSE at": at, **_judged(free, strong, group)})
    ranks = ["statements met", "Fig. 4(b)", "Fig. 3(b)"]
    return pd.DataFrame(rows).sort_values(ranks, ascending=False, ignore_index=True) if rows else pd.DataFrame()


def _judged(free: pd.DataFrame, strong: pd.DataFrame, group: pd.DataFrame) -> dict:
    measured = {
        ("stops", "free"): free.stopping_epoch.mean(), ("stops", "strong"): strong.stopping_epoch.mean(),
        ("MSE", "free"): free.test_mse.mean(), ("MSE", "strong"): strong.test_mse.mean(),
    }  # fmt: skip
    # A run that had not stopped at the horizon would have stopped later: a bound, which can meet no upper end.
    late = {"free": free.censored.any(), "strong": strong.censored.any()}
    met = [
        low <= measured[what, who] <= high and not (what == "stops" and late[who] and np.isfinite(high))
        for what, who, low, high in STATEMENTS.values()
    ]
    grids = {}
    for name, measure in (("Fig. 4(b)", "stopping_epoch"), ("Fig. 3(b)", "test_mse")):
        samples = {c: runs[measure].to_numpy() for c, runs in group.groupby("coefficient")}
        whole = set(samples) == set(paper.COEFFICIENTS) and min(map(len, samples.values())) > 1
        theirs = paper.sign_grid("mnist", {"test_mse": "mse"}.get(measure, measure))[1]
        grids[name] = agreement(sign_table(samples), theirs) if whole else np.nan
    values = {f"{what}, {'λ = 0' if who == 'free' else 'λ ≥ 0.01'}": v for (what, who), v in measured.items()}
    bounds = {f"bound, {'λ = 0' if who == 'free' else 'λ ≥ 0.01'}": bool(each) for who, each in late.items()}
    return {"statements met": sum(met), **grids, **values, **bounds, "seeds": strong.seed.nunique()}


def time_to(store: Store, table: pd.DataFrame, errors: list[float]) -> pd.DataFrame:
    """First epoch at which each trial's test MSE is down to each error: long form with `error`, `epochs`, `reached`.

    A trial that never gets there is censored at its horizon.
    """
    joined = store.curves(AUTOENCODER.name).merge(table[["trial", "data", "latent", "seed", "coefficient", "horizon"]])
    rows = []
    for trial, curve in joined.groupby("trial", sort=False):
        mse, first = curve.test_mse.to_numpy(), curve.iloc[0]
        for error in errors:
            reached = (mse <= error).any()
            epochs = int((mse <= error).argmax()) if reached else first.horizon
            rows.append((trial, first.data, first.latent, first.seed, first.coefficient, error, epochs, reached))
    return pd.DataFrame(rows, columns=["trial", "data", "latent", "seed", "coefficient", "error", "epochs", "reached"])


def median_time(times: pd.DataFrame) -> pd.DataFrame:
    """Kaplan-Meier median of the epochs to each error, by latent dimension and λ; NaN where fewer than half arrive."""
    rows = []
    for key, group in times.groupby(["latent", "coefficient", "error"]):
        median = np.nan
        if group.reached.any():
            median = SurvfuncRight(group.epochs.to_numpy(float), group.reached.to_numpy(int)).quantile(0.5)
        rows.append((*key, median))
    return pd.DataFrame(rows, columns=["latent", "coefficient", "error", "epochs"])


def races(times: pd.DataFrame) -> pd.DataFrame:
    """Guided against unguided, seed by seed, to every error that either reaches: counts of who is there first."""
    key = ["latent", "seed", "error"]
    free = times.loc[times.coefficient == 0, [*key, "epochs", "reached"]]
    guided = times[times.coefficient > 0].merge(free, on=key, suffixes=("", "_free"))
    guided = guided[guided.reached | guided.reached_free]
    ours, theirs = (
        guided[c].where(guided[r], np.inf) for c, r in (("epochs", "reached"), ("epochs_free", "reached_free"))
    )
    result = np.select([ours < theirs, ours > theirs], ["guided first", "unguided first"], "same epoch")
    return guided.assign(result=result).groupby(["latent", "coefficient", "result"]).size().unstack(fill_value=0)


def stops(runs: pd.DataFrame) -> str:
    """The mean stopping epoch; at least that where some run had not stopped at the horizon."""
    return f"{'≥ ' if runs.censored.any() else ''}{runs.stopping_epoch.mean():.1f}"


def alternatives(table: pd.DataFrame, latent: int = 100) -> pd.DataFrame:
    """Each way to shape the encoder with its best setting: chosen by validation MSE, judged by test MSE.

    Both at the epoch at which the table was read; the difference to the unguided network is paired by seed. A way
    counts only with all its settings, each over the same seeds as the unguided network has.
    """
    at = table[(table.data == "mnist") & (table.latent == latent) & (table.batch == 32)]
    free = AUTOENCODER.default(at).query("coefficient == 0").set_index("seed")
    ways = {
        "square part, log (the paper's)": AUTOENCODER.default(at),
        "square part on live pixels": AUTOENCODER.default(at, form="live"),
        "Gram determinant of the whole weight": AUTOENCODER.default(at, form="gram"),
        "weight decay on the encoder": AUTOENCODER.default(at, form="decay"),
        "orthogonal initialisation": at[at.init.str.startswith("orthogonal")],
    }
    rows: list[dict[str, object]] = []
    for name, runs in ways.items():
        runs = runs[(runs.coefficient > 0) | runs.init.str.startswith("orthogonal")]
        settings = runs.groupby(["coefficient", "init"])
        seeds = sorted(set(runs.seed) & set(free.index))
        if len(settings) < 6 or len(seeds) < 2 or settings.seed.nunique().min() < len(seeds):
            rows.append({"way": name, "setting": "not run here"})
            continue
        (coefficient, init), best = min(settings, key=lambda pair: pair[1].validation_mse.mean())
        best = best.set_index("seed").loc[seeds]
        difference = effect((best.test_mse - free.test_mse.loc[seeds]).to_numpy())
        rows.append(
            {"way": name, "setting": f"λ = {coefficient:g}" if coefficient else f"gain {Init.read(init).gain:g}",
             "test MSE": best.test_mse.mean(), "stopping epoch": stops(best),
             "minus unguided": difference.mean, "low": difference.low, "high": difference.high, "seeds": len(seeds)}
        )  # fmt: skip
    measured = ["test MSE", "stopping epoch", "minus unguided", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=["way", "setting", *measured]).set_index("way")


def reciprocal_gradients(latents: tuple[int, ...], eps: tuple[float, ...], pixels: int = 784) -> pd.DataFrame:
    """Norm of the gradient of 1/(|det W| + eps) at initialisation, seed 0, as this library's loss computes it."""
    rows = []
    for dtype, init, latent in product((torch.float32, torch.float64), ("torch", "glorot"), latents):
        weight = initial_network(Init(init), latent, pixels, seed=0)[0].to(dtype).requires_grad_()
        for e in eps:
            loss = DenseEntropyLoss(form="reciprocal", eps=e)(weight)
            norm = float(torch.autograd.grad(loss, weight)[0].double().norm())
            rows.append({"dtype": str(dtype).removeprefix("torch."), "init": init, "d": latent, "eps": e, "norm": norm})
    return pd.DataFrame(rows)
