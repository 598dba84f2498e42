"""Work that is done many times over on the same tensors."""

from collections.abc import Callable, Sequence

import torch

# Calls that run as they are written: in them libraries choose their algorithms and optimisers make their state.
_FIRST = 3


class Repeated:
    """Parts that do not depend on each other, done together at every call.

    On a GPU, launching the kernels of a small network takes longer than they run. There the parts are recorded as one
    CUDA graph, on streams of their own so that they run side by side, and replayed; they must read and write the same
    tensors each time, and ask for no value. Elsewhere they are called one after the other.
    """

    def __init__(self, parts: Sequence[Callable[[], object]], device: torch.device | str):
        self._parts, self._calls = parts, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._device = torch.device(device)
        self._streams = [torch.cuda.Stream(device) for _ in parts] if self._device.type == "cuda" else []

    def __call__(self) -> None:
        if not self._streams:
            for part in self._parts:
                part()
            return
        with torch.cuda.device(self._device):  # streams and memory are those of the current one
            self._on_gpu()

    def _on_gpu(self) -> None:
        self._calls += 1
        if self._calls <= _FIRST:
            self._side_by_side()
            return
        if not self._graph:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._side_by_side()
        self._graph.replay()

    def _side_by_side(self) -> None:
        here = torch.cuda.current_stream()
        for part, stream in zip(self._parts, self._streams, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                part()
        for stream in self._streams:
            here.wait_stream(stream)
