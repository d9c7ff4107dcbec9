"""A sweep on a Ray cluster of two nodes on this machine; left out where Ray, which is an extra, is not installed."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='Ray is not installed: pip install "peak-trade[ray]"'),
]

#: Run in a process of its own: Ray's sockets and warnings stay there. Each node's process leaves a mark, and waits for the
#: other's, so that both nodes have worked when it ends.
SCRIPT = """
import json, os, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from peak_trade.cli.main import main
from peak_trade.model.errors import CheckFailed
from peak_trade.research.executors import Crew, Workers

class Meeting:
    def __init__(self, folder, home):
        self.folder, self.home = folder, home
    def evaluate(self, params):
        if os.getpid() == self.home:
            return ""
        node = ray.get_runtime_context().get_node_id()
        (Path(self.folder) / node).touch()
        until = time.monotonic() + 90
        while len(list(Path(self.folder).iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        return node

LENGTHS = ["--train", "1825d", "--test", "365d"]
SCHEME = ["--scheme", "combinatorial"]

def ours():
    return f"code of {os.getpid()}"

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    marks = Path("marks")
    marks.mkdir()
    with Crew(Meeting(str(marks.absolute()), os.getpid()), Workers.RAY, address=cluster.address) as crew:
        nodes = {node for piece in crew.do([(n, {}) for n in range(4)]) for _, node in piece}
    try:
        with Crew(Meeting(str(marks.absolute()), os.getpid()), Workers.RAY, address=cluster.address, code=ours) as crew:
            list(crew.do([(0, {})]))
        refused = ""
    except CheckFailed as error:
        refused = str(error)
    code = main(["sweep", "--config", "sweep.toml", "--no-html", "--json", "--executor", "ray", "--address", cluster.address])
    walk = ["walkforward", "--config", "sweep.toml", "--no-html", "--json"]
    print("@@")
    walked = [main([*walk, *more, "--executor", "ray", "--address", cluster.address]) for more in (LENGTHS, SCHEME)]
    print("@@" + json.dumps({"nodes": len(nodes), "refused": refused, "code": code, "walked": walked}))
    cluster.shutdown()
"""


def test_a_cluster_of_two_nodes_gives_what_this_machine_gives(project):
    """Both nodes work, sweep and walks have the same results as here, and a node with other code is refused."""
    project.sweep_file("fast_window = { start = 2, stop = 20, step = 2 }\nslow_window = [30, 40]")
    here = project.run("sweep", "--config", "sweep.toml", "--no-html", "--executor", "local", "--json").json
    walk = ("walkforward", "--config", "sweep.toml", "--no-html", "--executor", "local", "--json")
    walked = [
        project.run(*walk, *more).json["result_sha256"]
        for more in (("--train", "1825d", "--test", "365d"), ("--scheme", "combinatorial"))
    ]
    (project.folder / "cluster.py").write_text(textwrap.dedent(SCRIPT))

    ended = subprocess.run([sys.executable, "cluster.py"], capture_output=True, text=True, timeout=300, check=False)

    assert ended.returncode == 0, ended.stderr
    there, far, told = ended.stdout.split("@@")
    assert '"nodes": 2' in told
    assert '"code": 0' in told
    assert "same version of Peak_Trade" in told
    assert '"walked": [0, 0]' in told
    assert f'"result_sha256": "{here["result_sha256"]}"' in there
    assert all(f'"result_sha256": "{one}"' in far for one in walked)


def test_no_cluster_at_the_address_is_one_sentence(project):
    project.sweep_file("fast_window = [5, 10]")
    process = project.start(
        *("sweep", "--config", "sweep.toml", "--no-html", "--executor", "ray", "--address", "127.0.0.1:1", "--json")
    )
    out, err = process.communicate(timeout=200)

    assert (process.returncode, out) == (2, "")
    assert "expected a Ray cluster at 127.0.0.1:1" in err
