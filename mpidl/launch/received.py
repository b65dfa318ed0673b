"""What a rank was handed by the process that started it; apart from the rest of launching, which no rank needs."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import MutableMapping

CONFIGURATION = "MPIDL_CONFIGURATION"


def received_configuration(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """The configuration that this rank was handed, if it was; what it starts itself is handed nothing."""
    packed = environment.pop(CONFIGURATION, None)
    return None if packed is None else zlib.decompress(base64.b64decode(packed)).decode()
