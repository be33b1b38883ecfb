"""BigQuery ML: model types, their training and functions, and the models of all datasets.

To add a model type, write a module in `models/` whose trained model has the interface of `model.Model`, and add its
`ModelType` to the list in `model_types.py`.
"""
