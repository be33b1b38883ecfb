"""The local BigQuery ML against scikit-learn and XGBoost used directly."""
