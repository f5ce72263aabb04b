"""A job image's program: find the variants of a genome from its reads.

    alignment, analysis   the work: pure, the same result wherever it was cut
    run                   what every run is given, and SIGTERM
    checkpoints, results  what a run leaves: progress that survives it, and one result
    objects*              where that is kept: file://, s3://, gs://

A small, honest stand-in for a secondary analysis: reads are generated, not sequenced, and aligned
in plain Python. All but ``alignment`` and ``analysis`` can serve another program as it stands;
``docs/job-contract.md`` says what such a program owes.
"""
