from __future__ import annotations

from hypothesis import settings

# No example is judged by how long it took: the machine may be busy.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
