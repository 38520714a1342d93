"""What `tests/test_devices.py` starts in two processes: trainings whose results are compared with those of one device.

    accelerate launch … tests/two_devices.py FOLDER

Each process writes what it has found to FOLDER. At the end one of them is killed in a training.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from models import bright_and_dark, small_vit

from vptlib.cli.train import train
from vptlib.errors import UserError
from vptlib.tuning import training
from vptlib.tuning.devices import many_devices
from vptlib.tuning.methods import AdaptedModel, build_method
from vptlib.tuning.promptfile import save_prompts
from vptlib.tuning.training import Diverged, Recipe, Training, evaluate, fit

_IMPORTED = "accelerate" in sys.modules  # by what trains on one device
# 9 images a step are shared as 4 and 5. SGD, because AdamW makes a large step of a gradient that is 0 but for rounding.
USUAL = {"learning_rate": 0.02, "steps": 6, "batch_size": 9, "evaluations": 3, "seed": 5, "optimiser": "sgd"}
METHODS = ("linear", "vpt-shallow", "vpt-deep", "vpt-late", "full", "lora", "full-then-prompts", "lp-ft")
WITH_GRADIENTS = ("vpt-shallow", "vpt-deep", "full")
PATIENT = USUAL | {"steps": 40, "evaluations": 20, "patience": 1, "learning_rate": 0.05}


def model(method: str, seed: int = 0, **options) -> AdaptedModel:
    torch.manual_seed(seed)
    return build_method(method, small_vit(seed=3, depth=3), 2, **options)


def data(count: int = 21):
    return bright_and_dark(count), bright_and_dark(11, seed=2)


def outcome(net: AdaptedModel, history) -> dict:
    """The history and all weights, and what the model then answers."""
    answers = torch.from_numpy(evaluate(net, bright_and_dark(13, seed=4)).probabilities)
    figures = {name: getattr(history, name) for name in ("train_loss", "val_steps", "val_loss", "best_step", "stopped")}
    return figures | {"weights": net.state_dict(), "answers": answers}


def trained(method: str, options=(), **recipe) -> dict:
    net = model(method, **dict(options))
    return outcome(net, fit(net, *data(), Recipe(**USUAL | recipe)))


def first_gradients(method: str) -> dict:
    net = model(method)
    run = Training(net, *data(), Recipe(**USUAL))
    run.advance(1)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def patient() -> dict:
    net = model("vpt-deep")
    return outcome(net, fit(net, *data(), Recipe(**PATIENT)))


def with_unread_weight() -> dict:
    """A backbone with a weight that trains and that no logit depends on."""
    vit = small_vit(seed=3, depth=3)
    vit.spare = torch.nn.Parameter(torch.ones(3))
    torch.manual_seed(0)
    net = build_method("full", vit, 2)
    return outcome(net, fit(net, *data(), Recipe(**USUAL)))


def diverging(**recipe) -> str:
    try:
        trained("vpt-deep", learning_rate=1e30, **recipe)
    except Diverged as error:
        return str(error)
    return "trained"


def refused(run: Callable) -> str:
    try:
        run()
    except UserError as error:
        return str(error)
    return "done"


def taken_in_two(method: str, folder: Path) -> dict:
    """Stopped after 3 steps, which are after the first evaluation; another object goes on from the file."""
    file = folder / f"{method}.pt"
    begun = Training(model(method), *data(), Recipe(**USUAL | {"optimiser": "adamw"}), file)
    begun.advance(3)
    begun.save()
    net = model(method, seed=9)
    return outcome(net, fit(net, *data(), Recipe(**USUAL | {"optimiser": "adamw"}), file))


def alike() -> dict:
    """What one device and several must find alike."""
    return {
        **{f"trained {method}": trained(method) for method in METHODS},
        **{f"gradients {method}": first_gradients(method) for method in WITH_GRADIENTS},
        "augmented": trained("vpt-deep", augmentation="light+mirror"),
        "bf16": trained("vpt-deep", autocast=True),
        "patient": patient(),
        "unread weight": with_unread_weight(),
    }


def of_many(folder: Path) -> dict:
    """All that two devices do together."""
    with many_devices() as devices:
        found = alike()
        net = model("vpt-deep")
        fit(net, *data(), Recipe(**USUAL))
        if devices.is_first:
            save_prompts(net, folder / "two.safetensors")
        found["number"], found["count"], found["imported"] = devices.number, devices.count, _IMPORTED
        found["watched"] = watched(lambda history: devices.number == 0 and len(history.train_loss) == 2)
        found["watched in vain"] = watched(lambda history: devices.number == 1)
        found["diverging"], found["diverging bf16"] = diverging(), diverging(autocast=True)
        found["small batch"] = refused(lambda: trained("vpt-deep", batch_size=1))
        found["first fails"] = refused(lambda: devices.from_first(fails))
        found["dropout"] = [trained("vpt-deep", {"dropout": 0.5}) for _ in range(2)]
        found["masks"] = devices.number, mask(devices)
        found["unlike"] = devices.have_alike(devices.number), devices.have_alike("the same")
        found["in two"] = taken_in_two("vpt-deep", folder)
        found["few to evaluate"] = evaluate(model("vpt-deep"), bright_and_dark(1, seed=4)).loss
    with many_devices(at_once=2):
        found["parts"] = {method: trained(method) for method in ("vpt-deep", "full")}
    with many_devices(sharded=True):
        found["sharded"] = trained("full")
        found["sharded augmented"] = trained("full", augmentation="light", checkpointing=True)
        found["sharded bf16"] = trained("full", autocast=True)
        found["sharded diverging"] = refused(lambda: trained("full", learning_rate=1e30))
        found["sharded in two"] = taken_in_two("full", folder)
        found["held"] = held()
        found["sharded prompts"] = refused(lambda: trained("vpt-deep"))
    with many_devices(sharded=True, at_once=4):  # 1 part on one device, 2 on the other
        found["sharded parts"] = trained("full")
    return found


def held() -> list[int]:
    """How many numbers of weights, gradients and moments this process holds in training, and how many there are."""
    net = model("full")
    run = Training(net, *data(), Recipe(**USUAL | {"optimiser": "adamw"}))
    run.advance(1)
    optimiser = run._optimiser
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    moments = [state[name] for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    here = [*weights, *(p.grad for p in weights), *moments]
    return [sum(t.to_local().numel() for t in here), 4 * net.trainable_parameters]


def watched(watch: Callable) -> list[float]:
    return fit(model("vpt-deep"), *data(), Recipe(**USUAL), watch=watch).train_loss


def fails() -> None:
    raise UserError("the first could not read it.")


def mask(devices) -> list[float]:
    devices.begin_step(5, 3)
    return torch.rand(4).tolist()


KILLED = USUAL | {"optimiser": "adamw", "steps": 10, "evaluations": 5}


def killed(folder: Path) -> None:
    """A training with a checkpoint after every step, until the second process kills itself in step 4."""
    training.SECONDS_BETWEEN_CHECKPOINTS = -1
    done = []

    def progress(count: int) -> None:
        done.append(count)
        if len(done) == 4 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    fit(model("vpt-deep"), *data(), Recipe(**KILLED), folder / "killed.pt", progress)


def main(folder: Path) -> None:
    with many_devices() as devices:
        torch.save(of_many(folder), folder / f"found-{devices.number}.pt")
    for _ in range(2):  # the second time it is in the store
        train(folder / "study.yaml", method="vpt-deep", size=40)
    with many_devices():
        killed(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
