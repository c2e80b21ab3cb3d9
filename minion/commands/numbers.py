"""Numbers as options take them: what no clock or count can go by is none."""

from __future__ import annotations

import math
from typing import Any, Final

import click


class _Finite(click.FloatRange):
    """A number in a range, which infinity and `nan` are not: no comparison has them fall out of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number that `value` says."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail("it is no number to go by", param, ctx)
        return number


SECONDS: Final = _Finite(min=0)
