"""One of the processes that fine-tune a shard together; `accelerate launch` runs it."""

import sys
from pathlib import Path

from detoxmerge.train.launch import take_part

sys.exit(not take_part(Path(sys.argv[1])))
