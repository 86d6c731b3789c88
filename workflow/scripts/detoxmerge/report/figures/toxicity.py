"""Mean toxicity over the scale (a line per N) and over N (a line per scale)."""

import pandas as pd
from matplotlib.figure import Figure

from ..inputs import Inputs
from ..over_scale_and_n import draw_over_scale_and_n, measured

TITLE = "3.1 Toxicity"
CATEGORY = "3 Over scale and N"
NEEDS = ("summary",)
ONLY_IF = "merged_edits"


def table(inputs: Inputs) -> pd.DataFrame:
    """As `over_scale_and_n.measured`."""
    return measured(inputs.results, inputs.model, "toxicity_mean")


def draw(data: pd.DataFrame) -> Figure:
    """As `over_scale_and_n.draw_over_scale_and_n`."""
    return draw_over_scale_and_n(data, "Mean toxicity of continuations (0–1)")
