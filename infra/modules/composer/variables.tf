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
  description = "Airflow's own options, as SECTION-OPTION: Composer takes none of them as environment variables."
  type        = map(string)
}

variable "size" {
  description = "How much the database and the web server can take: ENVIRONMENT_SIZE_SMALL, _MEDIUM or _LARGE."
  type        = string
}

variable "resilient" {
  description = "Whether the environment survives the loss of a zone."
  type        = bool
}

variable "private" {
  description = "Whether workers have no way to the internet."
  type        = bool
}

variable "min_workers" {
  description = "How many workers there always are."
  type        = number
}

variable "max_workers" {
  description = "How many workers there may be."
  type        = number
}

variable "service_account" {
  description = "E-mail address of the workers' service account."
  type        = string
}

variable "network" {
  description = "Full name of the network that workers reach."
  type        = string
}

variable "subnetwork" {
  description = "Full name of the subnetwork by which they do."
  type        = string
}
