from refresh_factory.dag import refresh_dag

dag = refresh_dag(__file__)
