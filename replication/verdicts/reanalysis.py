"""Decisions on the paper's statistical statements, recomputed from its own tables (`paper`)."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import AfterValidator
from scipy import stats

from replication import paper
from replication.statistics import effect, holm
from replication.sweep.store import Store
from replication.verdicts.verdict import Checks, Status, Test, Verdict

Decision = tuple[Status, str]
CHECKS = Checks()
REPLICATIONS = 10
DRAWS = 200_000


def _best_of_six_null(rng: np.random.Generator, by_mean: bool = False) -> np.ndarray:
    """Largest of six two-sample t statistics that share one baseline of ten, all effects zero.

    With `by_mean` the statistic of the group with the largest mean, which is what the paper reports.
    """
    t = np.empty(DRAWS)
    for start in range(0, DRAWS, 20_000):
        groups = rng.standard_normal((20_000, 7, REPLICATIONS))
        mean, variance = groups.mean(-1), groups.var(-1, ddof=1)
        pooled = np.sqrt((variance[:, 1:] + variance[:, :1]) / REPLICATIONS)
        each = (mean[:, 1:] - mean[:, :1]) / pooled
        best = mean[:, 1:].argmax(-1, keepdims=True) if by_mean else each.argmax(-1, keepdims=True)
        t[start : start + 20_000] = np.take_along_axis(each, best, -1)[:, 0]
    return t


def false_positive_rate(by_mean: bool = False) -> float:
    """How often the best of six λ, by its t or by its mean, beats λ = 0 with one-tailed p < 0.05 if nothing differs."""
    null = _best_of_six_null(np.random.default_rng(0), by_mean)
    return float((null > stats.t.isf(0.05, 2 * REPLICATIONS - 2)).mean())


def table_1_corrected() -> pd.DataFrame:
    """Table 1's validation p-values: printed, for the choice among six λ, for nine architectures, for both."""
    table = paper.table_1()[["architecture", "gain_validation", "p_validation"]].rename(
        columns={"gain_validation": "gain", "p_validation": "printed"}
    )
    null = np.sort(_best_of_six_null(np.random.default_rng(0)))
    t = stats.t.isf(table.printed, 2 * REPLICATIONS - 2)
    table["best of six"] = 1 - np.searchsorted(null, t) / DRAWS
    table["nine architectures"] = holm(table.printed)
    table["both"] = holm(table["best of six"])
    return table


@CHECKS.register
def table_1_all_significant() -> Decision:
    table = table_1_corrected()
    counts = {
        name: int((table[name] < 0.05).sum()) for name in ("printed", "best of six", "nine architectures", "both")
    }
    note = "of 9: " + ", ".join(f"{count} ({name})" for name, count in counts.items())
    return ("holds" if counts["both"] == 9 else "partly" if counts["both"] else "fails"), note


@CHECKS.register
def table_1_train() -> Decision:
    count = int(paper.table_1().p_train.notna().sum())
    return ("as printed" if count == 1 else "fails"), f"{count} training gain is marked as significant"


def _table_2_wide() -> pd.DataFrame:
    """One row per model, strategy and layers, in the paper's order; one column per λ."""
    table = paper.table_2()
    keys = ["model", "strategy", "layers"]
    wide = table.pivot(index=keys, columns="coefficient", values="accuracy")
    return wide.loc[pd.MultiIndex.from_frame(table[keys].drop_duplicates())]


def table_2_count() -> tuple[int, int, float, float]:
    """Rows won by some λ > 0, rows, their expected number, and P(as many) if all seven runs are exchangeable."""
    wide = _table_2_wide()
    won = int((wide.drop(columns=0.0).max(axis=1) > wide[0.0]).sum())
    return won, len(wide), len(wide) * 6 / 7, float(stats.binom.sf(won - 1, len(wide), 6 / 7))


@CHECKS.register
def table_2_seventeen() -> Decision:
    won, rows, expected, p = table_2_count()
    note = f"{won} of {rows}; seven exchangeable runs would give {expected:.1f}, and as many as {won} with P = {p:.2f}"
    return ("as printed" if won == 17 else "fails"), note


@CHECKS.register
def table_2_improves() -> Decision:
    """'These experiments demonstrate the entropy loss improves the performance': is the count evidence?

    The claim is on what the table shows. With a count that chance gives it shows nothing.
    """
    won, rows, _, p = table_2_count()
    return ("holds" if p < 0.05 else "fails"), f"{won} of {rows} or more has P = {p:.2f} without any effect"


def table_2_resolution() -> tuple[int, float, float]:
    """Validation images that the accuracies imply, the standard error of 0.79 on them, the spread of λ = 0.

    At λ = 0 the layers that would be guided do not matter: the rows of one model and strategy
    repeat one configuration, and their pooled standard deviation is noise.
    """
    table = paper.table_2()
    steps = (table.accuracy * 500).round(6)
    images = 500 if (steps == steps.round()).all() else 0
    variances = table[table.coefficient == 0].groupby(["model", "strategy"]).accuracy.agg(["var", "size"])
    pooled = (variances["var"] * (variances["size"] - 1)).sum() / (variances["size"] - 1).sum()
    return images, float(np.sqrt(0.79 * 0.21 / 500)), float(np.sqrt(pooled))


def table_2_gains() -> tuple[float, float, float]:
    """Mean gain of the best of six λ, its mean under permutation of each row's runs, and the permutation p."""
    wide = _table_2_wide().to_numpy()

    def gain(rows: np.ndarray) -> float:
        return float((rows[:, 1:].max(1) - rows[:, 0]).mean())

    rng = np.random.default_rng(0)
    null = np.array([gain(rng.permuted(wide, axis=1)) for _ in range(10_000)])
    return gain(wide), float(null.mean()), float((null >= gain(wide)).mean())


@CHECKS.register
def table_2_two_to_three_percent() -> Decision:
    """The gain of λ > 0 that was not picked after the fact, with its interval over the 18 rows."""
    wide = _table_2_wide()
    plain = effect((wide.drop(columns=0.0).mean(axis=1) - wide[0.0]).to_numpy())
    best, null, p = table_2_gains()
    note = (
        f"best of six minus baseline {best:.3f}, but {null:.3f} by permutation alone (p = {p:.2f}); "
        f"mean over all λ > 0 {plain.mean:+.3f} ({plain.low:+.3f} to {plain.high:+.3f})"
    )
    return ("fails" if plain.high < 0.02 else "holds" if plain.low >= 0.02 else "undecided"), note


@CHECKS.register
def table_2_first_layer_best() -> Decision:
    """VGG: [1] better than [1, 2] in all three strategies; three comparisons of single runs' maxima."""
    best = _table_2_wide().max(axis=1).loc["VGG"].unstack("layers")
    wins = int((best["[1]"] > best["[1,2]"]).sum())
    note = f"{wins} of 3 by the best λ, which chance gives with P = {0.5**3:.3f}"
    return ("fails" if wins < 3 else "as printed"), note


@CHECKS.register
def table_2_resnet() -> Decision:
    """ResNet: 'the loss helps in all cases except the first', and the best of all is Empirical."""
    wide = _table_2_wide().loc["ResNet"]
    helped = wide.drop(columns=0.0).max(axis=1) > wide[0.0]
    best = wide.max(axis=1).idxmax()
    true = helped.sum() == 11 and not helped.iloc[0] and best[1] == "Empirical"
    return ("as printed" if true else "fails"), f"{helped.sum()} of 12 rows; overall best: {best[1]} with {best[0]}"


@CHECKS.register
def table_2_pretrained_placement() -> Decision:
    """'In all cases' the best placement is one that pretrained models suggest."""
    suggested = {"VGG": ["[1]", "[1,2]"], "ResNet": ["Pre-skip", "Empirical"]}
    best = _table_2_wide().max(axis=1)
    winners = {key: group.droplevel([0, 1]).idxmax() for key, group in best.groupby(level=[0, 1], sort=False)}
    wrong = [
        f"{model}, {strategy}: {winners[model, strategy]}"
        for model, strategy in winners
        if winners[model, strategy] not in suggested[model]
    ]
    return (
        "fails" if wrong else "as printed"
    ), f"{len(winners) - len(wrong)} of {len(winners)}; otherwise in {'; '.join(wrong) or 'none'}"


@CHECKS.register
def table_2_vgg_strategies() -> Decision:
    """'In VGG, augmentation and dropout have positive impacts': mean accuracy over all runs of a strategy."""
    means = paper.table_2().query("model == 'VGG'").groupby("strategy", sort=False).accuracy.mean()
    return ("as printed" if means.is_monotonic_increasing else "fails"), ", ".join(
        f"{k}: {v:.3f}" for k, v in means.items()
    )


@CHECKS.register
def table_2_no_clear_placement() -> Decision:
    """ResNet: analysis of variance of the accuracies at λ > 0 over placements, strategies centred."""
    table = paper.table_2().query("model == 'ResNet' and coefficient > 0")
    centred = table.accuracy - table.groupby("strategy").accuracy.transform("mean")
    p = stats.f_oneway(*[group for _, group in centred.groupby(table.layers)]).pvalue
    return ("as printed" if p > 0.05 else "fails"), f"a difference between placements has p = {p:.2f}"


@CHECKS.register
def table_2_mostly_large() -> Decision:
    winners = _table_2_wide().idxmax(axis=1)
    count = int((winners >= 1e-3).sum())
    return (
        "as printed" if count > len(winners) / 2 else "fails"
    ), f"the best λ is at least 0.001 in {count} of {len(winners)} rows; five of seven λ are"


@CHECKS.register
def table_3_accuracy() -> Decision:
    table = paper.table_3()
    gains = table.accuracy[1:] - table.accuracy[0]
    return (
        "as printed" if (gains > 0).all() else "fails"
    ), f"gains of {gains.min():+.4f} to {gains.max():+.4f} on a single seed"


@CHECKS.register
def table_3_too_small() -> Decision:
    """'with a λ too small, it may take significantly more time': λ = 1e-4 against λ = 0, one run each."""
    table = paper.table_3().set_index("coefficient")
    more = table.seconds[1e-4] / table.seconds[0.0]
    return ("as printed" if more > 1 else "fails"), f"{more:.2f} times the seconds, one run each"


@CHECKS.register
def table_3_iou() -> Decision:
    table = paper.table_3()
    better = int((table.iou[1:] > table.iou[0]).sum())
    status: Status = "as printed" if better >= 5 else "partly" if better > 3 else "fails"
    return status, f"IoU is higher for {better} of 6 values of λ"


@CHECKS.register
def table_3_speed() -> Decision:
    """'10% faster': seconds mix epochs with seconds per epoch."""
    table = paper.table_3().set_index("coefficient")
    faster = table.index[table.seconds <= 0.91 * table.seconds[0.0]].tolist()
    per_epoch = table.seconds / table.epochs
    fewer = table.index[table.epochs < table.epochs[0.0]].tolist()
    note = (
        f"total seconds fall by 9% or more only for λ in {faster}, with {int(table.epochs[faster[0]])} epochs against "
        f"{int(table.epochs[0.0])}; seconds per epoch range from {per_epoch.min():.0f} to {per_epoch.max():.0f}; "
        f"fewer epochs only for λ in {fewer}"
    )
    both = set(faster) & set(fewer)
    return ("as printed" if both else "partly" if faster else "fails"), note


@CHECKS.register
def inverse_patterns() -> Decision:
    """'an exact inverse of the significance patterns for MSE' (Figs 3 and 4)."""
    (d_mse, mse), (d_stop, stop) = (paper.sign_grid("mnist", m) for m in ("mse", "stopping_epoch"))
    swapped = stop.replace({"+": "-", "-": "+"})
    same = (mse == swapped).to_numpy().all()
    note = (
        f"the grids are {'' if same else 'not '}exact inverses, at different latent dimensions ({d_mse} and {d_stop})"
    )
    return ("partly" if same and d_mse != d_stop else "holds" if same else "fails"), note


@CHECKS.register
def often_lower_mse() -> Decision:
    """'often with a lower MSE': does any guided group beat λ = 0 in Figs 3(b) and 5(b)?"""
    lower = [(paper.sign_grid(data, "mse")[1].iloc[1:, 0] == "-").sum() for data in ("mnist", "cifar10")]
    higher = [(paper.sign_grid(data, "mse")[1].iloc[1:, 0] == "+").sum() for data in ("mnist", "cifar10")]
    note = f"of 12 guided groups {sum(lower)} are significantly lower than λ = 0 and {sum(higher)} higher"
    return ("holds" if sum(lower) >= 3 else "partly" if sum(lower) else "fails"), note


class Reanalysis(Test):
    """A check on printed numbers, by its name.

    Args:
        of: whose numbers.
    """

    kind: Literal["reanalysis"]
    check: Annotated[str, AfterValidator(CHECKS.known)]
    of: str = "the paper's tables"

    def decide(self, store: Store) -> Verdict:
        return Verdict(*CHECKS.result(self.check), scope=self.of)
