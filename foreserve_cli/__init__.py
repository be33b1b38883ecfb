"""The command line `foreserve`: versions of predictions, in the local stack or in Google Cloud."""
