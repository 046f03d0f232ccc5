"""SpotTune's two branches, its gates and its gradients."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.pathways.adaptive import method_of
from transfer.pathways.config import PathwayConfig, RandomPolicyConfig, SpotTuneConfig
from transfer.pathways.executors import run_masked
from transfer.pathways.methods import Setting
from transfer.pathways.resnet import GatedResNet, PolicyNetwork, batch_norms, build_gated_resnet, gate_backbone
from transfer.pathways.spottune import AllTuned, SpotTune, global_k_losses, prefer_tuned

BLOCKS = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained_network(arch: str = "cifar_resnet8") -> GatedResNet:
    network = build_gated_resnet(arch, num_classes=4, seed=0)
    draw = generator()
    for norm in batch_norms(network):
        for tensor, low in ((norm.running_mean, -0.5), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -0.5)):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape, generator=draw) + low)
    return network


def spottune(config: PathwayConfig | None = None, *, arch: str = "cifar_resnet8") -> SpotTune:
    network = trained_network(arch)
    blocks = network.num_blocks
    trunk = build_gated_resnet("cifar_resnet8", num_classes=2 * blocks, seed=1)
    policy = PolicyNetwork(trunk, num_blocks=blocks, logits_per_block=2)
    config = SpotTuneConfig() if config is None else config
    assert isinstance(config, SpotTuneConfig)
    return SpotTune(network, policy, config, learning_rate=0.05)


def batch(count: int = 6, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, 16, 16, generator=generator(5)).to(dtype), torch.arange(count) % 4


def train_steps(learner: SpotTune, steps: int) -> None:
    optimizers = learner.optimizers()
    learner.train()
    for step in range(steps):
        images, labels = batch()
        loss = learner.loss(images, labels, generator(step))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()


def perturb(learner: SpotTune, block: int) -> None:
    for parameter in learner.network.blocks[block].residual.parameters():  # type: ignore[union-attr]
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator(block)).to(parameter.dtype)


@pytest.mark.parametrize("arch", ["cifar_resnet8", "resnet18"])
def test_all_zeros_is_the_frozen_network_and_all_ones_the_tuned_one_bit_for_bit(arch: str) -> None:
    config = SpotTuneConfig(freeze_bn=True, freeze_stem=True)
    learner = spottune(config, arch=arch)
    before = copy.deepcopy(learner.network).eval()
    train_steps(learner, 3)
    learner.eval()
    images, _ = batch()
    ones = torch.ones(6, learner.network.num_blocks)
    with torch.no_grad():
        before.head.load_state_dict(learner.network.head.state_dict())  # the head always learns
        assert torch.equal(learner.logits_under(images, 0 * ones), before(images))
        assert torch.equal(learner.logits_under(images, ones), learner.network(images))
        assert not torch.equal(learner.network(images), before(images))
        assert torch.equal(AllTuned(learner).predict(images, generator())[0], learner.network(images))
        masked = learner.network.head(run_masked(learner.network, learner.units, images, 0 * ones))
        assert torch.equal(masked, before(images))


def test_all_ones_has_the_gradients_of_plain_fine_tuning() -> None:
    learner = spottune()
    plain = copy.deepcopy(learner.network).train()
    images, labels = batch()
    learner.train()
    F.cross_entropy(learner.logits_under(images, torch.ones(6, BLOCKS)), labels).backward()
    F.cross_entropy(plain(images), labels).backward()
    pairs = list(zip(learner.network.parameters(), plain.parameters(), strict=True))
    assert len(pairs) > 15
    for ours, theirs in pairs:
        assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad)


def test_at_the_start_the_policy_changes_nothing_and_learns_nothing() -> None:
    learner = spottune().train()
    images, labels = batch()
    outputs = [learner.logits_under(images, torch.full((6, BLOCKS), value)) for value in (0.0, 1.0)]
    assert torch.equal(*outputs)
    learner.loss(images, labels, generator()).backward()  # type: ignore[no-untyped-call]
    assert learner.policy is not None
    gradients = [parameter.grad for parameter in learner.policy.parameters()]
    assert len(gradients) > 10 and all(g is not None and g.eq(0).all() for g in gradients)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_only_a_block_whose_copies_differ_moves_its_logits(block: int) -> None:
    learner = spottune().train()
    perturb(learner, block)
    images, labels = batch()
    assert learner.policy is not None
    logits: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        logits.append(output)

    learner.policy.register_forward_hook(keep)
    learner.loss(images, labels, generator()).backward()  # type: ignore[no-untyped-call]
    assert logits[0].grad is not None
    per_block = logits[0].grad.abs().sum(dim=(0, 2))
    assert per_block[block] > 0 and [float(per_block[i]) for i in range(BLOCKS) if i != block] == [0.0] * (BLOCKS - 1)
    torch.testing.assert_close(logits[0].grad[..., 0], -logits[0].grad[..., 1])


def test_the_two_branches_share_no_storage() -> None:
    learner = spottune()
    frozen = {t.untyped_storage().data_ptr() for t in [*learner.frozen.parameters(), *learner.frozen.buffers()]}
    tuned = {t.untyped_storage().data_ptr() for t in [*learner.network.parameters(), *learner.network.buffers()]}
    assert len(frozen) >= 30 and not frozen & tuned


@pytest.mark.parametrize("freeze_bn", [False, True])
def test_frozen_convolutions_keep_their_bits_and_norms_obey_the_switch(freeze_bn: bool) -> None:
    learner = spottune(SpotTuneConfig(freeze_bn=freeze_bn))
    before = {name: value.clone() for name, value in learner.frozen.state_dict().items()}
    tuned = copy.deepcopy(learner.network.blocks.state_dict())
    train_steps(learner, 3)
    changed = {name for name, value in learner.frozen.state_dict().items() if not torch.equal(value, before[name])}
    norms = {name for name in before if ".1." in name or ".4." in name}
    assert len(norms) == 30
    assert changed == (set() if freeze_bn else norms)
    moved = [name for name, value in learner.network.blocks.state_dict().items() if not torch.equal(value, tuned[name])]
    assert len(moved) >= 6


def test_a_sample_that_takes_the_frozen_way_teaches_the_tuned_block_nothing_but_what_lies_before() -> None:
    learner = spottune(SpotTuneConfig(freeze_bn=True)).train()
    images, labels = batch()
    gates = torch.ones(6, BLOCKS)
    gates[:, 1] = 0.0
    F.cross_entropy(learner.logits_under(images, gates), labels).backward()
    blocks = learner.network.blocks
    assert all(p.grad is None or p.grad.eq(0).all() for p in blocks[1].parameters())
    assert all(p.grad is None for p in learner.frozen.parameters())
    first = blocks[0].residual[0].weight.grad  # type: ignore[union-attr,index]
    assert first is not None and first.abs().sum() > 0


def test_the_gradient_goes_through_the_frozen_convolutions_to_what_lies_before() -> None:
    learner = spottune(SpotTuneConfig(freeze_bn=True)).train()
    plain = copy.deepcopy(learner.network)
    images, labels = batch()
    gates = torch.ones(6, BLOCKS)
    gates[:, 1] = 0.0  # the same weights as the tuned copy's: the gradient before it is that of the plain network
    F.cross_entropy(learner.logits_under(images, gates), labels).backward()
    for norm in batch_norms(plain):
        norm.eval()
    F.cross_entropy(plain(images), labels).backward()
    for own, expected in zip(learner.network.blocks[0].parameters(), plain.blocks[0].parameters(), strict=True):
        if own.grad is not None:
            torch.testing.assert_close(own.grad, expected.grad)
    mixed = spottune(SpotTuneConfig(freeze_bn=True)).train()
    one = torch.ones(6, BLOCKS)
    one[2, 1] = 0.0  # only the third image
    F.cross_entropy(mixed.logits_under(images, one), labels).backward()
    reference = spottune(SpotTuneConfig(freeze_bn=True)).train()
    others = torch.tensor([0, 1, 3, 4, 5])
    loss = F.cross_entropy(reference.logits_under(images[others], torch.ones(5, BLOCKS)), labels[others])
    (loss * 5 / 6).backward()
    for own, expected in zip(
        mixed.network.blocks[1].parameters(), reference.network.blocks[1].parameters(), strict=True
    ):
        if own.grad is not None:
            torch.testing.assert_close(own.grad, expected.grad, rtol=1e-4, atol=1e-5)


def test_global_ks_terms_enter_the_loss_with_their_weights() -> None:
    images, labels = batch()
    losses = []
    for weights in ((0.0, 0.0), (2.0, 0.0), (0.0, 3.0)):
        config = SpotTuneConfig(global_k=1, global_k_weight=weights[0], global_k_entropy=weights[1])
        learner = spottune(config).eval()
        losses.append(float(learner.loss(images, labels, generator()).detach()))
        shares = learner.gates(images, generator()).detach().mean(dim=0)
    count, entropy = (float(term) for term in global_k_losses(shares, 1))
    assert count > 0.1 and entropy > 0.1
    assert losses[1] - losses[0] == pytest.approx(2 * count, rel=1e-4)
    assert losses[2] - losses[0] == pytest.approx(3 * entropy, rel=1e-4)


def test_global_k_terms() -> None:
    for shares, k in (([1.0, 0.0, 1.0], 2), ([0.0, 0.0], 0), ([0.5, 0.5], 1)):
        assert float(global_k_losses(torch.tensor(shares), k)[0]) == 0
    assert float(global_k_losses(torch.tensor([1.0, 1.0, 0.5]), 1)[0]) == pytest.approx(2.25)
    ends = torch.tensor([0.0, 1.0, 1.0, 0.0], requires_grad=True)
    entropy = global_k_losses(ends, 2)[1]
    (slope,) = torch.autograd.grad(entropy, ends)
    assert float(entropy.detach()) == 0 and slope.isfinite().all()
    for share in (1e-9, 0.01, 0.5, 0.99):
        assert float(global_k_losses(torch.tensor([share, 1.0]), 1)[1]) > 0


def test_global_k_fixes_the_most_tuned_blocks_for_everybody() -> None:
    learner = spottune(SpotTuneConfig(global_k=2)).eval()
    learner.share_blocks(torch.tensor([0.2, 0.9, 0.4]))
    images, _ = batch()
    with torch.no_grad():
        logits, decisions = learner.predict(images, generator())
    assert decisions is not None and decisions.tolist() == [[0.0, 1.0, 1.0]] * 6 and logits.shape == (6, 4)
    with pytest.raises(ValueError, match="share_blocks needs global_k"):
        spottune().share_blocks(torch.zeros(3))


def test_evaluation_is_deterministic_unless_sampling_is_asked_for() -> None:
    images, _ = batch(64)
    for sample, equal in ((False, True), (True, False)):
        learner = spottune(SpotTuneConfig(sample_at_eval=sample)).eval()
        with torch.no_grad():
            first, second = (learner.predict(images, generator(seed))[1] for seed in (1, 2))
            again = learner.predict(images, generator(1))[1]
        assert first is not None and second is not None and again is not None
        assert torch.equal(first, second) is equal and torch.equal(first, again)


def test_random_policy_tosses_a_fair_coin_per_image_and_block() -> None:
    learner = SpotTune(trained_network(), None, RandomPolicyConfig(), learning_rate=0.1).eval()
    gates = learner.gates(torch.zeros(4000, 3, 1, 1), generator())
    assert gates.shape == (4000, BLOCKS) and gates.eq(0).logical_or(gates.eq(1)).all()
    assert (gates.mean(dim=0) - 0.5).abs().max() < 0.03
    assert len(learner.optimizers()) == 1


def test_permuting_the_batch_permutes_policies_and_outputs() -> None:
    learner = spottune().double().eval()
    perturb(learner, 1)
    images, _ = batch(6, torch.float64)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    with torch.no_grad():
        decisions = learner.decide(images, generator())
        assert torch.equal(learner.decide(images[order], generator()), decisions[order])
        logits = learner.logits_under(images, decisions.double())
        permuted = learner.logits_under(images[order], decisions[order].double())
    torch.testing.assert_close(permuted, logits[order], rtol=1e-12, atol=1e-12)


def test_one_image_is_enough_in_evaluation() -> None:
    learner = spottune().eval()
    with torch.no_grad():
        logits, decisions = learner.predict(batch(1)[0], generator())
    assert logits.shape == (1, 4) and decisions is not None and decisions.shape == (1, BLOCKS)


def test_state_dict_round_trip() -> None:
    learner, other = spottune(), spottune()
    train_steps(learner, 2)
    other.load_state_dict(learner.state_dict())
    images, _ = batch()
    with torch.no_grad():
        ours, theirs = (net.eval().predict(images, generator()) for net in (learner, other))
    assert torch.equal(ours[0], theirs[0])


def test_state_dict_round_trip_with_and_without_shared_blocks() -> None:
    shared, plain, other = (spottune(SpotTuneConfig(global_k=2)) for _ in range(3))
    shared.share_blocks(torch.tensor([0.2, 0.9, 0.4]))
    images, _ = batch()
    other.load_state_dict(shared.state_dict())
    assert other.shared_policy is not None and other.shared_policy.tolist() == [0.0, 1.0, 1.0]
    with torch.no_grad():
        ours, theirs = (net.eval().predict(images, generator())[0] for net in (shared, other))
    assert torch.equal(ours, theirs)
    other.load_state_dict(plain.state_dict())
    assert other.shared_policy is None
    assert "shared_policy" in shared.state_dict() and "shared_policy" not in plain.state_dict()


def test_the_two_optimisers_have_the_published_values() -> None:
    learner = spottune()
    (main,), (policy,) = (optimizer.param_groups for optimizer in learner.optimizers())
    keys = ("lr", "momentum", "weight_decay")
    assert tuple(main[key] for key in keys) == (0.05, 0.9, 5e-4)
    assert tuple(policy[key] for key in keys) == (pytest.approx(0.005), 0.9, 1e-3)
    assert learner.policy is not None
    assert {id(p) for p in policy["params"]} == {id(p) for p in learner.policy.parameters()}
    trained = [*learner.network.parameters(), *(p for norm in batch_norms(learner.frozen) for p in norm.parameters())]
    assert {id(p) for p in main["params"]} == {id(p) for p in trained}
    five = SpotTuneConfig(policy_learning_rate=0.01, policy_weight_decay=0.0, weight_decay=1e-4, momentum=0.5)
    (main,), (policy,) = (optimizer.param_groups for optimizer in spottune(five).optimizers())
    assert tuple(main[key] for key in keys) == (0.05, 0.5, 1e-4)
    assert tuple(policy[key] for key in keys) == (pytest.approx(0.0005), 0.5, 0.0)


def test_policy_learns_which_images_need_the_tuned_branch() -> None:
    """A known optimum: the tuned copy is right for bright images, the frozen one for dark ones."""
    network = build_gated_resnet("cifar_resnet8", num_classes=2, seed=0)
    policy_trunk = build_gated_resnet("cifar_resnet8", num_classes=2 * BLOCKS, seed=1)
    policy = PolicyNetwork(policy_trunk, num_blocks=BLOCKS, logits_per_block=2)
    learner = SpotTune(network, policy, SpotTuneConfig(policy_learning_rate=1.0), learning_rate=0.05)
    # Block 1 decides the answer: its frozen copy always says class 0, its tuned copy always class 1.
    for block, sign in ((learner.frozen[1], -1.0), (network.blocks[1], 1.0)):
        last = block.residual[4]  # type: ignore[union-attr,index]
        last.weight.data.zero_()
        last.bias.data[:16], last.bias.data[16:] = 3.0 * sign, -3.0 * sign
    for parameter in [*network.parameters(), *learner.frozen.parameters()]:
        parameter.requires_grad_(False)
    labels = torch.arange(32) % 2
    images = torch.randn(32, 3, 16, 16, generator=generator()) + 3 * (2.0 * labels - 1).view(-1, 1, 1, 1)
    with torch.no_grad():
        # A head that tells the two copies apart, whatever the last block makes of them.
        network.eval()
        ends = [learner.eval().logits_under(images, torch.full((32, BLOCKS), value)) for value in (0.0, 1.0)]
        features = [run_masked(network, learner.units, images, torch.full((32, BLOCKS), v)).mean(0) for v in (0.0, 1.0)]
        direction = features[1] - features[0]
        network.head.weight[0], network.head.weight[1] = -direction, direction
        middle = direction @ (features[0] + features[1]) / 2
        network.head.bias.copy_(torch.stack([middle, -middle]))
    assert not torch.equal(*ends)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    for step in range(40):
        learner.train()
        network.eval()
        loss = learner.loss(images, labels, generator(step))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learner.eval()
    with torch.no_grad():
        logits, decisions = learner.predict(images, generator())
    assert decisions is not None
    assert (decisions[:, 1] == labels).float().mean() > 0.95
    assert (logits.argmax(1) == labels).float().mean() > 0.95


def untrained(chance: float) -> SpotTune:
    config = SpotTuneConfig(size=16, policy_shrink=1, policy_initial_tuned=chance)
    learner = method_of(Setting(config, lambda _seed: trained_network(), num_classes=4)).untrained()
    assert isinstance(learner, SpotTune)
    return learner


def test_training_starts_with_the_chance_of_a_tuned_block_that_the_config_gives() -> None:
    learner = untrained(0.9)
    assert learner.policy is not None
    head = learner.policy.trunk.head
    head.weight.data.zero_()  # the policy does not look at the image
    head.bias.data.zero_()
    prefer_tuned(learner.policy, 0.9)
    images, draw = torch.zeros(200, 3, 16, 16), generator()
    shares = torch.cat([learner.gates(images, draw) for _ in range(20)]).mean(dim=0)
    torch.testing.assert_close(shares, torch.full_like(shares, 0.9), atol=0.02, rtol=0)


def test_even_chances_leave_the_policy_as_it_was_drawn() -> None:
    even, tuned = untrained(0.5), untrained(0.9)
    for (name, one), other in zip(even.state_dict().items(), tuned.state_dict().values(), strict=True):
        if name == "policy.trunk.head.bias":
            assert torch.equal(one[0::2], other[0::2])
            torch.testing.assert_close(other[1::2] - one[1::2], torch.full((3,), 2.1972246))
        else:
            assert torch.equal(one, other), name
    before = copy.deepcopy(even.state_dict())
    assert even.policy is not None
    prefer_tuned(even.policy, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in even.state_dict().items())


def test_configs_refuse_nonsense() -> None:
    for chance in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"policy_initial_tuned is {chance}; allowed: between 0 and 1"):
            SpotTuneConfig(policy_initial_tuned=chance)
    with pytest.raises(ValueError, match=r"tau is 0.0"):
        SpotTuneConfig(tau=0.0)
    with pytest.raises(ValueError, match="global_k is -1"):
        SpotTuneConfig(global_k=-1)
    with pytest.raises(ValueError, match="global_k is 4; the network has 3 blocks"):
        spottune(SpotTuneConfig(global_k=4))


def test_a_backbone_of_torchvision_gets_sixteen_choices_in_resnet50() -> None:
    from torchvision.models import resnet50

    network = gate_backbone(resnet50(num_classes=1), num_classes=3, seed=0)
    assert len(SpotTune(network, None, RandomPolicyConfig(), learning_rate=0.1).units) == 16
