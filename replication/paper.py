"""The paper's own numbers as data: Tables 1-3 and the t-test grids of Figs 3-6.

Entered by hand from the preprint (our copy is OCR; tests check what can be checked: symmetry of
the grids, multiples of the tables' resolution). Nothing here is ours.
"""

import pandas as pd

COEFFICIENTS = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)

# Rows λ_11, columns λ_12: "+" significantly higher, "-" significantly lower, "." neither (α = 0.01).
_SIGNS = {
    ("mnist", "mse"): (80, ".------ +.----- ++.---- +++.... +++.... +++.... +++...."),
    ("mnist", "stopping_epoch"): (180, ".++++++ -.+++++ --.++++ ---.... ---.... ---.... ---...."),
    ("cifar10", "mse"): (80, "...---- ...---- ...---- +++.... +++.... +++.... +++...."),
    ("cifar10", "stopping_epoch"): (80, ".++++++ -.+++++ --.++++ ---.... ---.... ---.... ---...."),
}
FIGURES = {
    ("mnist", "mse"): "3(b)",
    ("mnist", "stopping_epoch"): "4(b)",
    ("cifar10", "mse"): "5(b)",
    ("cifar10", "stopping_epoch"): "6(b)",
}


def sign_grid(data: str, measure: str) -> tuple[int, pd.DataFrame]:
    """Latent dimension named in the caption and the 7 x 7 grid of signs of one of Figs 3(b)-6(b)."""
    latent, rows = _SIGNS[data, measure]
    return latent, pd.DataFrame([list(row) for row in rows.split()], COEFFICIENTS, COEFFICIENTS)


# Architecture, mean base train and validation accuracy, mean gains, printed p-values (None: not printed).
_TABLE_1 = [
    ("[32]", 0.7387, 0.6402, 0.0015, None, 0.0052, 0.0035),
    ("[64]", 0.7612, 0.6452, 0.0031, None, 0.0077, 0.0155),
    ("[128]", 0.7736, 0.6479, 0.0076, None, 0.0074, 0.0016),
    ("[32, 32]", 0.7444, 0.6745, 0.0081, None, 0.0076, 0.0043),
    ("[64, 64]", 0.7924, 0.6954, 0.0065, None, 0.0052, 0.0065),
    ("[128, 128]", 0.8447, 0.7061, -0.0087, None, 0.0063, 0.0210),
    ("[32, 32, 32]", 0.7441, 0.6789, 0.0125, 0.0179, 0.0114, 0.0004),
    ("[64, 64, 64]", 0.8152, 0.7026, 0.0054, None, 0.0064, 0.0130),
    ("[128, 128, 128]", 0.8890, 0.7098, 0.0041, None, 0.0053, 0.0151),
]


def table_1() -> pd.DataFrame:
    """Table 1: CIFAR-10 CNNs, entropy loss on the first convolution, ten replications."""
    columns = [
        "architecture",
        "base_train",
        "base_validation",
        "gain_train",
        "p_train",
        "gain_validation",
        "p_validation",
    ]
    return pd.DataFrame(_TABLE_1, columns=columns)


# Validation accuracies in thousandths at λ = 0, 1e-4, ..., 10.
_TABLE_2 = {
    ("VGG", "none"): {"[1]": "698 752 756 734 716 738 736", "[1,2]": "726 720 720 726 718 730 750"},
    ("VGG", "augmentation"): {"[1]": "804 796 828 794 800 814 804", "[1,2]": "816 816 806 824 796 780 800"},
    ("VGG", "augmentation + dropout"): {"[1]": "854 854 874 826 836 868 866", "[1,2]": "858 860 862 854 864 854 848"},
    ("ResNet", "none"): {
        "[1]": "792 766 782 764 784 784 786", "[1,5]": "776 782 802 778 776 774 766",
        "Pre-skip": "748 766 812 770 786 814 778", "Empirical": "778 782 774 776 792 810 776",
    },
    ("ResNet", "augmentation"): {
        "[1]": "786 784 778 752 814 772 770", "[1,5]": "780 782 786 762 768 760 750",
        "Pre-skip": "780 794 760 774 766 808 792", "Empirical": "784 802 746 766 768 768 754",
    },
    ("ResNet", "augmentation + dropout"): {
        "[1]": "776 802 796 798 810 792 796", "[1,5]": "776 812 798 806 776 810 796",
        "Pre-skip": "792 802 796 794 808 790 820", "Empirical": "804 806 806 824 804 800 798",
    },
}  # fmt: skip


def table_2() -> pd.DataFrame:
    """Table 2: Imagenette, one run per cell; long form with model, strategy, layers, coefficient, accuracy."""
    rows = [
        (model, strategy, layers, coefficient, int(thousandths) / 1000)
        for (model, strategy), lines in _TABLE_2.items()
        for layers, line in lines.items()
        for coefficient, thousandths in zip(COEFFICIENTS, line.split(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "strategy", "layers", "coefficient", "accuracy"])


_TABLE_3 = [
    (0.0, 20, 9276.82, 0.8290, 0.6693),
    (1e-4, 24, 13202.78, 0.8336, 0.6823),
    (1e-3, 21, 8304.54, 0.8316, 0.6724),
    (1e-2, 19, 8590.74, 0.8316, 0.6602),
    (0.1, 23, 9038.20, 0.8305, 0.6626),
    (1.0, 23, 11374.05, 0.8349, 0.6734),
    (10.0, 36, 14358.95, 0.8300, 0.6786),
]


def table_3() -> pd.DataFrame:
    """Table 3: U-Net on COCO, one run per λ; the time is of the whole training."""
    return pd.DataFrame(_TABLE_3, columns=["coefficient", "epochs", "seconds", "accuracy", "iou"])
