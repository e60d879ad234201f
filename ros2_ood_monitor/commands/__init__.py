"""The sub-commands of `ood-monitor`.

Each module has NAME, SUMMARY, DESCRIPTION, EXAMPLES, `add_arguments(parser)` and
`execute(args) -> exit code`. Everything heavy is imported inside `execute`, so that `--help` is
instant and works whatever is installed.
"""
