"""TensorRT engines on every kind of GPU of a Ray cluster; takes the arguments of `sam-batch run`.

ray job submit --working-dir . -- python jobs/build_engines.py CONFIG engine.tensorrt.folder=/shared/engines

Each node with a GPU builds what it lacks and verifies it; where nodes share the folder, one of each kind builds and
the others find it. The folder must be an absolute path: Ray unpacks the working directory anew for each job.
"""

import sys

from sam_batch.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["engine", "build", "--cluster"]
    main()
