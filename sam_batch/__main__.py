"""`python -m sam_batch`, the same as `sam-batch`."""

from sam_batch.cli.main import main

if __name__ == "__main__":
    main()
