"""A stream has no end, so nothing offline can predict it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_videos import tiny_predictor

from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant
from videomt_bench.models.conformance import SPEC


def test_an_offline_model_is_refused() -> None:
    model = load_variant("dvis_plus_offline").build(SPEC)
    with pytest.raises(BenchError, match="predict with its online variant"):
        replace(tiny_predictor(), model=model)
