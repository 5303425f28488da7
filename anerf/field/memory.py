"""Where large tables lie: in huge pages, if the system has them on offer.

A hash table, its gradient and its moments are read at random places of 100 MB and more. With pages of 4 KiB
the processor spends as long on finding an address as on reading the value.
"""

import ctypes

from torch import Tensor

from anerf.field.library import kernels


def prefer_huge_pages(*tensors: Tensor) -> None:
    """Ask that these tensors' memory lie in huge pages; a wish, without which all works the same.

    Pages in use are exchanged at once on Linux 6.1 and newer, else by and by. Small tensors and those on
    devices other than the CPU stay as they are.
    """
    for tensor in tensors:
        if tensor.device.type == "cpu":
            n_bytes = tensor.numel() * tensor.element_size()
            kernels().anerf_prefer_huge_pages(ctypes.c_void_p(tensor.data_ptr()), ctypes.c_long(n_bytes))
