"""`python -m mpidl` is the `mpidl` command of that Python."""

from __future__ import annotations

import sys

from mpidl.cli.main import main

sys.exit(main())
