variable "project" {
  description = "Project of the environment."
  type        = string
}

variable "region" {
  description = "Region of the environment."
  type        = string
}

variable "name" {
  description = "Name of the environment."
  type        = string
}

variable "image_version" {
  description = "Version of Composer and Airflow: composer-3-airflow-VERSION, with or without -build.NUMBER."
  type        = string
}

variable "config_overrides" {
  description = "Options of Airflow, as SECTION-OPTION. Composer accepts none of them as environment variables."
  type        = map(string)
}

variable "size" {
  description = "Size of the database and the web server: ENVIRONMENT_SIZE_SMALL, _MEDIUM or _LARGE."
  type        = string
}

variable "resilient" {
  description = "The environment survives the loss of a zone."
  type        = bool
}

variable "private" {
  description = "Workers cannot reach the internet."
  type        = bool
}

variable "min_workers" {
  description = "Smallest number of workers."
  type        = number
}

variable "max_workers" {
  description = "Largest number of workers."
  type        = number
}

variable "service_account" {
  description = "E-mail address of the service account of the workers."
  type        = string
}

variable "network" {
  description = "Full name of the network of the workers."
  type        = string
}

variable "subnetwork" {
  description = "Full name of the subnetwork of the workers."
  type        = string
}
