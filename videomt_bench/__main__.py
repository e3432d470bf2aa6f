"""``python -m videomt_bench``."""

from videomt_bench.cli import main

main()
