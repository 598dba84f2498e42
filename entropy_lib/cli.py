"""`entropy-book`: one command over the book, the experiments and their records."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Run the chapters, build and serve the book, run experiments at scale, and decide the claims.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ROOT = Path(__file__).parent.parent
Profile = Annotated[str, typer.Option(help="quick: embedded data, minutes. laptop: real data, hours. paper: a GPU.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def main() -> None:
    """Turn the library's refusals into one line and exit status 1."""
    try:
        app()
    except (KeyError, ValueError, FileNotFoundError, RuntimeError) as error:
        typer.secho(f"error: {error.args[0] if error.args else error}", fg="red", err=True)
        raise SystemExit(1) from None


@app.callback()
def _book() -> None:
    """Keeps `sweep` a subcommand."""


@app.command()
def sweep(
    experiment: Annotated[str, typer.Argument(help="An experiment, such as autoencoder.")],
    profile: Profile = "quick",
    device: Device = "cpu",
    seeds: Annotated[int | None, typer.Option(help="Fewer or more seeds than the profile has.")] = None,
    records: Annotated[Path | None, typer.Option(help="Folder for the records.")] = None,
) -> None:
    """Run an experiment without Jupyter; what has a record already is skipped."""
    from entropy_lib.experiments import EXPERIMENTS, store_for
    from entropy_lib.sweep.run import run

    if experiment not in EXPERIMENTS:
        raise KeyError(f"unknown experiment {experiment!r}; known: {', '.join(EXPERIMENTS)}")
    module = EXPERIMENTS[experiment]
    store = store_for(profile, records)
    trials = module.grid(profile, seeds=seeds)
    done = run(trials, module.train_stack, store, module.stack_by, module.scope, device)
    typer.echo(f"{done} trials trained, {len(trials) - done} were there; records in {store.root}")
