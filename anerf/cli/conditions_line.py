"""One line below a table of times: where and how they were measured."""

from anerf.bench.conditions import Conditions


def conditions_line(here: Conditions) -> str:
    """The machine, the software and the load."""
    cuda = "".join(f", {device}" for device in here.cuda_devices)
    return (
        f"{here.cpu}, {here.cores} cores, {here.threads} threads{cuda}; kernels {here.kernels};"
        f" torch {here.torch} ({here.torch_cpu_capability}); load {here.load_before:.1f} before,"
        f" {here.load_after:.1f} after"
    )
