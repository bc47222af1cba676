"""A Ray cluster of several nodes, all of them processes of this machine; a program, until its input ends.

It is a process of its own, since Ray keeps for a process's life how it authenticates. Its argument is a list in JSON:
the environment variables of each node beside the head's. It prints the address.
"""

import json
import shutil
import sys
import tempfile

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets need a short path
    head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for variables in json.loads(sys.argv[1]):
        cluster.add_node(num_cpus=1, env_vars=variables)
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
