"""BigQuery with BigQuery ML on one machine.

The SQL engine is `bqemulator`, run as a child process. In front of it stands a gateway that speaks the same REST
API, runs every job in the background, and trains and applies BigQuery ML models with scikit-learn.

The modules, from the wire inwards; each imports only what comes after it:

    __main__    command line
    server      starts and stops the parts below
    gateway     REST: the jobs here, everything else passed on
    storage     Storage Read and Write API (gRPC): passed on
    jobs        background jobs and their job resources
    execution   runs one query job: statements, training, table functions
    scratch     hidden temporary tables
    emulator    the child process, and its REST API as a client
    catalog     trained models on disk
    functions   ML.PREDICT, ML.EVALUATE
    models      model types: options, features, training, prediction, metrics
    plan        which ML function can run next, and the SQL of its input
    statements  finds BigQuery ML in SQL text
    errors      errors as BigQuery reports them
"""
