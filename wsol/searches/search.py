"""The function ``wsol.search``: random trials on the validation split, and the best of them on test."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from wsol.io.atomic import atomic_write
from wsol.io.paths import file_name
from wsol.metrics.base import METRICS
from wsol.runtime.distributed import separate_processes
from wsol.searches.comparisons import compare_methods
from wsol.searches.config import read_search
from wsol.searches.figure import trials_figure
from wsol.searches.plan import SearchPlan, plan_search
from wsol.searches.share import run_unfinished, wait_for_lock
from wsol.searches.tables import seeds_table, test_table, trials_table, values_by_candidate


@dataclass(frozen=True)
class Search:
    """A finished search.

    Attributes:
        folder: Its folder.
        by: The metric that decides.
        images: Signature of the validation split that the trials were chosen on.
        trials: One row per trial: network, method, trial, what was drawn (a setting of the training method as
            ``has.rate``), value (of the metric on the validation split, in percent; NaN if the training diverged), tau,
            seconds, status (``done`` or ``diverged``), best, reason, signature.
        seeds: One row per training with the best settings: network, method, trial, seed, value (of the metric on the
            split test), tau, seconds, status, folder (of the run), reason, signature.
        test: network, method, metric, tau_rule, mean (percent), sd (over seeds), ci_low, ci_high (means of the ends of
            the seeds' 95 % intervals over images), seeds.
        comparisons: By network, ``wsol.compare`` of its methods, the runs of all seeds of each as a group, as text; its
            files are in ``comparisons/NETWORK``. A network with fewer than two runs has none.
    """

    folder: Path
    by: str
    images: str
    trials: pd.DataFrame = field(repr=False)
    seeds: pd.DataFrame = field(repr=False)
    test: pd.DataFrame = field(repr=False)
    comparisons: Mapping[str, str] = field(repr=False)

    def runs(self, network: str) -> dict[str, list[Path]]:
        """Return the run folders on the split test of a network, by training method."""
        rows = self.seeds[(self.seeds["network"] == network) & (self.seeds["status"] == "done")]
        return {method: [*map(Path, rows.folder[rows.method == method])] for method in dict.fromkeys(rows.method)}


def search(path: str | Path, *, out: str | Path | None = None) -> Search:
    """Search the settings of training methods by random trials, and evaluate the best ones on the split test.

    Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020: every method gets the same
    number of trials, drawn from stated ranges, and its best trial on the validation split counts. No trial reads the
    split test. The settings of the best trial are trained again with other seeds, and only these networks are evaluated
    on the split test, and compared.

    What a trial draws depends on the seed, on its number and on the names of what is drawn alone: more trials, networks
    or methods leave the others as they are. Any number of processes may run the same search at the same time, those
    that torchrun started too; each takes the next trial that no other works on. A call with the same file resumes it.

    Args:
        path: The search, a TOML file with the keys ``models`` (a list of names or tables), ``training`` (options of
            ``wsol.train``, values or ranges), ``train_methods`` (a table with the settings of each), and optionally
            ``dataset``, ``data_root``, ``dataset_args``, ``val_boxes``, ``evaluation`` (options of ``wsol.evaluate``),
            ``trials``, ``seeds``, ``seed``, ``by`` and ``out``.
        out: Folder of the search; None for the one that the file names, or ``results/`` and the name of the file.

    Returns:
        The trials, and what the best of them reach on the split test.

    Raises:
        InputError: The file cannot be used, or a trial is not possible.
    """
    config = read_search(path, out)
    with separate_processes():
        plan = plan_search(config)
        for _ in run_unfinished(plan):
            _write(plan)
        return _write(plan, finished=True)


def _write(plan: SearchPlan, finished: bool = False) -> Search:
    """Write the tables, and the figure once all trials are finished; return what is known."""
    folder = plan.config.out
    with wait_for_lock(folder):  # the results are read in it, so that none is lost that another process has written
        tables = {"trials": trials_table(plan), "seeds": seeds_table(plan), "test": test_table(plan)}
        result = Search(folder, plan.by, plan.images["val"], **tables, comparisons={})
        for name, table in tables.items():
            with atomic_write(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False, lineterminator="\n")
        if finished:
            groups = [*values_by_candidate(plan)]
            title = METRICS.get(plan.by).title or plan.by
            figure = trials_figure(groups, result.trials["network"].nunique() > 1, plan.images["val"], f"{title} (%)")
            with atomic_write(folder / "trials.png") as path:
                path.write_bytes(figure.to_png({"images": plan.images["val"]}))
            comparisons = {}
            for network in dict.fromkeys(result.trials["network"]):
                runs = result.runs(network)
                if sum(map(len, runs.values())) > 1:
                    comparisons[network] = compare_methods(runs, folder / "comparisons" / file_name(network))
            result = replace(result, comparisons=comparisons)
    return result
