"""A plan as it is shown on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from videomt_bench.sweep.plan import Plan, StagePlan


def plan_table(plan: Plan, most: int) -> Group:
    """Runs (at most ``most``), stages, what is missing, warnings and problems."""
    parts: list[RenderableType] = [_runs(plan, most)]
    if len(plan.runs) > most:
        parts.append(Text(f"… and {len(plan.runs) - most:,} more runs", style="dim"))
    parts += [Text(), _stages(plan)]
    parts += [Text(f"  {line}", style="dim") for line in basis_lines(plan)]
    parts += [Text(f"  {line}", style="dim") for line in parameter_lines(plan)]
    parts += [Text(f"missing: {line}", style="yellow") for line in plan.missing]
    parts += [Text(f"warning: {line}", style="yellow") for line in plan.warnings]
    parts += [Text(f"problem: {line}", style="bold red") for line in plan.problems]
    return Group(*parts)


def basis_lines(plan: Plan) -> list[str]:
    """Where the hours of every stage come from."""
    return [f"{s.stage}: {basis}" for s in plan.stages if s.jobs for basis in s.basis]


def parameter_lines(plan: Plan) -> list[str]:
    """What sbatch is told, stage by stage."""
    return [
        f"{s.stage}: " + " ".join(f"{key}={value}" for key, value in s.parameters.items())
        for s in plan.stages
        if s.jobs and s.parameters
    ]


def _runs(plan: Plan, most: int) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("run", "encoder", "data set", "state", "done", "to do"):
        table.add_column(column, overflow="fold")
    for run in plan.runs[:most]:
        done, todo = ", ".join(run.done), ", ".join(run.todo)
        cells = (run.run_id, run.encoder, run.dataset, run.state, done, todo)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _stages(plan: Plan) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("stage")
    for column in ("done", "jobs", "GPUs each", "GiB each", "hours each", "hours in all"):
        table.add_column(column, justify="right")
    table.add_column("hours from")
    for stage in plan.stages:
        table.add_row(stage.stage, str(stage.done), *_needs(stage))
    jobs = sum(stage.jobs for stage in plan.stages)
    hours = f"{plan.gpu_hours:,.1f}"
    table.add_row("all", "", f"{jobs:,}", "", "", "", hours, "GPU-hours", style="bold")
    return table


def _needs(stage: StagePlan) -> tuple[str, ...]:
    if not stage.jobs:
        return "0", "", "", "", "", ""
    measured = {basis.split(":")[0] for basis in stage.basis}
    return (
        f"{stage.jobs:,}",
        str(stage.gpus),
        f"{stage.memory_gib:.0f}",
        f"{stage.hours:.1f}",
        f"{stage.total_hours:,.1f}",
        " and ".join(sorted(measured)),
    )
