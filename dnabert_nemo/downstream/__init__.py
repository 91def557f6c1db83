"""Tasks a DNABERT is judged by: their data sets, baselines, metrics and reports; `training` comes before."""
