"""`python -m dnabert_nemo shards|nemo|plan|tune`: a look at shard sets, models and runs to come."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dnabert_nemo.errors import DnabertError, ShardError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 2 with one `error:` line on stderr, or 130 if interrupted."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        chosen.run(chosen)
    except DnabertError as error:
        return _failed(str(error))
    except _of_omegaconf() as error:  # of an interpolation, which is looked at when it is used
        from dnabert_nemo.command import hydra_message

        return _failed(hydra_message(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _failed(message: str) -> int:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    return 2


def _of_omegaconf() -> type[Exception]:
    from omegaconf.errors import OmegaConfBaseException

    return OmegaConfBaseException


def _inspect(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.shards.inspect import inspect_set
    from dnabert_nemo.shards.inspect_report import as_json, report_lines

    found = inspect_set(chosen.dir)
    if chosen.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        print(*report_lines(found, all_contigs=chosen.all), sep="\n")
    for key, shards in found.duplicate_keys.items():
        raise ShardError(f"{chosen.dir}: key {key} comes {len(shards)} times: run prepare_shards again")


def _verify(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.shards.checksums import verify_set

    damaged = []
    for shard, error in verify_set(chosen.dir):
        counts = (
            f"{shard.num_records:,} records, {shard.num_stretches:,} stretches, {shard.num_tokens:,} tokens"
        )
        print(f"{shard.name}: {'DAMAGED' if error else 'ok'}, {counts}", flush=True)
        damaged += [error] if error else []
    if damaged:
        others = f" (and {len(damaged) - 1} more shards are damaged)" if len(damaged) > 1 else ""
        raise ShardError(f"{damaged[0]}{others}")


def _head(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.shards.head import head_lines

    for line in head_lines(chosen.dir, chosen.records, chosen.bases):
        print(line)


def _merge(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.shards.merge import merge_sets
    from dnabert_nemo.shards.publish import Output

    merge_sets(
        chosen.inputs,
        Output(chosen.output_dir, overwrite=chosen.overwrite),
        prefixes=chosen.prefixes,
        shares=chosen.shares,
        seed=chosen.seed,
    )


def _inspect_nemo(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.command import quiet_imports

    quiet_imports()
    logging.getLogger().setLevel(logging.WARNING)  # megatron-core tells what it was imported with
    from dnabert_nemo.model.inspect_nemo import inspect, report_lines

    found = inspect(chosen.file)
    print(json.dumps(found, indent=1) if chosen.json else "\n".join(report_lines(found)))


def _plan(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.training.plan import plan
    from dnabert_nemo.training.plan_report import as_json, check_fit, memory_of, report_lines

    memory = None if chosen.device_memory is None else memory_of(chosen.device_memory)
    planned = plan(chosen.config_name, chosen.overrides, chosen.accelerator, chosen.config_dir)
    print(json.dumps(as_json(planned), indent=1) if chosen.json else "\n".join(report_lines(planned)))
    if memory is not None:
        fits = check_fit(planned, memory)
        if not chosen.json:
            print(fits)


def _tune(chosen: argparse.Namespace) -> None:
    from dnabert_nemo.training.plan_report import memory_of
    from dnabert_nemo.training.tune import Tried, prepare, tune
    from dnabert_nemo.training.tune_report import as_json, end_lines, head_lines, line

    memory = None if chosen.device_memory is None else memory_of(chosen.device_memory)
    tuning = prepare(chosen.config_name, chosen.overrides, memory, chosen.config_dir)
    tried: list[Tried] = []
    if chosen.json:
        print(json.dumps(as_json(tuning, tried, tune(tuning, tried.append)), indent=1))
        return
    print(*head_lines(tuning), sep="\n", flush=True)
    found = tune(tuning, lambda each: print(line(each), flush=True))
    print(*end_lines(tuning, found), sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dnabert_nemo", description=__doc__)
    rooms = parser.add_subparsers(required=True, metavar="shards|nemo|plan|tune")
    commands = rooms.add_parser("shards", help="look into shard sets").add_subparsers(required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], says: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=says, description=says)
        made.set_defaults(run=run)
        return made

    inspect = command("inspect", _inspect, "counts, composition, lengths, keys and checksums of a set")
    inspect.add_argument("--all", action="store_true", help="list every contig")
    inspect.add_argument("--json", action="store_true", help="print the manifest and the counts as JSON")
    verify = command("verify", _verify, "checksums and structure of a set, one line a shard")
    head = command("head", _head, "the first records of a set as FASTA, with their places")
    head.add_argument("--records", type=_count, default=1, help="how many (default 1)")
    head.add_argument("--bases", type=_count, default=None, help="at most so many of each stretch")
    for one in (inspect, verify, head):
        one.add_argument("dir", help="the folder of one split, such as shards/train")
    merge = command("merge", _merge, "several sets of one k into a new one")
    merge.add_argument("output_dir", help="gets a folder for each split")
    merge.add_argument("inputs", nargs="+", help="outputs of prepare_shards, or single splits")
    merge.add_argument(
        "--prefixes", type=_strings, help="a,b: for the component names of each input, where two share one"
    )
    merge.add_argument(
        "--shares", type=_numbers, help="3,1: of the samples for each input (default: by tokens)"
    )
    merge.add_argument("--seed", type=_count, help="of the order of records (default: the first input's)")
    merge.add_argument("--overwrite", action="store_true", help="replace shards that are there already")
    nemo = rooms.add_parser("nemo", help="look into .nemo files").add_subparsers(required=True)
    says = "config, parameters, vocabulary and provenance of a .nemo file"
    inspect_nemo = nemo.add_parser("inspect", help=says, description=says)
    inspect_nemo.set_defaults(run=_inspect_nemo)
    inspect_nemo.add_argument("file", type=Path, help="such as runs/dnabert_86m/checkpoints/dnabert_86m.nemo")
    inspect_nemo.add_argument("--json", action="store_true", help="print it as JSON")
    says = "what a pre-training config takes on each rank: parameters, bytes, tokens a step"
    plan = rooms.add_parser("plan", help=says, description=says)
    plan.set_defaults(run=_plan)
    plan.add_argument("overrides", nargs="*", help="such as trainer.devices=8; no data is needed")
    plan.add_argument("--device-memory", help="such as 80GB: end with exit code 2 where a rank needs more")
    plan.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu", help="default: gpu")
    plan.add_argument("--json", action="store_true", help="print it as JSON, in bytes")
    says = "the micro batch to use, found by training steps on this device"
    tune = rooms.add_parser("tune", help=says, description=says)
    tune.set_defaults(run=_tune)
    tune.add_argument("overrides", nargs="*", help="such as hardware=ampere; no data is needed")
    tune.add_argument("--device-memory", help="such as 8GB, to stay below; default: what is free")
    tune.add_argument("--json", action="store_true", help="print it as JSON, in bytes")
    for one in (plan, tune):
        one.add_argument("--config-name", default="dnabert_86m", help="of conf/ (default dnabert_86m)")
        one.add_argument("--config-dir", help="a folder of configs besides conf/")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number")
    return int(text)


def _strings(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers, one for each input") from None


if __name__ == "__main__":
    sys.exit(main())
