variable "project" {
  description = "Project of all resources."
  type        = string
}

variable "region" {
  description = "Region of the lookup service and of the repository."
  type        = string
}

variable "deployers" {
  description = "IAM members that may deploy: serviceAccount:..., group:..., user:..."
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
  description = "E-mail address of the service account of the lookup service."
  type        = string
}

variable "airflow" {
  description = "E-mail address of the service account of Airflow's workers."
  type        = string
}

variable "composer" {
  description = "Terraform creates the Composer environment. If not, deployers get no rights on Composer."
  type        = bool
}

variable "composer_bucket" {
  description = "Bucket of the Composer environment. null: Terraform creates no environment."
  type        = string
}
