"""Makes the helper modules of this folder and of the evaluation tests importable."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# at the end: other rooms import a conftest by name
sys.path += [str(HERE), str(HERE.parent / "evaluation")]
