"""Where tests find what is not theirs."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Real market data beside the checkout; tests that use it are skipped where it is absent.
MARKET_DATA = ROOT.parent / "shared" / "data"

needs_market_data = pytest.mark.skipif(not MARKET_DATA.is_dir(), reason=f"no market data in {MARKET_DATA}")
