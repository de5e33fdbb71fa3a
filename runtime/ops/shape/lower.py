"""Other shapes of the same bytes."""

from __future__ import annotations

from alula.runtime.ops.movement.lower import lower_alias
from alula.runtime.planning.lowering import lowers

lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")(lower_alias)
