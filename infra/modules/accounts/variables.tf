variable "project" {
  description = "Project of the accounts."
  type        = string
}

variable "name" {
  description = "Prefix of the names of the accounts."
  type        = string
}

variable "existing_airflow" {
  description = "E-mail address of the service account of an existing Airflow. null: an account is created."
  type        = string
}
