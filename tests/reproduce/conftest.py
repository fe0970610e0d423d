import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tfds_builders"))  # for its trees
