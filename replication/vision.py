"""torchvision, also beside a CPU-only torch."""

import sys
from types import ModuleType

import torch


def import_torchvision() -> ModuleType:
    """Import torchvision, whatever torch was built for.

    torchvision's compiled operators need CUDA libraries; beside a CPU build of torch its import
    stops at the first one it looks up. Declaring the missing names lets models, transforms and
    data sets work. Where the builds match, the first import succeeds and nothing is declared.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for loaded in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
