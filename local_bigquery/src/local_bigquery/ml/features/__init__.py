"""Features: from the columns of a query to the rows and the matrix that a model is trained on."""
