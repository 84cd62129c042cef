"""The training loop does what a loop written by hand does, and the same every time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor, nn, optim
from torch.nn import functional

from schemas.shared.manifest import Manifest
from schemas.train.lr_scheduler import Plateau as PlateauParams
from schemas.train.training import Training as TrainingParams
from schemas.vision.checkpoint import EndedBy, EpochRecord, Scores
from schemas.vision.transforms import CutMix, MixUp, RandomCrop, RandomHorizontalFlip, Transform
from stages.shared.errors import InputError
from stages.train import loop
from stages.train.loop import (
    count_correct,
    explain_end,
    run_epoch,
    score_steps,
    score_validation,
    train_steps,
)
from stages.train.loss import CrossEntropy
from stages.train.lr_scheduler import Plateau
from stages.train.state import Clock, Snapshot, TrainingState, WeightAverage
from stages.train.state_file import read_state, write_state
from stages.vision.checkpoint import hash_weights
from stages.vision.inference import compute_logits
from stages.vision.rng import derive_seed
from tests.train.toy import Toy, make_training, never_save
from tests.vision.completeness import read_section
from tests.vision.documents import CALIBRATION
from tests.vision.prepared import write_prepared
from tests.vision.torch_state import keep_torch_settings

AUGMENT: Sequence[Transform] = (
    RandomCrop(name="RandomCrop", padding=2),
    RandomHorizontalFlip(name="RandomHorizontalFlip", p=0.5),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with keep_torch_settings():
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    """Return a data set of 24 training images, which batches of 5 do not divide."""
    return write_prepared(folder)


def train(run: Toy, *, num_epochs: int = 3) -> list[EpochRecord]:
    """Go on until so many epochs are finished, and return the records of all."""
    while run.state.epoch < num_epochs:
        run_epoch(*run, save_point=never_save)
    return run.state.history


def train_epoch(run: Toy, *, epoch: int = 0) -> tuple[float, float]:
    """Go once through the training images of an epoch; return mean loss and accuracy."""
    run.state.epoch = epoch - 1
    run.state.start_next_epoch()
    train_steps(*run, save_point=never_save)
    return score_steps(run.state)


def validate(run: Toy) -> Scores:
    """Score the network as it is on the validation split."""
    training, state, phase = run
    logits, labels = compute_logits(
        state.network, phase.val_batches, device=training.device, numerics=training.numerics
    )
    return score_validation(training, logits, labels, epoch=0)


def hash_network(run: Toy) -> str:
    """Return one hash of all weights."""
    return hash_weights(run.state.network.state_dict())


def test_separable_images_are_learned(folder: Path, manifest: Manifest) -> None:
    """Training and validation loss fall, and in the end every prediction is correct."""
    records = train(make_training(folder, manifest), num_epochs=12)
    assert records[-1].train_loss < 0.2 * records[0].train_loss
    assert records[-1].val.loss < 0.2 * records[0].val.loss
    assert records[-1].train_accuracy == 1.0
    assert records[-1].val.accuracy == records[-1].val.macro_f1 == 1.0


def test_weights_are_those_of_a_loop_written_by_hand(folder: Path, manifest: Manifest) -> None:
    """Forward, loss, zero_grad, backward, step over the same batches give the same bits."""
    run, other = make_training(folder, manifest), make_training(folder, manifest)
    records = train(run, num_epochs=2)

    network, images = other.state.network, other.training.train_images
    optimizer = optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    step = 0
    for epoch in range(2):
        network.train()
        generator = torch.Generator().manual_seed(derive_seed(0, epoch))
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for batch in order.split(5):  # type: ignore[no-untyped-call]
            inputs, labels = images.gather(batch.tolist())
            optimizer.param_groups[0]["lr"] = 0.05 / (1 + step / 10)
            loss = functional.cross_entropy(network(inputs), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(batch)
            step += 1
        assert records[epoch].train_loss == pytest.approx(total / len(images), rel=1e-6)
    assert hash_network(run) == hash_network(other)


def test_epoch_loss_is_the_mean_over_images(folder: Path, manifest: Manifest) -> None:
    """While weights stand still, loss and accuracy are those of all images, the last batch being smaller."""
    run = make_training(folder, manifest, lr=0.0)
    loss, accuracy = train_epoch(run)
    images, labels = run.training.train_images.gather(range(len(run.training.train_images)))
    with torch.no_grad():
        logits = run.state.network(images)
    assert len(images) % 5 != 0
    assert loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(dim=1) == labels).double().mean().item())


def test_validation_scores_the_validation_split(folder: Path, manifest: Manifest) -> None:
    """Loss and scores are those of the network on the split, without dropout, as scikit-learn has them."""
    run = make_training(folder, manifest, dropout=0.9)
    scores = validate(run)
    batches = list(run.phase.val_batches)
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    with torch.no_grad():
        logits = run.state.network.eval()(images)
    predicted = logits.argmax(dim=1)
    assert scores.loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert scores.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert scores.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro"))


def test_validation_uses_the_loss_of_training(folder: Path, manifest: Manifest) -> None:
    """Class weights and smoothing count in the validation loss too."""
    criterion = CrossEntropy(label_smoothing=0.2, class_weights=torch.tensor([1.0, 2.0, 5.0]))
    run = make_training(folder, manifest, criterion=criterion)
    images, labels = (torch.cat(part) for part in zip(*run.phase.val_batches, strict=True))
    with torch.no_grad():
        expected = criterion(run.state.network.eval()(images), labels).item()
    assert validate(run).loss == pytest.approx(expected, rel=1e-5)


def test_network_trains_in_training_mode_after_validation(folder: Path, manifest: Manifest) -> None:
    """Each epoch switches dropout on again."""
    run = make_training(folder, manifest, dropout=0.5)
    modes = []
    run.state.network.register_forward_hook(lambda *_: modes.append(run.state.network.training))
    train(run, num_epochs=2)
    assert modes == ([True] * 5 + [False] * 2) * 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_runs_are_the_same(folder: Path, manifest: Manifest, precision: str) -> None:
    """Weights, losses and scores of two runs are equal to the last bit, with augmentation and dropout."""

    def hashed_run(seed: int) -> tuple[str, list[EpochRecord]]:
        run = make_training(
            folder,
            manifest,
            dropout=0.5,
            augment=AUGMENT,
            precision="bfloat16" if precision == "bfloat16" else "float32",
            seed=seed,
        )
        records = train(run, num_epochs=2)
        return hash_network(run), records

    first = hashed_run(0)
    torch.rand(3)
    assert hashed_run(0) == first
    assert hashed_run(1) != first


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("prefetch_factor", [2, 4])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
def test_workers_change_nothing(
    folder: Path, manifest: Manifest, num_workers: int, prefetch_factor: int
) -> None:
    """Any number of workers and of batches made ahead gives the bits of a run without workers."""

    def hashed_run(num_workers: int, prefetch_factor: int) -> tuple[str, list[EpochRecord]]:
        run = make_training(
            folder,
            manifest,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
            dropout=0.5,
            augment=AUGMENT,
        )
        records = train(run, num_epochs=2)
        return hash_network(run), records

    assert hashed_run(num_workers, prefetch_factor) == hashed_run(0, 1)


def test_augmentation_differs_from_epoch_to_epoch(folder: Path, manifest: Manifest) -> None:
    """Each epoch changes the training images in another way."""
    run = make_training(folder, manifest, augment=AUGMENT, lr=0.0)
    losses = {train_epoch(run, epoch=epoch)[0] for epoch in range(4)}
    # While weights stand still, another order alone moves the mean loss by no more than rounding does.
    assert max(losses) - min(losses) > 1e-4


def test_dropout_differs_from_step_to_step(folder: Path, manifest: Manifest) -> None:
    """Each step of each epoch drops other values."""
    run = make_training(folder, manifest, dropout=0.5, lr=0.0, batch_size=24)
    losses = {train_epoch(run, epoch=epoch)[0] for epoch in range(4)}
    assert len(losses) == 4


def test_learning_rate_is_that_of_the_last_step(folder: Path, manifest: Manifest) -> None:
    """The record holds the rate of the epoch's last step; the schedule moves once a step."""
    records = train(make_training(folder, manifest), num_epochs=2)
    assert [record.epoch for record in records] == [1, 2]
    assert [record.lr for record in records] == pytest.approx([0.05 / 1.4, 0.05 / 1.9])


def test_soft_targets_count_as_their_likeliest_class() -> None:
    """A prediction of a mixed image is correct if it names the class that most of the image is of."""
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert count_correct(logits, torch.tensor([0, 2])) == 1
    assert count_correct(logits, torch.tensor([[0.6, 0.0, 0.4], [0.1, 0.2, 0.7]])) == 1
    assert count_correct(logits, torch.tensor([[0.6, 0.0, 0.4], [0.1, 0.7, 0.2]])) == 2


def test_bfloat16_learns_with_float32_weights(folder: Path, manifest: Manifest) -> None:
    """In 16-bit arithmetic the loss falls too, and the weights stay float32."""
    run = make_training(folder, manifest, precision="bfloat16")
    records = train(run, num_epochs=8)
    assert records[-1].train_loss < 0.5 * records[0].train_loss
    assert {weight.dtype for weight in run.state.network.parameters()} == {torch.float32}


def test_batch_may_be_larger_than_the_data_set(folder: Path, manifest: Manifest) -> None:
    """One batch of all images is one step an epoch."""
    run = make_training(folder, manifest, batch_size=10_000)
    train(run, num_epochs=2)
    assert run.state.lr_scheduler.last_epoch == 2


def test_smallest_data_set_trains(tmp_path: Path) -> None:
    """Two classes with one image in each split, in batches of one."""
    manifest = write_prepared(tmp_path, classes=("a", "b"), num_train=1, num_val=1, num_test=1)
    [record] = train(make_training(tmp_path, manifest, batch_size=1), num_epochs=1)
    assert 0 <= record.val.accuracy <= 1


class BrokenLoss(nn.Module):
    """Cross-entropy that is not finite at one call."""

    def __init__(self, *, breaks_at: int, value: float) -> None:
        super().__init__()
        self._breaks_at = breaks_at
        self._value = value
        self._num_calls = 0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self._num_calls += 1
        loss = functional.cross_entropy(logits, labels)
        return loss * self._value if self._num_calls == self._breaks_at else loss


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_non_finite_loss_is_named(folder: Path, manifest: Manifest, value: float, word: str) -> None:
    """A loss that is NaN or infinite ends training; the message names epoch, step and what to do."""
    # An epoch calls it for 5 steps and once to validate: call 9 is step 3 of the second epoch.
    run = make_training(folder, manifest, criterion=BrokenLoss(breaks_at=9, value=value))
    message = f"train: the loss became {word} in epoch 2, step 3 of 5; lower optimizer.lr"
    with pytest.raises(InputError, match=message):
        train(run)


def test_non_finite_loss_ends_the_epoch_early(
    folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses are looked at every few steps; the first bad step is named, and no more of them are done."""
    monkeypatch.setattr(loop, "_STEPS_BETWEEN_CHECKS", 4)
    run = make_training(folder, manifest, criterion=BrokenLoss(breaks_at=2, value=float("nan")))
    with pytest.raises(InputError, match="the loss became nan in epoch 1, step 2 of 5"):
        train(run)
    assert run.state.step == 4


def test_non_finite_validation_loss_is_named(folder: Path, manifest: Manifest) -> None:
    """A validation loss that is NaN ends training; the message names the epoch."""
    run = make_training(folder, manifest, criterion=BrokenLoss(breaks_at=12, value=float("nan")))
    with pytest.raises(InputError, match="train: the validation loss became nan after epoch 2; "):
        train(run)


def test_too_high_a_learning_rate_is_named(folder: Path, manifest: Manifest) -> None:
    """Weights that fly apart end in the same message, not in a checkpoint of NaN."""
    with pytest.raises(InputError, match=r"loss became (nan|inf) (in|after) epoch \d.*lower optimizer\.lr"):
        train(make_training(folder, manifest, lr=1e20), num_epochs=5)


@pytest.mark.parametrize("accumulation_steps", [2, 3, 5, 100])
def test_parts_of_a_batch_give_its_gradient(
    folder: Path, manifest: Manifest, accumulation_steps: int
) -> None:
    """Divided batches, the smaller last one too, end in the weights and losses of whole ones."""
    whole = make_training(folder, manifest, dropout=0.5, augment=AUGMENT)
    parts = make_training(
        folder, manifest, dropout=0.5, augment=AUGMENT, accumulation_steps=accumulation_steps
    )
    sizes = set[int]()
    parts.state.network.register_forward_hook(lambda _, images, __: sizes.add(len(images[0])))
    expected, found = train(whole, num_epochs=2), train(parts, num_epochs=2)
    assert [record.train_loss for record in found] == pytest.approx(
        [record.train_loss for record in expected], rel=1e-5
    )
    assert found[-1].train_accuracy == expected[-1].train_accuracy
    assert min(sizes) < 5
    for one, other in zip(whole.state.network.parameters(), parts.state.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_long_gradients_are_shortened(folder: Path, manifest: Manifest) -> None:
    """A gradient is shortened to the length, all parameters' taken together; a short one stays as it is."""
    free = make_training(folder, manifest, lr=0.0)
    train_epoch(free)
    gradients = [weights.grad for weights in free.state.network.parameters()]
    length = torch.cat([grad.flatten() for grad in gradients if grad is not None]).norm().item()
    for max_grad_norm, expected in ((0.5 * length, 0.5 * length), (2 * length, length)):
        clipped = make_training(folder, manifest, lr=0.0, max_grad_norm=max_grad_norm)
        train_epoch(clipped)
        found = [weights.grad for weights in clipped.state.network.parameters()]
        for one, other in zip(found, gradients, strict=True):
            assert one is not None
            assert other is not None
            torch.testing.assert_close(one, other * (expected / length), rtol=1e-4, atol=1e-8)


def make_eventful(folder: Path, manifest: Manifest) -> Toy:
    """Return a run with everything that changes from step to step: a plateau and an average too."""
    run = make_training(folder, manifest, dropout=0.5, augment=AUGMENT, max_grad_norm=1.0)
    arguments = PlateauParams(patience_epochs=0, min_delta=10.0, gamma=0.5, min_lr_fraction=0.0)
    state = run.state
    plateau = state.plateau = Plateau(arguments, metric="loss")
    state.lr_scheduler = optim.lr_scheduler.LambdaLR(state.optimizer, lambda step: plateau.factor)
    state.average = WeightAverage(state.network, decay=0.8)
    return run


def test_average_is_validated_and_kept(folder: Path, manifest: Manifest) -> None:
    """Scores and the best weights are the average's, while training continues with the network's own."""
    run, plain = make_eventful(folder, manifest), make_eventful(folder, manifest)
    plain.state.average = None
    train(run, num_epochs=1)
    train(plain, num_epochs=1)
    assert hash_network(run) == hash_network(plain)
    state, average = run.state, run.state.average
    assert average is not None
    assert state.best is not None
    with average.swapped_into(state.network):
        assert validate(run) == state.history[0].val
        assert hash_weights(state.best.weights) == hash_network(run)
    assert state.history[0].val != plain.state.history[0].val


def test_plateau_lowers_the_next_epochs_rate(folder: Path, manifest: Manifest) -> None:
    """After an epoch that is no improvement the next one trains at the lower rate from its first step on."""
    run = make_eventful(folder, manifest)
    rates = list[float]()
    for _ in range(3):
        run_epoch(*run, save_point=lambda state: rates.append(state.lr))
    of_epoch = [rates[start : start + 6] for start in (0, 6, 12)]  # 5 steps, and the end of the epoch
    assert of_epoch == [[0.05] * 6, [0.05] * 6, [0.025] * 6]


@pytest.mark.parametrize("stop", [1, 5, 8, 11])
def test_all_that_changes_is_in_the_state(
    tmp_path: Path, folder: Path, manifest: Manifest, stop: int
) -> None:
    """Plateau and average too: a run resumed at any point ends in the bits of the unbroken one."""
    saved = list[Path]()

    def save(state: TrainingState) -> None:
        saved.append(tmp_path / f"{len(saved)}.safetensors")
        write_state(saved[-1], state.state_dict())

    unbroken = make_eventful(folder, manifest)
    for _ in range(3):
        run_epoch(*unbroken, save_point=save)
    resumed = make_eventful(folder, manifest)
    resumed.state.load_state_dict(read_state(saved[stop]))
    train(resumed, num_epochs=3)
    assert resumed.state.history == unbroken.state.history
    assert hash_network(resumed) == hash_network(unbroken)
    assert resumed.state.best is not None
    assert unbroken.state.best is not None
    assert hash_weights(resumed.state.best.weights) == hash_weights(unbroken.state.best.weights)


MIX: Sequence[Transform] = (MixUp(name="MixUp", p=0.5), CutMix(name="CutMix"))


class Recorder(CrossEntropy):
    """Cross-entropy that keeps the targets it is given."""

    def __init__(self) -> None:
        super().__init__(label_smoothing=0.0)
        self.targets: list[Tensor] = []

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.targets.append(labels)
        return super().forward(logits, labels)


def test_mixed_batches_are_trained_on(folder: Path, manifest: Manifest) -> None:
    """Every step's loss gets shares of the classes, those of its epoch and step; validation gets labels."""
    criterion = Recorder()
    run = make_training(folder, manifest, mix=MIX, criterion=criterion)
    train(run, num_epochs=2)
    training = run.training
    steps, validation = criterion.targets[:5], criterion.targets[5]
    assert validation.dtype == torch.int64
    for targets in steps:
        assert targets.dtype == torch.float32
        assert targets.shape[1] == 3
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))
    assert any(bool(((targets > 0) & (targets < 1)).any()) for targets in steps)
    last = list(training.parts)
    training.parts.set_epoch(0)
    first = next(iter(training.parts))
    assert last[0] != first
    training.train_images.set_epoch(0)
    assert training.mixing is not None
    _, expected = training.mixing(*training.train_images.gather(first), epoch=0, step=0)
    assert torch.equal(steps[0], expected)


def test_mixing_repeats(folder: Path, manifest: Manifest) -> None:
    """Two runs mix alike; mixing changes what is learnt."""
    runs = [make_training(folder, manifest, mix=mix) for mix in (MIX, MIX, ())]
    for run in runs:
        train(run, num_epochs=2)
    first, second, plain = (hash_weights(state.network.state_dict()) for _, state, _ in runs)
    assert first == second != plain


def explain(
    num_finished: int, *, best_epoch: int = 0, seconds: float = 100.0, **params: object
) -> EndedBy | None:
    """Return why a run of 10 epochs ends after some, if it does."""
    scores = Scores(loss=1.0, accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5)
    records = [
        EpochRecord(epoch=epoch + 1, lr=0.1, train_loss=1.0, train_accuracy=0.5, val=scores)
        for epoch in range(num_finished)
    ]
    clock = Clock(now=lambda: 0.0)
    clock.load_state_dict({"seconds": seconds})
    best = Snapshot(records[best_epoch - 1], CALIBRATION, weights={}) if best_epoch else None
    network = nn.Linear(1, 1)
    optimizer = optim.SGD(network.parameters())
    state = TrainingState(
        network,
        optimizer,
        optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        losses=torch.zeros(1),
        num_correct=torch.zeros(()),
        history=records,
        best=best,
        clock=clock,
    )
    section = {**read_section("training"), "num_epochs": 10, **params}
    return explain_end(state, TrainingParams.model_validate(section))


def test_all_epochs_are_trained() -> None:
    """Without other reasons the number of epochs decides."""
    assert [explain(number) for number in (0, 9, 10)] == [None, None, "num_epochs"]


@pytest.mark.parametrize(
    ("num_finished", "best_epoch", "ended_by"),
    [(0, 0, None), (1, 1, None), (4, 2, None), (5, 2, "early_stopping"), (10, 2, "num_epochs")],
)
def test_epochs_without_a_new_best_end_training(
    num_finished: int, best_epoch: int, ended_by: EndedBy | None
) -> None:
    """With a patience of 3, the third epoch in a row that is no new best is the last."""
    assert explain(num_finished, best_epoch=best_epoch, early_stopping_epochs=3) == ended_by


@pytest.mark.parametrize(
    ("num_finished", "seconds", "ended_by"),
    [(0, 999.0, None), (1, 49.0, None), (1, 51.0, "time_budget"), (4, 79.0, None), (4, 81.0, "time_budget")],
)
def test_epoch_that_would_take_too_long_is_not_begun(
    num_finished: int, seconds: float, ended_by: EndedBy | None
) -> None:
    """With 100 seconds, an epoch begins only if it would end in time at the speed so far; one always does."""
    assert explain(num_finished, seconds=seconds, max_minutes=100 / 60) == ended_by
