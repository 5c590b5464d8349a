"""The command `meanfield`: one verb per thing that a person does with a study or a store.

Facts go to stdout (one JSON object with ``--json``), progress and messages to stderr. Exit status:
0 all points done, 1 some failed or pending, 2 bad input or nothing could start, 130/143
interrupted.
"""

import argparse
import gc
import importlib.util
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

HOME = Path(__file__).resolve().parent.parent
PACKAGES = ("solvers", "pipeline", "flows")


class Interruption(KeyboardInterrupt):
    """A signal that asks the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without σ must not end a run
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # as it is in a background job
                signal.signal(number, _interrupt)
    try:
        return _run(arguments)
    except KeyboardInterrupt as interruption:
        print("meanfield: interrupted", file=sys.stderr)
        return 128 + getattr(interruption, "number", int(signal.SIGINT))


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interruption(number)


def _run(arguments: Sequence[str] | None) -> int:
    if shadow := _shadowing_folder():
        print(
            f"meanfield: its package '{shadow.name}' is shadowed by {shadow}; run from another "
            "folder, or take that one off PYTHONPATH",
            file=sys.stderr,
        )
        return 2
    options = _parser().parse_args(arguments)
    computes = options.verb in ("retry", "regress") or (
        options.verb == "run" and not options.dry_run
    )
    if computes and options.cluster in (None, "local"):
        from pipeline import forkserver

        forkserver.start()
    _import_verbs()
    from flows import verbs
    from solvers.errors import MeanfieldError

    try:
        return int(getattr(verbs, options.verb)(options))
    except MeanfieldError as error:
        return _refuse(options, str(error))
    except MemoryError:
        return _refuse(options, "not enough memory for this; see `meanfield plan`")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refuse(options, f"{error.filename or 'the system'}: {error.strerror or error}")


def _import_verbs() -> None:
    """Import the verbs, and never look for garbage among what came with them.

    To look there, again and again, is a fifth of the time of `status`.
    """
    if "flows.verbs" not in sys.modules:
        gc.disable()
        import flows.verbs  # noqa: F401

        gc.freeze()
        gc.enable()


def _shadowing_folder() -> Path | None:
    """Where one of our generically named packages would be imported from, if not from here."""
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]
        found = next((Path(place).resolve() for place in places if place), HOME / name)
        folder = found.parent if found.name == "__init__.py" else found
        if folder.parent != HOME:
            return folder
    return None


def _refuse(options: argparse.Namespace, message: str) -> int:
    from pipeline.secrets import redacted

    text = redacted("".join(c if c.isprintable() else " " for c in message))
    print(f"meanfield: {text}", file=sys.stderr)
    if getattr(options, "json", False):
        print(json.dumps({"schema": 1, "verb": options.verb, "error": text, "exit": 2}))
    return 2


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line."""

    def error(self, message: str) -> NoReturn:
        from pipeline.secrets import redacted

        self.exit(2, f"{self.prog}: {redacted(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="meanfield", description="Convergence to mean-field limits, measured.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    init = verbs.add_parser("init", help="write a study file to start from")
    init.add_argument("name", help="the study's name; writes NAME.toml")
    init.add_argument("--from", dest="source", default="quickstart", help="a study that ships")
    _add_json(init)

    plan = verbs.add_parser("plan", help="points, shards, core-hours and bytes of a study")
    _add_study(plan)
    _add_json(plan)

    run = verbs.add_parser("run", help="compute what is missing, analyse, and report")
    _add_run(run, "say what would be computed")

    submit = verbs.add_parser("submit", help="run as a job of Slurm: the driver, or all of it")
    _add_run(submit, "print the job's script")

    status = verbs.add_parser("status", help="how far a store is")
    status.add_argument("store")
    _add_json(status)

    analyse = verbs.add_parser("analyse", help="compute the rates of a store anew")
    analyse.add_argument("store")
    _add_partial(analyse)
    _add_json(analyse)

    report = verbs.add_parser("report", help="one page with figures, tables and provenance")
    report.add_argument("store")
    report.add_argument("--with", dest="other", metavar="OTHER", help="a store to lay beside it")
    report.add_argument("--folder", help="where to (default: report/ in the run's folder)")
    _add_partial(report)
    _add_json(report)

    compare = verbs.add_parser("compare", help="two stores, number by number")
    compare.add_argument("store")
    compare.add_argument("other")
    compare.add_argument(
        "--tolerance", type=_fraction, default=0.0, help="allowed relative difference (default 0)"
    )
    _add_json(compare)

    export = verbs.add_parser("export", help="results as CSV tables or one netCDF file")
    export.add_argument("store")
    export.add_argument("target", help="a new file ….nc, or a new folder for CSV tables")
    _add_json(export)

    verify = verbs.add_parser("verify", help="look at every chunk of a store for damage")
    verify.add_argument("store")
    _add_json(verify)

    retry = verbs.add_parser("retry", help="compute failed points of a store again")
    retry.add_argument("store")
    which = retry.add_mutually_exclusive_group()
    which.add_argument(
        "--failed",
        action="store_true",
        help="timeouts, lack of memory, errors, and what waits for them (the default)",
    )
    which.add_argument("--all", action="store_true", help="every failure")
    _add_running(retry)
    _add_json(retry)

    _add_regress(verbs.add_parser("regress", help="run a study and say whether its numbers moved"))
    _add_baseline(verbs.add_parser("baseline", help="names for nights of regression runs"))

    _add_serve(verbs.add_parser("serve", help="run studies on a schedule, on a Prefect server"))

    point = verbs.add_parser("point", help="recompute one point, and compare with the store")
    point.add_argument("store")
    point.add_argument("step")
    point.add_argument("values", nargs="+", metavar="key=value")
    point.add_argument("--traceback", action="store_true", help="where a failing point fails")
    _add_json(point)
    return parser


def _add_run(parser: argparse.ArgumentParser, dry_run: str) -> None:
    _add_study(parser)
    _add_new_store(parser)
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    _add_running(parser)
    _add_json(parser)


def _add_new_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", help="path or URL of the store (default: runs/<name>/data.zarr)")


def _add_regress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="STUDY|STORE", help="a study file, one that ships, or a finished store"
    )
    _add_overrides(parser)
    _add_night(parser)
    folder = "where the verdict and the page go (default: runs/<name>/regression/<night>)"
    parser.add_argument("--folder", help=folder)
    _add_cluster(parser)
    parser.add_argument("--direct", action="store_true", help="without Prefect")
    _add_json(parser)


def _add_night(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", help="name or store to compare with (default: the only one)")
    _add_history(parser, "runs/<name>/history")
    parser.add_argument("--notify", metavar="COMMAND", help="run on alarms, with verdict.json")
    block = "a notification block of the Prefect server, as slack-webhook/nights"
    parser.add_argument("--notify-block", metavar="SLUG", help=block)


def _add_history(parser: argparse.ArgumentParser, default: str) -> None:
    text = f"path or URL of the history (default: {default})"
    parser.add_argument("--history", metavar="PLACE", help=text)


def _add_baseline(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        ("set", "give a night, or a finished store, a name"),
        ("list", "nights and baselines of a history"),
        ("show", "what a baseline is"),
        ("remove", "take a name away; the night stays"),
    ):
        verb = actions.add_parser(action, help=text)
        if action != "list":
            verb.add_argument("name")
        if action == "set":
            verb.add_argument("night", metavar="STORE|NIGHT")
        _add_history(verb, "the only one below runs/")
        _add_json(verb)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "studies", nargs="*", default=["quickstart"], help="study files, or names of shipped ones"
    )
    parser.add_argument("--cron", help="when to run, as '0 2 * * *'; else as the server is asked")
    parser.add_argument("--timezone", default="UTC", help="of --cron, as Europe/Paris")
    _add_new_store(parser)
    nights = "run nights of `meanfield regress`, with the options of that verb"
    parser.add_argument("--regression", action="store_true", help=nights)
    _add_night(parser)
    parser.add_argument(
        "--retry", choices=["none", "failed", "all"], default="none", help="failures done again"
    )
    parser.add_argument(
        "--limit", type=_positive, default=1, help="runs at a time, of all studies (default 1)"
    )
    _add_overrides(parser)
    _add_cluster(parser)
    _add_partial(parser)


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study file (TOML), or the name of one that ships")
    _add_overrides(parser)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        dest="overrides",
        action="append",
        default=[],
        metavar="section.key=value",
        help="replace a setting of the study; may be repeated",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    _add_cluster(parser)
    parser.add_argument("--direct", action="store_true", help="without Prefect")
    _add_partial(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    cluster = "local (the default), slurm, kubernetes, tcp://host:port or tls://host:port"
    parser.add_argument("--cluster", help=cluster)
    parser.add_argument("--workers", type=_positive, help="workers (default: one per core)")
    parser.add_argument("--min", type=_positive, help="the fewest workers on slurm, kubernetes")
    parser.add_argument("--max", type=_positive, help="the most workers on slurm, kubernetes")
    tls = "encrypt: auto, a folder with ca.pem, cert.pem and key.pem, or CA,CERT,KEY"
    parser.add_argument("--tls", help=tls)
    parser.add_argument("--max-time", type=duration, help="stop cleanly after 90s, 30m, 2h …")


def _add_partial(parser: argparse.ArgumentParser) -> None:
    text = "fit rows that lack points from what is there (default: no fit)"
    parser.add_argument("--partial", action="store_true", help=text)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: a whole number, 1 or more")
    return int(text)


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: a number from 0 up to 1")
    return number


def duration(text: str) -> float:
    """Seconds of a time span like 90s, 30m, 2h or 1d."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: a time like 90s, 30m, 2h or 1d")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
