"""The bundled samples."""

import subprocess
import sys

import numpy as np

from peak_trade.market.quality import inspect
from peak_trade.market.raw import Raw
from peak_trade.market.sample import SAMPLES, sample, sp500, synthetic
from peak_trade.model.bar import COLUMNS, Timeframe
from peak_trade.model.instrument import KNOWN

SYN, SPX = KNOWN["SYN/USD"], KNOWN["SPX/USD"]


def as_raw(dataset) -> Raw:
    columns = {name: np.array(getattr(dataset.bars, name)) for name in COLUMNS}
    return Raw(name="sample", sha256="", first_row=1, **columns)


def test_both_samples_pass_every_check():
    """What we ship would be accepted as an import."""
    for symbol, timeframe in SAMPLES:
        dataset = sample(KNOWN[symbol], Timeframe.parse(timeframe))

        assert inspect(as_raw(dataset), dataset.bars.timeframe) == ()


def test_sp500_is_the_real_series():
    """The known first and last closes of the file, 1999-01-04 and 2018-12-31."""
    bars = sp500(SPX).bars

    assert (len(bars), round(bars.close[0], 2), round(bars.close[-1], 2)) == (5031, 1228.10, 2506.85)


def test_arch_is_not_imported_for_its_data():
    """Reading the sample does not load the statistics package."""
    code = (
        "import sys; from peak_trade.market.sample import sp500; from peak_trade.model.instrument import KNOWN\n"
        "sp500(KNOWN['SPX/USD']); sys.exit('arch' in sys.modules or 'statsmodels' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_synthetic_is_seeded():
    """The same seed gives the same bits, another seed another market."""
    one, two, other = synthetic(SYN, 2_000), synthetic(SYN, 2_000), synthetic(SYN, 2_000, seed=8)

    assert one.bars.sha256() == two.bars.sha256() != other.bars.sha256()


def test_synthetic_has_the_traits_of_a_market():
    """Volatility clusters (squared moves correlate), tails are fat and there are jumps."""
    moves = np.diff(np.log(synthetic(SYN).bars.close))
    squares = moves**2
    clustering = np.corrcoef(squares[:-1], squares[1:])[0, 1]
    kurtosis = np.mean(moves**4) / np.mean(squares) ** 2

    assert clustering > 0.05
    assert kurtosis > 4.0
    assert np.abs(moves).max() > 10 * np.std(moves)
