variable "project" {
  description = "Project of the dataset."
  type        = string
}

variable "dataset" {
  description = "Id of the dataset."
  type        = string
}

variable "location" {
  description = "Location of the dataset: that of the data that pipelines read."
  type        = string
}

variable "deletion_protection" {
  description = "Terraform deletes the dataset only if it is empty."
  type        = bool
}
