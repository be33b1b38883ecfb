variable "project" {
  description = "Project of the accounts."
  type        = string
}

variable "name" {
  description = "What the accounts' names begin with."
  type        = string
}

variable "existing_airflow" {
  description = "E-mail address of the service account of an Airflow that exists; null: one is made."
  type        = string
}
