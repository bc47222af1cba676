"""A labelling job for a Ray cluster; takes the arguments of `sam-batch run`.

ray job submit --working-dir . -- python jobs/segment.py configs/cluster.yaml output.uri=s3://bucket/labels/

Ray passes on only that a job failed; the exit code proper is in the output's summary.json.
"""

import sys

from sam_batch.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run"]
    main()
