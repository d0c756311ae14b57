"""What must be set before Ray is first imported."""

import os

# As score_ray.runtime.placement does: a test that imports Ray itself may come first.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
