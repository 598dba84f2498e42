"""`entropy-book`: one command over the book, the experiments and their records."""

import functools
import http.server
import json
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from replication import ROOT

app = typer.Typer(
    help="Run the chapters, build and serve the book, run experiments at scale, and decide the claims.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Profile = Annotated[str, typer.Option(help="quick: embedded data, minutes. laptop: real data, hours. paper: a GPU.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Chapters = Annotated[list[str] | None, typer.Argument(help="Names of chapters; all when none is given.")]


class _Papermill(TyperCommand):
    """A command whose `-p` takes two words, a name and a value, which Typer's lists of options cannot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        joined, rest = list[str](), iter(args)
        for word in rest:
            joined.append(word)
            if word == "-p":
                name, value = next(rest, ""), next(rest, None)
                if value is None or "=" in name:
                    raise ValueError(f"-p takes a name and a value, such as -p seeds 1, got {name!r}")
                joined.append(f"{name}={value}")
        return super().parse_args(ctx, joined)


class _Naming(TyperCommand):
    """A command whose help ends with the names that it takes, which only its help has to look up."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from replication.data.registry import names
        from replication.experiments.registry import EXPERIMENTS
        from replication.networks.vgg_resnet import ARCHITECTURES

        other = {
            "data": ("Weights", [f"{architecture}-weights" for architecture in ARCHITECTURES]),
            "sweep": ("Experiments", list(EXPERIMENTS)),
        }[str(self.name)]
        self.epilog = "\n\n".join(f"{what}: {', '.join(each)}." for what, each in (other, ("Data sets", names())))
        super().format_help(ctx, formatter)


def main() -> None:
    """Turn the library's refusals into one line and exit status 1."""
    _settle_environment()
    try:
        app()
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        typer.secho(f"error: {error.args[0] if isinstance(error, KeyError) else error}", fg="red", err=True)
        raise SystemExit(1) from None


def _settle_environment() -> None:
    """Folders and texts mean to chapters, which run elsewhere and as processes of their own, what they mean here."""
    for name in ("ENTROPY_DATA", "ENTROPY_RESULTS", "ENTROPY_CACHE"):
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).expanduser().absolute())
    os.environ["PYTHONUTF8"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@app.command(cls=_Papermill)
def run(
    chapters: Chapters = None,
    profile: Profile = "quick",
    device: Device = "cpu",
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="A chapter's parameter, as papermill takes it.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Run even what is up to date.")] = False,
) -> None:
    """Execute chapters with papermill; those that are up to date are skipped.

    Example: entropy-book run autoencoder --profile laptop -p seeds 1
    """
    from replication.pages import book

    given = {name: _value(text) for name, _, text in (pair.partition("=") for pair in parameter or [])}
    ran = book.run(chapters or (), profile, device, given, force)
    typer.echo(f"ran {', '.join(ran)}" if ran else "every chapter is up to date")


@app.command()
def build(chapters: Chapters = None, profile: Profile = "quick", device: Device = "cpu") -> None:
    """Run what is out of date, then build the book with warnings as errors."""
    from replication.pages import book

    run(chapters, profile, device, None, False)
    typer.echo(f"the book lies in {book.build()}/index.html; `make serve` opens it")


@app.command()
def pdf(chapters: Chapters = None, profile: Profile = "quick", device: Device = "cpu") -> None:
    """Run what is out of date, then print the whole book to one PDF; the next build offers it."""
    from replication.pages import book

    run(chapters, profile, device, None, False)
    typer.echo(f"the PDF is {book.pdf()}")


@app.command()
def report() -> None:
    """Print the report, a page of the built book, to _build/report.pdf."""
    from replication.pages import printed

    page = ROOT / "_build" / "html" / "notebooks" / "report.html"
    if not page.exists():
        raise FileNotFoundError("there is no built book yet; `make book` builds it")
    typer.echo(f"the report is {printed.print_page(page, ROOT / '_build' / 'report.pdf')}")


@app.command()
def archive() -> None:
    """Pack the built book, the verdicts, and every file of the commit into one zip, described as an RO-Crate."""
    from replication.pages import crate

    typer.echo(f"the archive is {crate.archive()}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 8000,
    browser: Annotated[bool, typer.Option(help="Open the book in a browser.")] = True,
) -> None:
    """Serve the built book on 127.0.0.1 until interrupted."""
    site = ROOT / "_build" / "html"
    if not (site / "index.html").exists():
        raise FileNotFoundError("there is no built book yet; `make book` builds it")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise RuntimeError(f"cannot listen on port {port} ({error.strerror}); try --port 0") from error
    address = f"http://127.0.0.1:{server.server_port}/"
    typer.echo(f"serving the book at {address} (Ctrl-C stops)")
    if browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo()


@app.command(cls=_Naming)
def sweep(
    experiment: Annotated[str | None, typer.Argument(help="An experiment, such as autoencoder.")] = None,
    profile: Profile = "quick",
    data: Annotated[str | None, typer.Option(help="Only the profile's runs on this data set.")] = None,
    device: Device = "cpu",
    seeds: Annotated[int | None, typer.Option(help="Fewer or more seeds than the profile has.", min=1)] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes side by side; by default one for each core, on a GPU one.", min=1)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Dask workers instead: local, or the address of a scheduler, tcp://HOST:8786.")
    ] = None,
    records: Annotated[Path | None, typer.Option(help="Folder for the records.", file_okay=False)] = None,
    planned: Annotated[str | None, typer.Option(help="A run of plan.yml, by number, into results-pending/.")] = None,
) -> None:
    """Run an experiment without Jupyter; what has a record already is skipped.

    Example: entropy-book sweep autoencoder --profile laptop --data mnist
    """
    from replication.experiments.owed import owed
    from replication.experiments.registry import experiment_of, store_for
    from replication.parameters import checked
    from replication.sweep.run import Where
    from replication.sweep.run import run as run_sweep
    from replication.sweep.workers import cores

    checked(device=device)
    if (experiment is None) == (planned is None):
        raise ValueError("name an experiment, or a run of plan.yml with --planned")
    if planned:
        run = owed(planned)
        found = run.of
        store, there = store_for("paper", records or ROOT / "results-pending"), store_for("paper").finished(found.name)
        trials = [trial for trial in found.trials(*run.plans()) if trial.id not in there]
    else:
        found = experiment_of(str(experiment))
        store, trials = store_for(profile, records), found.grid(profile, data, seeds)
    side_by_side = workers or (cores() if device == "cpu" else 1)
    done = run_sweep(found, trials, store, Where(device, side_by_side, cluster))
    typer.echo(f"{done} trials trained, {len(trials) - done} were there; records in {store.root}")


@app.command()
def flow(
    architecture: Annotated[str, typer.Argument(help="vgg16 or resnet50.")],
    weights: Annotated[Path | None, typer.Option(help="A checkpoint; without it, the weights of ImageNet.")] = None,
    random: Annotated[str | None, typer.Option(help="Untrained: torchvision, pytorch or glorot.")] = None,
    image: Annotated[int, typer.Option(help="Side of the image, which sets the maps.", min=32, max=4096)] = 64,
    plot: Annotated[Path, typer.Option(help="Where the box plot goes; .svg, .png or .pdf.")] = Path("flow.svg"),
) -> None:
    """Print and plot a network's entropy flow, layer by layer.

    Example: entropy-book flow vgg16 --weights checkpoint.pt --plot flow.png
    """
    from replication.experiments.flow import experiment, figures, tables
    from replication.networks.vgg_resnet import random_kernels
    from replication.networks.weights import checkpoint_kernels, imagenet_kernels
    from replication.pages import plots

    if weights and random:
        raise ValueError("give --weights or --random, not both")
    if weights:
        title, kernels = weights.name, checkpoint_kernels(architecture, weights)
    elif random:
        title, kernels = f"{architecture}, random, {random}", random_kernels(architecture, random, seed=0)
    else:
        found = imagenet_kernels(architecture)
        title, kernels = found.note, found.kernels
    rows = experiment.measure(architecture, kernels, image)
    typer.echo(tables.by_layer(rows).to_string(float_format="%.2f"))
    plots.use_style()
    figures.boxes({title: rows}).savefig(plot, facecolor="white")
    typer.echo(f"{title}; the box plot is in {plot}")


@app.command(cls=_Naming)
def data(
    name: Annotated[str | None, typer.Argument(help="Data or weights to fetch; without it, what is here.")] = None,
) -> None:
    """List the data sets and weights, or fetch some into $ENTROPY_DATA (default: ./data)."""
    from replication.data.dataset import MissingData, folder
    from replication.data.registry import fetch, load, names
    from replication.networks.vgg_resnet import ARCHITECTURES
    from replication.networks.weights import fetch_weights, imagenet_kernels

    weights = {f"{architecture}-weights": architecture for architecture in ARCHITECTURES}
    if name in weights:
        fetch_weights(weights[name])
    elif name:
        fetch(name)
    unusable: list[str] = []
    for known in [name] if name else [*names(), *weights]:
        try:
            found = imagenet_kernels(weights[known]) if known in weights else load(known)
        except MissingData as missing:
            typer.echo(f"{known:16} missing: {missing}")
        except ValueError as damaged:
            typer.echo(f"{known:16} damaged: {damaged}")
            unusable.append(known)
        else:
            typer.echo(f"{known:16} {found.fingerprint}  {found.note}")
    typer.echo(f"data folder: {folder()}")
    if unusable:
        raise typer.Exit(1)


@app.command()
def records(
    folder: Annotated[Path | None, typer.Argument(help="Folder of records; results/ by default.")] = None,
    seal: Annotated[bool, typer.Option(help="First give records of schema 1, which had none, a checksum.")] = False,
) -> None:
    """Check every record against the schema; faults are listed and exit with status 1."""
    from replication.experiments.registry import EXPERIMENTS, faults, store_for
    from replication.sweep.store import InvalidRecord

    store = store_for("paper", folder)
    if not store.root.is_dir():
        raise FileNotFoundError(f"there is no folder {store.root}")
    if seal:
        typer.echo(f"{store.seal()} records sealed")
    if found := faults(store):
        raise InvalidRecord(f"{len(found)} faults:\n" + "\n".join(found))
    count = sum(len(store.files(name)) for name in EXPERIMENTS)
    if not count:
        raise FileNotFoundError(f"there is no record in {store.root}, at {store.root}/EXPERIMENT/NAME.parquet")
    typer.echo(f"{count} records in {store.root} are valid")


@app.command()
def claims(section: Annotated[str, typer.Option(help="Only claims of this section, such as 5.2.")] = "") -> None:
    """Decide every claim from the records; status 1 when the built page says something else."""
    from replication.pages.verdicts import disagreeing
    from replication.verdicts import ledger

    table = ledger.rows()
    if not table.section.str.startswith(section).any():
        raise ValueError(f"no claim is of section {section!r}; known: {', '.join(sorted(set(table.section)))}")
    for row in table[table.section.str.startswith(section)].itertuples():
        typer.echo(f"{row.verdict:11} §{row.section:4} {row.id:32} {row.note}")
    try:
        stale = disagreeing(ROOT / "_build" / "html", table)
    except FileNotFoundError:
        typer.echo("the book has not been built: there is no page to compare with")
        return
    if stale:
        raise ValueError(f"the page Claims disagrees with the records on {', '.join(stale)}; `make book` renews it")
    typer.echo("the page Claims agrees with the records")


@app.command()
def operating() -> None:
    """Decide a thousand made-up ledgers a claim, and keep how often each verdict came out; takes a few minutes."""
    from replication.experiments.registry import store_for
    from replication.files import write_atomically
    from replication.verdicts import operating as made_up
    from replication.verdicts.claim import load_claims

    store = store_for("paper")
    found = made_up.of_claims(load_claims(ROOT / "claims.yml"), store)
    path = store.root / made_up.FILE
    text = json.dumps({"draws": made_up.DRAWS, "grid_draws": made_up.GRID_DRAWS, "claims": found}, ensure_ascii=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
    typer.echo(f"{path}: {len(found)} claims")


@app.command()
def picture() -> None:
    """Draw the README's picture from the committed records, at the largest latent dimension that has some."""
    from replication.experiments.autoencoder import figures
    from replication.experiments.autoencoder.experiment import AUTOENCODER
    from replication.experiments.registry import origin, store_for
    from replication.pages import plots

    store = store_for("paper")
    outcomes = AUTOENCODER.default(AUTOENCODER.summarised(store))
    if outcomes.empty:
        raise FileNotFoundError(f"there are no autoencoder records in {store.root}")
    plots.use_style()
    figure = figures.curves(store, outcomes, max(outcomes.latent))
    path = ROOT / "book" / "_static" / "result.svg"
    # Outside the book there is no stylesheet to adapt the ink: the picture brings its own paper.
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    typer.echo(f"{path}: {origin(outcomes)}")


def _value(text: str) -> object:
    """A number or a list where it is one, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
