variable "project" {
  description = "Project of the dataset."
  type        = string
}

variable "dataset" {
  description = "Id of the dataset."
  type        = string
}

variable "location" {
  description = "Location of the dataset: that of the data which pipelines read."
  type        = string
}

variable "deletion_protection" {
  description = "Whether the dataset is only deleted when it is empty."
  type        = bool
}
