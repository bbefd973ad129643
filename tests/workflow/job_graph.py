"""Print the whole job graph of the project in the working directory as JSON.

Run as a script, in a process of its own: Snakemake changes global state when it reads a workflow.
Each job is {"rule", "inputs", "outputs", "shell", "conda"}; only the configuration needs to exist.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from snakemake.api import DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi


def job_graph(targets=()):
    with SnakemakeApi(OutputSettings(verbose=False)) as api:
        workflow = api.workflow(ResourceSettings(cores=1), snakefile=Path("Snakefile"))
        dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
        with contextlib.redirect_stdout(io.StringIO()):
            dag.printrulegraph()
        # The API prints graphs but does not hand them out.
        return [
            {
                "rule": job.rule.name,
                "inputs": list(map(str, job.input)),
                "outputs": list(map(str, job.output)),
                "shell": job.shellcmd,
                "conda": str(job.rule.conda_env) if job.rule.conda_env else None,
            }
            for job in workflow._workflow.dag.jobs
        ]


if __name__ == "__main__":
    json.dump(job_graph(sys.argv[1:]), sys.stdout)
