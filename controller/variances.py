"""How much of the reward is shared, follows the task vectors or is a task's own: empirical Bayes on a complete table.

The table is rotated into eigenvectors of the task kernels (the shared one is the constant vector, the kernel of the
task vectors is doubly centred and so orthogonal to it), where the tasks are independent; over a full factorial the
settings are diagonalised as well and one likelihood costs microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.effects import JITTER, PARTS, Variances, action_kernels
from controller.trials import FloatArray, IntArray

PENALTY_SD = 1.5
"""Standard deviation of the log-normal prior on each variance component around the defaults of `Variances`."""


def variances_of(values: FloatArray, actions: IntArray, sizes: Sequence[int], x: FloatArray) -> Variances:
    """Variance components of a complete table: standardised rewards (T, n), settings (n, P), centred vectors (T, d)."""
    rotation, eigenvalues = task_rotation(x @ x.T)
    by_action = action_kernels(actions, actions, sizes)
    frame = settings_frame(by_action)
    kernels = {name: frame.T @ kernel @ frame for name, kernel in by_action.items()}
    return fit_variances(rotation.T @ values @ frame, kernels, eigenvalues)


def task_rotation(kernel: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvectors (columns) and eigenvalues of a doubly centred task kernel, the constant vector first."""
    tasks = len(kernel)
    complement = np.linalg.qr(np.concatenate([np.ones((tasks, 1)), np.eye(tasks)[:, 1:]], axis=1))[0]
    complement[:, 0] = 1 / np.sqrt(tasks)
    inner, vectors = np.linalg.eigh(complement[:, 1:].T @ kernel @ complement[:, 1:])
    rotation = np.concatenate([complement[:, :1], complement[:, 1:] @ vectors], axis=1)
    return rotation, np.concatenate([[0.0], np.maximum(inner, 0.0)])


def settings_frame(by_action: dict[str, FloatArray]) -> FloatArray:
    """Orthonormal basis (n, n - 1) of the settings' space without the constant (rewards are centred per task).

    Over a full factorial the kernels of main, pairwise and residual effects commute; the basis is then one in which
    all three are diagonal, which makes the fit thousands of times cheaper.
    """
    settings = len(by_action["main"])
    frame = np.linalg.qr(np.concatenate([np.ones((settings, 1)), np.eye(settings)[:, 1:]], axis=1))[0][:, 1:]
    mixed = frame.T @ (by_action["main"] + 0.37 * by_action["pair"]) @ frame
    out: FloatArray = frame @ np.linalg.eigh(mixed)[1]
    return out


def is_diagonal(matrix: FloatArray) -> bool:
    return bool(np.abs(matrix - np.diag(np.diag(matrix))).max() < 1e-7 * max(np.abs(matrix).max(), 1.0))


def task_covariance(
    variances: Variances, kernels: dict[str, FloatArray], eigenvalues: FloatArray, j: int
) -> FloatArray:
    """Covariance over settings of the j-th rotated task."""
    total = JITTER * np.eye(len(kernels["main"]))
    for part in PARTS:
        scale = getattr(variances, part) * part_weight(part, eigenvalues, j)
        total = total + scale * kernels[part.split("_")[1]]
    return total


def fit_variances(rotated: FloatArray, kernels: dict[str, FloatArray], eigenvalues: FloatArray) -> Variances:
    """Penalised maximum likelihood over the logarithms of the variance components (L-BFGS)."""
    from scipy.optimize import minimize

    start = np.log([getattr(Variances(), part) for part in PARTS])
    weights = np.array([[part_weight(part, eigenvalues, j) for part in PARTS] for j in range(len(rotated))])
    diagonal = all(is_diagonal(kernel) for kernel in kernels.values())
    by_part = np.stack([np.diag(kernels[part.split("_")[1]]) for part in PARTS]) if diagonal else None

    def objective(logs: FloatArray) -> float:
        total = 0.5 * float((((logs - start) / PENALTY_SD) ** 2).sum())
        if by_part is not None:
            variance = JITTER + (weights * np.exp(logs)) @ by_part  # (S, n - 1)
            return total + 0.5 * float((np.log(variance) + rotated**2 / variance).sum())
        variances = Variances(*np.exp(logs))
        for j, row in enumerate(rotated):
            factor = np.linalg.cholesky(task_covariance(variances, kernels, eigenvalues, j))
            total += float(np.log(np.diag(factor)).sum()) + 0.5 * float((np.linalg.solve(factor, row) ** 2).sum())
        return total

    found = minimize(objective, start, method="L-BFGS-B", bounds=[(-12.0, 3.0)] * len(start), options={"maxiter": 60})
    return Variances(*(float(value) for value in np.exp(found.x)))


def part_weight(part: str, eigenvalues: FloatArray, j: int) -> float:
    """How strongly a part acts on the j-th rotated task: the eigenvalue of its task kernel there."""
    kind = part.split("_")[0]
    if kind == "shared":
        return float(len(eigenvalues)) if j == 0 else 0.0
    return float(eigenvalues[j]) if kind == "vector" else 1.0
