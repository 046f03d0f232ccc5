"""Dense multi-task learning: what several per-pixel tasks share, chosen by hand or learned (AdaShare).

In: scenes with per-pixel labels (our rendered rooms, NYUv2, CityScapes, Tiny-Taskonomy). Out: one table of metrics per
task, parameters, FLOPs and the improvement over trained single-task networks.
"""
