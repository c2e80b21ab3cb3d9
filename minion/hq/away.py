"""That HQ is away: what everybody who asks it must be ready for, and needs to load nothing to know."""

from __future__ import annotations


class HqAway(Exception):
    """HQ could not be asked, or did not answer as HQ does; asking again may help."""
