"""What second derivatives of a model need."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch.nn.attention import SDPBackend, sdpa_kernel


def second_derivatives() -> AbstractContextManager[None]:
    """A context for forward passes whose gradient will be differentiated again (Hessian-vector products).

    Torch's fused attention kernels have no second derivative; inside, attention is written out, which is also the form
    that vmap batches without a loop. Models without attention are not touched.
    """
    return sdpa_kernel(SDPBackend.MATH)
