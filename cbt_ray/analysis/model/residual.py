"""What a fitted model leaves over: points of the Q-Q and of the residual plot, thinned evenly so
that a report stays small.
"""

from __future__ import annotations

import statistics
from typing import Any

POINTS = 600


def residuals(fitted: Any, resid: Any, scale: float) -> dict[str, Any]:
    """Standardized residuals against normal quantiles (Blom's positions), and against fitted
    values.
    """
    import numpy as np

    n = len(resid)
    standard = np.asarray(resid) / scale**0.5
    ordered = np.sort(standard)
    normal = statistics.NormalDist()
    keep = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))
    qq = [[normal.inv_cdf((i + 1 - 0.375) / (n + 0.25)), float(ordered[i])] for i in keep.tolist()]
    points = [[float(fitted[i]), float(standard[i])] for i in keep.tolist()]
    return {"qq": qq, "residuals": points, "residuals_shown": [len(keep), n]}
