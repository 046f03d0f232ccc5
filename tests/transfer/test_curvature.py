"""L-BFGS's memory: what it knows of one ridge holds for every other."""

from __future__ import annotations

import torch

from transfer.curvature import Memory, add_ridge

SAME = torch.ones(1, 1).double()


def quadratic(rows: int, columns: int, seed: int) -> torch.Tensor:
    """A random symmetric positive definite Hessian over (rows, columns)."""
    factor = torch.randn(rows * columns, rows * columns, generator=torch.Generator().manual_seed(seed)).double()
    return factor @ factor.T / len(factor) + 0.1 * torch.eye(len(factor)).double()


def test_with_a_pair_for_every_direction_the_step_ends_at_the_minimum_also_after_the_ridge_changed() -> None:
    hessian, shape = quadratic(2, 4, seed=0), (2, 4)
    memory = Memory(size=8)
    memory.adapt(3.0, SAME, newest_fits=False)
    values, axes = torch.linalg.eigh(hessian)
    for axis in axes.T:
        step = axis.reshape(shape)
        memory.add(step, (hessian @ axis).reshape(shape))
    # The free last column makes the ridge's part no multiple of the identity; without it the pairs are conjugate.
    for ridge in (3.0, 0.01):
        memory.adapt(ridge, SAME, newest_fits=False)
        penalty = add_ridge(torch.zeros(shape).double(), torch.ones(shape).double(), ridge).reshape(-1)
        total = hessian + torch.diag(penalty)
        for step, change in zip(memory.steps, memory.changes, strict=True):
            torch.testing.assert_close((total @ step.reshape(-1)).reshape(shape), change)
    assert len(memory.steps) == len(values) == 8


def test_conjugate_pairs_of_one_ridge_give_newton_steps_of_another() -> None:
    shape, hessian = (2, 3), torch.tensor([5.0, 2.0, 1.0, 0.5, 0.2, 0.1]).double()
    memory = Memory(size=6)
    memory.adapt(10.0, SAME, newest_fits=False)
    for axis in torch.eye(6).double():
        memory.add(axis.reshape(shape), (hessian * axis).reshape(shape))
    memory.adapt(0.25, SAME, newest_fits=False)
    gradient = torch.arange(1.0, 7.0).double().reshape(shape)
    curvature = add_ridge(hessian.reshape(shape), torch.ones(shape).double(), 0.25)
    direction = memory.direction(gradient, torch.ones(shape).double())
    torch.testing.assert_close(direction, -gradient / curvature)


def test_pairs_follow_the_curvature_of_the_classes_but_for_the_newest_one() -> None:
    hessian, ratio = quadratic(2, 3, seed=1), torch.tensor([[0.25], [4.0]]).double()
    memory = Memory(size=6)
    for axis in torch.eye(6).double():
        memory.add(axis.reshape(2, 3), (hessian @ axis).reshape(2, 3))
    memory.adapt(0.5, ratio, newest_fits=True)
    root = ratio.sqrt().expand(2, 3).reshape(-1)
    scaled = root[:, None] * hessian * root
    for step, change in list(zip(memory.steps, memory.data_changes, strict=True))[:-1]:
        torch.testing.assert_close((scaled @ step.reshape(-1)).reshape(2, 3), change)
    newest = memory.steps[-1].reshape(-1)
    torch.testing.assert_close((hessian @ newest).reshape(2, 3), memory.data_changes[-1])
    torch.testing.assert_close(add_ridge(memory.data_changes[0], memory.steps[0], 0.5), memory.changes[0])


def test_the_memory_forgets_its_oldest_pairs_and_refuses_those_without_curvature() -> None:
    memory = Memory(size=2)
    memory.adapt(0.0, SAME, newest_fits=False)
    pairs = [torch.full((1, 2), float(i)) for i in (1, 2, 3)]
    for step in pairs:
        memory.add(step, step)
    memory.add(torch.ones(1, 2), -torch.ones(1, 2))
    assert [float(step[0, 0]) for step in memory.steps] == [2.0, 3.0]


def test_without_pairs_the_step_is_along_the_scaled_gradient() -> None:
    gradient, inverse = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 4.0]])
    torch.testing.assert_close(Memory(size=3).direction(gradient, inverse), torch.tensor([[-0.5, -8.0]]))
