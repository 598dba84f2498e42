"""How fast the exact log-determinant of VGG-16's convolutions is: writes results/benchmarks/flow-cpu.json.

    python benchmarks/flow.py

On random kernels, one thread. The way of Sedghi, Gupta & Long (2019) transforms the kernel with an FFT of the
map's size and takes the singular values at every frequency; ours takes an LU or QR factorisation at half of
them. Leave the machine alone meanwhile; it takes a few minutes. The book's page on performance reads the file.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from entropy_lib.maps import map_sizes
from entropy_lib.theory.circular import circular_conv_entropy_change
from replication.files import write_atomically
from replication.networks.vgg_resnet import random_kernels, skeleton
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


def by_singular_values(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    spectrum = torch.fft.fft2(kernel, s=size).movedim((-2, -1), (0, 1))
    return sum(torch.linalg.svdvals(row).log().sum() for row in spectrum)


def seconds(measure: Callable[[Tensor, tuple[int, int]], Tensor], image: int) -> tuple[float, list[float]]:
    """For all of VGG-16's convolutions at the maps of an image; and the values, to be compared."""
    sizes = map_sizes(skeleton("vgg16"), torch.empty(1, 3, image, image, device="meta"))
    kernels = random_kernels("vgg16", "pytorch", seed=0)
    started = time.perf_counter()
    values = [float(measure(kernel, sizes[name])) for name, kernel in kernels.items()]
    return time.perf_counter() - started, values


def main() -> None:
    torch.set_num_threads(1)
    started, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    ours, values = seconds(circular_conv_entropy_change, 64)
    theirs, same = seconds(by_singular_values, 64)
    torch.testing.assert_close(torch.tensor(values), torch.tensor(same), rtol=1e-4, atol=1.0)
    large, _ = seconds(circular_conv_entropy_change, 224)
    rows = [
        {"image": 64, "way": "singular values at every frequency", "seconds": theirs},
        {"image": 64, "way": "ours", "seconds": ours},
        {"image": 224, "way": "ours", "seconds": large},
    ]
    for row in rows:
        print(f"{row['image']:4} pixels  {row['way']:36} {row['seconds']:8.1f} s")
    print(f"{theirs / ours:.1f} times faster at 64 pixels")
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load, "started": started}
    found = {"vgg16": rows, "provenance": provenance}
    path = RESULTS / "flow-cpu.json"
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
