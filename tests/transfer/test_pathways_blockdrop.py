"""BlockDrop's reward, its policy gradient against exact enumeration, and its two stages."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from transfer.pathways.blockdrop import BlockDrop, FixedPolicy, dist_k, first_k, policy_loss, reward
from transfer.pathways.config import BlockDropConfig
from transfer.pathways.executors import run_masked
from transfer.pathways.gates import bounded, log_probability
from transfer.pathways.resnet import PolicyNetwork, batch_norms, build_gated_resnet

BLOCKS = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blockdrop(*, joint: bool = False, config: BlockDropConfig | None = None) -> BlockDrop:
    network = build_gated_resnet("cifar_resnet8", num_classes=4, seed=0)
    trunk = build_gated_resnet("cifar_resnet8", num_classes=BLOCKS, seed=1)
    policy = PolicyNetwork(trunk, num_blocks=BLOCKS, logits_per_block=1)
    return BlockDrop(network, policy, config or BlockDropConfig(), penalty=2.0, joint=joint)


def batch(count: int = 8) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, 16, 16, generator=generator(5)), torch.arange(count) % 4


@pytest.mark.parametrize("penalty", [1.0, 5.0, 10.0])
def test_reward(penalty: float) -> None:
    decisions = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    right, wrong = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    assert reward(decisions, right, penalty=penalty).tolist() == [0.0, 1.0, 0.75]
    assert reward(decisions, wrong, penalty=penalty).tolist() == [-penalty] * 3


def test_expected_self_critical_gradient_is_the_exact_gradient() -> None:
    """All 2^4 policies enumerated: sum of q(u) * gradient of the loss at u equals -grad E[R], whatever the baseline."""
    blocks, explore = 4, 0.8
    logits = torch.randn(1, blocks, generator=generator(), dtype=torch.float64, requires_grad=True)
    rewards = torch.randn(2**blocks, generator=generator(1), dtype=torch.float64)
    policies = torch.tensor(list(itertools.product((0.0, 1.0), repeat=blocks)), dtype=torch.float64)
    greedy = (torch.sigmoid(logits.detach()) >= 0.5).double()[0]
    baseline = rewards[int((policies == greedy).all(dim=1).nonzero())]
    everything = torch.ones(blocks, dtype=torch.bool)
    estimate = torch.zeros(1, blocks, dtype=torch.float64)
    for decisions, value in zip(policies, rewards, strict=True):
        keep = torch.sigmoid(logits)
        probability = log_probability(decisions[None], bounded(keep, explore)).sum().exp().detach()
        loss = policy_loss(keep, decisions[None], (value - baseline)[None], everything, explore=explore)
        (gradient,) = torch.autograd.grad(loss, logits)
        estimate += probability * gradient
    probability = bounded(torch.sigmoid(logits), explore)
    expected_reward = (log_probability(policies, probability.expand(2**blocks, -1)).sum(1).exp() * rewards).sum()
    (exact,) = torch.autograd.grad(expected_reward, logits)
    assert exact.abs().min() > 1e-3
    torch.testing.assert_close(estimate, -exact, rtol=1e-10, atol=1e-12)


def perturb_statistics(learner: BlockDrop) -> None:
    """Stored statistics far from a batch's own, so that training mode gives other answers than eval mode."""
    with torch.no_grad():
        for index, norm in enumerate(batch_norms(learner.network)):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.copy_(0.3 * torch.randn(norm.num_features, generator=generator(100 + index)))
            norm.running_var.uniform_(0.3, 2.0, generator=generator(200 + index))


@pytest.mark.parametrize("joint", [False, True])
def test_the_expected_gradient_of_both_stages_is_the_exact_one(joint: bool) -> None:
    """Four images, all 2^3 policies through the stage's own loss; the reward is the eval-mode network's."""
    learner = blockdrop(joint=joint, config=BlockDropConfig(entropy_weight=0.0)).double()
    perturb_statistics(learner)
    learner.train()
    learner.start_epoch(BLOCKS)
    images = batch(4)[0].double()
    policies = torch.tensor(list(itertools.product((0.0, 1.0), repeat=BLOCKS)), dtype=torch.float64)
    state = {name: value.clone() for name, value in learner.state_dict().items()}

    def answers(*, training: bool) -> Tensor:  # (2^L, 4)
        learner.train(training)
        if not training:
            learner.network.eval()
        with torch.no_grad():
            runs = [run_masked(learner.network, learner.units, images, u.expand(4, -1)) for u in policies]
            found = torch.stack([learner.network.head(features).argmax(1) for features in runs])
        learner.load_state_dict(state)
        learner.train()
        return found

    in_eval = answers(training=False)
    labels = in_eval.mode(dim=0).values
    assert (in_eval == labels).all(dim=0).sum() < 4  # some policies answer wrongly
    if joint:
        assert (answers(training=True) != in_eval).any()
    rewards = torch.stack(
        [reward(u.expand(4, -1), row == labels, penalty=2.0) for u, row in zip(policies, in_eval, strict=True)]
    )
    logits = torch.randn(4, BLOCKS, generator=generator(3), dtype=torch.float64, requires_grad=True)
    greedy = (torch.sigmoid(logits.detach()) >= 0.5).double()
    estimate = torch.zeros(4, BLOCKS, dtype=torch.float64)
    for u in policies:
        keep = torch.sigmoid(logits)
        sampled = u.expand(4, -1)
        probability = log_probability(sampled, bounded(keep, 0.8)).sum(1).exp().detach()  # (4,)
        loss = learner.loss_under(images, labels, keep, sampled, greedy)
        learner.load_state_dict(state)
        (gradient,) = torch.autograd.grad(loss, logits)
        estimate += probability[:, None] * gradient
    everything = policies[:, None].expand(-1, 4, -1)
    likely = log_probability(everything, bounded(torch.sigmoid(logits), 0.8).expand_as(everything)).sum(-1).exp()
    (exact,) = torch.autograd.grad((likely * rewards).sum(0).mean(), logits)
    assert exact.abs().max() > 1e-2
    torch.testing.assert_close(estimate, -exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("joint", [False, True])
def test_a_sampled_policy_equal_to_the_greedy_one_teaches_nothing(joint: bool) -> None:
    """A policy sure enough (s = 0.999) that without bounds every draw is the greedy decision; bounded ones differ."""
    gradients = []
    for explore in (1.0, 0.8):
        learner = blockdrop(joint=joint, config=BlockDropConfig(entropy_weight=0.0, explore=explore)).train()
        perturb_statistics(learner)
        head = learner.policy.trunk.head
        head.weight.data.zero_()
        head.bias.data.copy_(torch.tensor([7.0, -7.0, 7.0]))
        images, labels = batch()
        learner.loss(images, labels, generator()).backward()  # type: ignore[no-untyped-call]
        assert head.bias.grad is not None
        gradients.append(float(head.bias.grad.abs().max()))
    assert gradients[0] == 0.0 and gradients[1] > 0.0


@pytest.mark.parametrize(("freeze_bn", "freeze_stem"), [(True, False), (False, True)])
def test_frozen_parts_hold_in_joint_training(freeze_bn: bool, freeze_stem: bool) -> None:
    learner = blockdrop(joint=True, config=BlockDropConfig(freeze_bn=freeze_bn, freeze_stem=freeze_stem))
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    (optimizer,) = learner.optimizers()
    learner.train()
    images, labels = batch()
    for step in range(2):
        optimizer.zero_grad()
        learner.loss(images, labels, generator(step)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    after = learner.network.state_dict()
    norms = [name for name, part in learner.network.named_modules() if isinstance(part, torch.nn.BatchNorm2d)]
    kept = [
        n for n in before if (freeze_bn and n.rpartition(".")[0] in norms) or (freeze_stem and n.startswith("stem."))
    ]
    assert len(kept) >= 5 and all(torch.equal(after[name], before[name]) for name in kept)
    moved = [name for name in before if name not in kept and not torch.equal(after[name], before[name])]
    assert "head.weight" in moved and any(name.startswith("blocks.") for name in moved)


def test_advantage_compares_the_two_policies_row_by_row() -> None:
    learner = blockdrop()
    sampled = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 0]])
    greedy = torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 0, 0]])
    labels = torch.tensor([0, 1, 2])
    again = torch.tensor([0, 2])
    answers = torch.tensor([0, 3, 1, 0, 2])  # three sampled, then rows 0 and 2 under greedy
    found = learner._difference(sampled, greedy, answers, labels, again)
    third = 1 - (1 / 3) ** 2
    torch.testing.assert_close(found, torch.tensor([third - 0.0, 0.0, -2.0 - third]))


@pytest.mark.parametrize(("entropy", "closed_gradient"), [("bernoulli", False), ("one_sided", True)])
def test_forced_blocks_get_no_gradient(entropy: str, closed_gradient: bool) -> None:
    """The original's one-sided entropy ignores the curriculum; ours does not."""
    open_blocks = torch.tensor([False, False, True])
    for weight in (0.0, 0.1):
        keep = torch.full((4, 3), 0.7, requires_grad=True)
        policy_loss(
            keep,
            torch.ones(4, 3),
            torch.ones(4),
            open_blocks,
            explore=0.8,
            entropy_weight=weight,
            entropy=entropy,
        ).backward()
        assert keep.grad is not None
        assert keep.grad[:, 2].abs().min() > 0
        assert bool(keep.grad[:, :2].abs().max() > 0) is (closed_gradient and weight > 0)


@pytest.mark.parametrize(("arch", "blocks"), [("cifar_resnet32", 15), ("cifar_resnet110", 54), ("resnet101", 33)])
@pytest.mark.parametrize("opening", ["one per epoch", 5, 200])
def test_the_curriculum_opens_the_blocks_from_the_end(arch: str, blocks: int, opening: str | int) -> None:
    network = build_gated_resnet(arch, num_classes=2, seed=0)
    trunk = build_gated_resnet("cifar_resnet8", num_classes=blocks, seed=0)
    policy = PolicyNetwork(trunk, num_blocks=blocks, logits_per_block=1)
    epochs = blocks - 1 if isinstance(opening, str) else opening
    learner = BlockDrop(network, policy, BlockDropConfig(), penalty=1.0, joint=False, opening_epochs=epochs)
    opened = []
    for epoch in range(epochs + 3):
        learner.start_epoch(epoch)
        opened.append(int(learner.open_blocks.sum()))
        assert learner.open_blocks.tolist() == sorted(learner.open_blocks.tolist())  # the last ones are open
    assert opened == sorted(opened) and opened[0] == 1 and opened[epochs:] == [blocks] * 3
    assert opened[epochs - 1] < blocks
    if opening == "one per epoch":
        assert opened[:blocks] == list(range(1, blocks + 1))
    joint = BlockDrop(network, policy, BlockDropConfig(), penalty=1.0, joint=True)
    joint.start_epoch(0)
    assert joint.open_blocks.all()


def test_closed_blocks_are_forced_to_run_in_both_policies() -> None:
    learner = blockdrop()
    learner.opening_epochs = BLOCKS - 1
    learner.start_epoch(0)
    sampled, greedy = learner.sample(torch.full((200, BLOCKS), 0.1), generator())
    assert sampled[:, :2].eq(1).all() and greedy[:, :2].eq(1).all()
    assert greedy[:, 2].eq(0).all() and 0 < sampled[:, 2].mean() < 1


def test_the_curriculum_leaves_the_network_as_it_was() -> None:
    learner = blockdrop()
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    policy = {name: value.clone() for name, value in learner.policy.state_dict().items()}
    (optimizer,) = learner.optimizers()
    learner.train()
    assert not any(norm.training for norm in batch_norms(learner.network))
    images, labels = batch()
    for step in range(3):
        learner.start_epoch(step)
        optimizer.zero_grad()
        learner.loss(images, labels, generator(step)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    assert any(not torch.equal(value, policy[name]) for name, value in learner.policy.state_dict().items())


def test_joint_training_moves_both_and_updates_statistics_once_per_step() -> None:
    learner = blockdrop(joint=True)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    (optimizer,) = learner.optimizers()
    learner.train()
    learner.start_epoch(0)
    images, labels = batch()
    learner.loss(images, labels, generator()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert all(norm.training for norm in batch_norms(learner.network))
    counts = {name: value for name, value in learner.state_dict().items() if name.endswith("num_batches_tracked")}
    assert len(counts) > 10 and all(int(value) == int(before[name]) + 1 for name, value in counts.items())
    for part in ("network", "policy"):
        weights = [name for name in before if name.startswith(part) and name.endswith("weight")]
        assert any(not torch.equal(learner.state_dict()[name], before[name]) for name in weights)


def test_cross_entropy_teaches_the_network_and_the_reward_only_the_policy() -> None:
    learner = blockdrop(joint=True).train()
    images, labels = batch()
    keep = learner.keep_probabilities(images).detach().requires_grad_()
    sampled, greedy = learner.sample(keep, generator())
    learner.loss_under(images, labels, keep, sampled, greedy).backward()  # type: ignore[no-untyped-call]
    assert learner.network.head.weight.grad is not None and keep.grad is not None
    assert all(parameter.grad is None for parameter in learner.policy.parameters())


def test_the_policy_finds_the_cheapest_right_answer() -> None:
    """A known optimum: block 1 alone decides the answer of every image, the other two are not needed."""
    config = BlockDropConfig(entropy_weight=0.01, curriculum_learning_rate=0.01)
    learner = blockdrop(config=config)
    network = learner.network.eval()
    for index in (0, 2):
        last = network.blocks[index].residual[4]  # type: ignore[union-attr,index]
        last.weight.data.zero_()
    # Block 1 adds a constant that moves every image over the border between class 0 and class 1.
    last = network.blocks[1].residual[4]  # type: ignore[union-attr,index]
    last.weight.data.zero_()
    last.bias.data.fill_(2.0)
    images, _ = batch(16)
    labels = torch.ones(16, dtype=torch.long)
    with torch.no_grad():
        keeps = torch.ones(16, BLOCKS)
        drops = torch.ones(16, BLOCKS)
        drops[:, 1] = 0.0
        ends = [run_masked(network, learner.units, images, u).mean(0) for u in (drops, keeps)]
        direction = ends[1] - ends[0]
        middle = direction @ (ends[0] + ends[1]) / 2
        network.head.weight.zero_()
        network.head.weight[1] = direction
        network.head.bias.copy_(torch.tensor([float(middle), 0.0, -1e3, -1e3]))
        assert learner.logits_under(images, keeps).argmax(1).eq(1).all()
        assert learner.logits_under(images, drops).argmax(1).eq(0).all()
    (optimizer,) = learner.optimizers()
    learner.train()
    learner.start_epoch(BLOCKS)
    for step in range(60):
        optimizer.zero_grad()
        learner.loss(images, labels, generator(step)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learner.eval()
    with torch.no_grad():
        logits, decisions = learner.predict(images, generator())
    assert decisions is not None
    assert decisions.mean(dim=0).round().tolist() == [0.0, 1.0, 0.0]
    assert logits.argmax(1).eq(1).float().mean() > 0.9


def test_fixed_policies_keep_what_their_names_say() -> None:
    assert first_k(6, 2).tolist() == [1, 1, 0, 0, 0, 0]
    assert dist_k(6, 3).tolist() == [1, 0, 1, 0, 1, 0]
    assert [int(dist_k(15, kept).sum()) for kept in range(16)] == list(range(16))
    network = build_gated_resnet("cifar_resnet20", num_classes=4, seed=0)
    learner = FixedPolicy(network, torch.ones(9), random_count=4).eval()
    with torch.no_grad():
        decisions = learner.predict(batch(40)[0], generator())[1]
    assert decisions is not None and decisions.sum(dim=1).eq(4).all()
    assert len(torch.unique(decisions, dim=0)) > 20


def test_configs_refuse_nonsense() -> None:
    for change, message in (
        ({"explore": 0.4}, "explore is 0.4"),
        ({"penalties": (-1.0,)}, r"penalties is \(-1.0,\)"),
        ({"curriculum_updates": 0}, "curriculum_updates is 0"),
        ({"curriculum_penalty": -1.0}, "curriculum_penalty is -1.0"),
        ({"policy_batch_size": 1}, "policy_batch_size is 1"),
        ({"policy_shrink": 0}, "policy_shrink is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            BlockDropConfig(**change)  # type: ignore[arg-type]
