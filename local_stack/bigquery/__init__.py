"""BigQuery with BigQuery ML on one machine.

The SQL engine is `bqemulator`, run as a child process. In front of it stands a gateway that speaks the same REST
API, runs every job in the background, and trains and applies BigQuery ML models with scikit-learn and XGBoost.

The modules, from the wire inwards; each imports only what comes after it:

    __main__            command line
    server              starts and stops the parts below
    gateway             REST: the jobs here, everything else passed on
    models_api          REST: models
    uploads             REST: files that are loaded
    rest_messages       what REST methods have in common
    storage             Storage Read and Write API (gRPC): passed on
    references          which tables SQL text reads
    destination         query jobs that write a destination table
    execution           runs one query job: statements, training, table functions
    own_scripts         which scripts cannot be left to the emulator
    script_run          runs scripts
    script_names        variables, temporary tables and temporary functions of scripts
    query_parameters    query parameters
    transformation      runs the TRANSFORM clause
    rewrites            SQL of BigQuery that the emulator does not know, said otherwise
    information_schema  INFORMATION_SCHEMA.MODELS
    registry            the models of all datasets
    catalog             trained models on disk
    model_resource      what training finds out about a model, as the REST API describes it
    functions           ML.PREDICT and the like
    plan                which ML function can run next, and the SQL of its input
    scratch             hidden temporary tables
    jobs                background jobs and their job resources
    emulator            the child process, and its REST API as a client
    emulator_sql        SQL text as the emulator reads it rightly
    models              model types: options, features, training, prediction, metrics
    scripts             reads the procedural language
    statements          finds BigQuery ML in SQL text
    errors              errors as BigQuery reports them
"""
