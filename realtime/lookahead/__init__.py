"""Look-ahead: where each animal will be when a stimulus that is decided now takes effect.

`options` is what a rig says of it, `latency` how far to look ahead; `filters` follows the velocity of each group of
nodes, `grading` holds every prediction against what came then and switches off what is worse than none; `frame` takes
one frame through both, `memory` lays out what they know, `lookahead` is the face of it.
"""

from realtime.lookahead.lookahead import LookAhead
from realtime.lookahead.options import LookAheadOptions

__all__ = ["LookAhead", "LookAheadOptions"]
