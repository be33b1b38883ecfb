variable "project" {
  description = "Project of all that is deployed."
  type        = string
}

variable "region" {
  description = "Region of the lookup service and of the repository."
  type        = string
}

variable "deployers" {
  description = "Who may deploy, as IAM has it: serviceAccount:..., group:..., user:..."
  type        = set(string)
}

variable "repository" {
  description = "Id of the repository of images."
  type        = string
}

variable "api_service" {
  description = "Name of the lookup service."
  type        = string
}

variable "api" {
  description = "E-mail address of the lookup service's service account."
  type        = string
}

variable "airflow" {
  description = "E-mail address of Airflow's service account."
  type        = string
}

variable "composer" {
  description = "Whether Airflow is a Composer environment that is made here; else its rights are not made here either."
  type        = bool
}

variable "composer_bucket" {
  description = "Bucket of that environment; null: there is none."
  type        = string
}
