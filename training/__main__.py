"""Command line: `python -m training generate | train | recover | export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training import pool


def main() -> None:
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _generate_arguments(commands.add_parser("generate", help="simulate scenes into a cache folder"))
    _train_arguments(commands.add_parser("train", help="train, or resume training"))
    _recover_arguments(commands.add_parser("recover", help="go on from an exported network"))
    _export_arguments(commands.add_parser("export", help="write the model folder"))
    options = parser.parse_args()
    options.run(options)


def _generate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--scenes", type=int, nargs=2, metavar=("FIRST", "END"), help="these only; END is not made")
    parser.set_defaults(run=_generate)


def _generate(options: argparse.Namespace) -> None:
    from training.optimisation import Plan

    ranges = [range(*options.scenes)] if options.scenes else Plan(seed=options.seed).pools()
    for indices in ranges:
        pool.generate(options.cache / "scenes", options.seed, indices)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--threads", type=int, default=1)
    parser.set_defaults(run=_train)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("models/skullbase"))
    parser.add_argument("--version", required=True)
    parser.set_defaults(run=_export)


def _recover_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--model", type=Path, default=Path("models/skullbase/model.onnx"))
    parser.add_argument("--step", type=int, required=True, help="where in the training the network stands")
    parser.set_defaults(run=_recover)


def _recover(options: argparse.Namespace) -> None:
    from training.optimisation import Plan
    from training.recovery import recover

    recover(options.model, Plan(seed=options.seed), options.step, options.cache)


def _train(options: argparse.Namespace) -> None:
    from training.optimisation import Plan, train

    train(Plan(seed=options.seed), options.cache, options.threads)


def _export(options: argparse.Namespace) -> None:
    from training.export import export_model

    export_model(options.checkpoint, options.folder, options.version)


if __name__ == "__main__":
    main()
